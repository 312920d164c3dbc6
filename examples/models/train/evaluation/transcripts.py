"""A few fixed conversations as Markdown, answered greedily."""

from corpus import user

from .judging import END, THINK_END, parameter_types, parse_calls


def tool(name, description, required, /, **params):
    properties = {key: {"type": kind} for key, kind in params.items()}
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


WEATHER = tool(
    "get_weather", "Get the current weather for a city.", ["city"], city="string", unit="string"
)
LIGHT = tool(
    "set_light", "Switch a light on or off.", ["room", "on"], room="string", on="boolean",
    brightness="integer",
)
PARROT = tool("feed_parrot", "Feed a parrot.", ["name", "count"], name="string", count="integer")
CALCULATOR = tool(
    "calculator", "Evaluate an arithmetic expression.", ["expression"], expression="string"
)

TRANSCRIPTS = [  # (title, system prompt, tools, what the tools return, user turns)
    ("Identity", None, None, [], ["Hi!", "Who are you?"]),
    ("A question about the library", None, None, [], ["What is mm2?"]),
    (
        "Capitals, with a follow-up",
        None,
        None,
        [],
        ["What is the capital of Japan?", "And Canada?"],
    ),
    ("A sum with its working", None, None, [], ["What is 47 + 38?"]),
    ("Counting letters", None, None, [], ["How many r's are in strawberry?"]),
    ("A story", None, None, [], ["Tell me a short story about a fox named Lila."]),
    ("Chinese", None, None, [], ["你是谁？", "法国的首都是哪里？"]),
    (
        "A name from the system prompt, and a memory",
        "You are Nova, a travel guide.",
        None,
        [],
        ["Who are you?", "My name is Kim.", "What is my name?"],
    ),
    (
        "A tool call",
        None,
        [LIGHT, WEATHER],
        ['{"temperature": -4, "condition": "snowy"}'],
        ["What is the weather in Oslo in celsius?"],
    ),
    (
        "Parallel calls",
        None,
        [WEATHER, CALCULATOR],
        ["21°C, sunny", "9°C, rainy"],
        ["What is the weather in Rome and London?"],
    ),
    (
        "A tool that was never seen in training",
        None,
        [PARROT, WEATHER],
        ["ok"],
        ["Feed the parrot with name Coco and count 3."],
    ),
    (
        "Typed arguments",
        None,
        [WEATHER, LIGHT],
        ['{"ok": true}'],
        ["Set the kitchen light to 40%."],
    ),
]


def conversation(subject, system, tools, results, turns):
    """The lines of one conversation. A tool gets one round of results at most three times."""
    messages = [{"role": "system", "content": system}] if system else []
    lines = [f"system: {system}"] if system else []
    for turn in turns:
        messages.append(user(turn))
        lines.append(f"user: {turn}")
        for _ in range(3):
            prompt = subject.template.render(
                messages=messages, tools=tools, add_generation_prompt=True
            )
            text = subject.answer([prompt])[0].removesuffix(END)
            lines.append("ai: <think>\n" + text.replace("\n\n", "\n"))
            thought, _, rest = text.partition("\n" + THINK_END + "\n\n")
            calls = parse_calls(rest, parameter_types(tools)) if tools else None
            reply = {"role": "assistant", "reasoning_content": thought}
            if not calls:
                messages.append({**reply, "content": rest})
                break
            messages.append({**reply, "content": "", "tool_calls": calls})
            for value in results[: len(calls)]:
                messages.append({"role": "tool", "content": value})
                lines.append(f"tool: {value}")
    return lines


def transcripts(subject):
    out = []
    for title, system, tools, results, turns in TRANSCRIPTS:
        names = ", ".join(f"`{t['function']['name']}`" for t in tools or [])
        head = f"**{title}**" + (f" (tools: {names})" if tools else "")
        lines = conversation(subject, system, tools, results, turns)
        out.append("\n".join([head, "", "```text", *lines, "```"]))
    return "\n\n".join(out) + "\n"
