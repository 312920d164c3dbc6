"""An answer as it comes, with a tool that the model may call: python3 examples/python/stream_tools.py [MODEL [QUESTION]]"""

import asyncio
import json
import sys

import mm2

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def get_weather(city: str) -> str:
    return json.dumps({"temperature": 18})  # a real program would ask somebody


async def turn(engine: mm2.Engine, messages: list[dict[str, object]]) -> bool:
    """One answer, printed as it comes. True: it called a tool, whose result is in messages now."""
    builder = mm2.AnswerBuilder()
    async for event in engine.achat_stream(messages, tools=TOOLS, temperature=0):
        builder.add(event)
        if event.type == "reasoning":
            print(f"\033[2m{event.text}\033[0m" if sys.stdout.isatty() else event.text, end="", flush=True)
        elif event.type == "tool_call_begin":
            print(f"\n[{event.name} ", end="", flush=True)
        elif event.type == "tool_call_end":
            print("]")
        elif event.type != "finish":
            print(event.text, end="", flush=True)
    answer = builder.answer()
    messages.append(answer.message)
    for call in answer.tool_calls:
        messages.append({"role": "tool", "content": get_weather(**call.arguments)})
    return bool(answer.tool_calls)


async def main() -> None:
    engine = mm2.load(sys.argv[1] if len(sys.argv) > 1 else "examples/models/mm2-tiny").engine()
    messages: list[dict[str, object]] = [{"role": "user", "content": sys.argv[2] if len(sys.argv) > 2 else "What is the weather in Paris?"}]
    while await turn(engine, messages):
        pass
    print()


asyncio.run(main())
