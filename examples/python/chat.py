"""A conversation in a terminal: python3 examples/python/chat.py [MODEL]"""

import sys

import mm2

model = mm2.load(sys.argv[1] if len(sys.argv) > 1 else "examples/models/mm2-tiny")
engine = model.engine(max_seqs=1)
messages: list[dict[str, object]] = []

for line in iter(lambda: input("> ") if sys.stdin.isatty() else sys.stdin.readline().strip(), ""):
    messages.append({"role": "user", "content": line})
    try:
        answer = engine.chat(messages)
    except KeyboardInterrupt:  # ends the answer, not the program: the engine is as it was before
        messages.pop()
        print("\n[stopped]")
        continue
    messages.append(answer.message)
    print(answer.content)
