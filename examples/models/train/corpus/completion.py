"""Plain text to continue, without turns."""

from .turns import Example
from .words import WORDS
from .world import CAPITALS, DAYS, MONTHS, OPPOSITES, SOUNDS
from .writing import story


# Every maker returns (text, the part of it that a test gives to the model, key).


def steps(r):
    start, step = r.randint(0, 20), r.choice([1, 1, 2, 2, 3, 4, 5, 10])
    if r.random() < 0.4:
        start = step
    seq = [str(start + step * i) for i in range(12)]
    cut = r.randint(3, 5)
    return ", ".join(seq), ", ".join(seq[:cut]) + ",", f"{start} {step}"


def sequence(r, seq, separator):
    i = r.randrange(len(seq) - 4) if r.random() < 0.5 else 0
    sep = separator(r)
    return sep.join(seq[i:]), sep.join(seq[i : i + 3]) + sep.rstrip(), None


def alphabet(r):
    seq = "abcdefghijklmnopqrstuvwxyz" if r.random() < 0.5 else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return sequence(r, seq, lambda r: r.choice([", ", " "]))


def days(r):
    r.random()  # unused; keeps the documents of a seed as they were for the shipped weights
    return sequence(r, DAYS, lambda r: ", ")


def months(r):
    r.random()  # as above
    return sequence(r, MONTHS, lambda r: ", ")


def capitals(r):
    pairs = r.sample(list(CAPITALS.items()), 3)
    text = " ".join(f"The capital of {c} is {k}." for c, k in pairs)
    return text, text[: text.rindex(pairs[-1][1]) - 1], f"{pairs}"


def opposites(r):
    pairs = r.sample(OPPOSITES, 4)
    text = "\n".join(f"{a} -> {b}" for a, b in pairs)
    return text, text[: text.rindex(" -> ") + 3], f"{pairs}"


def sounds(r):
    pairs = r.sample(list(SOUNDS.items()), 3)
    text = " ".join(f"The {a} says {s}." for a, s in pairs)
    return text, text[: text.rindex(pairs[-1][1]) - 1], f"{pairs}"


def code(r):
    op, word = r.choice([("+", "add"), ("-", "subtract"), ("*", "multiply"), ("/", "divide")])
    x, y = r.sample("abxymnpq", 2)
    n, name = r.randint(2, 20), r.choice(WORDS)
    text, cut = r.choice([
        (f"def {word}({x}, {y}):\n    return {x} {op} {y}\n", "    return"),
        (f"int {word}(int {x}, int {y}) {{\n    return {x} {op} {y};\n}}\n", "    return"),
        (f"for i in range({n}):\n    print(i)\n", "    print"),
        (f'for (int i = 0; i < {n}; i++) {{\n    printf("%d\\n", i);\n}}\n', "    printf"),
        (f'def say_{name}():\n    print("{name}")\n', "    print"),
        (
            '#include <stdio.h>\n\nint main(void) {\n'
            '    printf("Hello, world!\\n");\n    return 0;\n}\n',
            "    printf",
        ),
        (f'import mm2\n\nmodel = mm2.load("{name}")\nprint(model.chat("Hello"))\n', "print"),
        (
            f"class {name.capitalize()}:\n    def __init__(self, {x}):\n        self.{x} = {x}\n",
            "        self",
        ),
    ])
    return text, text[: text.index(cut)] + cut, text


def prose(r):
    return story(r).messages[-1]["content"], None, None


KINDS = [
    steps, steps, steps, alphabet, days, months, capitals, opposites, code, code, sounds, prose,
]


def completion(r):
    text, prompt, key = r.choice(KINDS)(r)
    return Example("completion", [], key, raw=text, raw_prompt=prompt)
