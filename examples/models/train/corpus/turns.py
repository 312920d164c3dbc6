"""Turns of a dialogue, the example that holds them, and the small variations of a question."""

import json
import zlib
from dataclasses import dataclass


NAME = "mm2-tiny"
HELD_OUT_SHARE = 20  # one key in twenty is held out


@dataclass
class Example:
    skill: str
    messages: list  # OpenAI-style turns; assistant turns may carry "check" (see `answer`)
    key: str = None  # None: always training data
    tools: list = None
    raw: str = None  # plain text without turns ...
    raw_prompt: str = None  # ... and the part of it that a test gives to the model
    no_think: bool = False  # the reasoning block is closed at once by the prompt

    @property
    def held_out(self):
        return (
            self.key is not None
            and zlib.crc32(f"{self.skill}|{self.key}".encode()) % HELD_OUT_SHARE == 0
        )


def user(text):
    return {"role": "user", "content": text}


def answer(think, text, must=None, one_of=None, check=None):
    """An assistant turn. `must`: substrings that a right answer contains; `one_of`: the acceptable
    answers; by default the answer has to match exactly. The template ignores the extra field."""
    if check is None:
        check = {"must": must} if must else {"one_of": one_of} if one_of else {"equals": text}
    return {"role": "assistant", "reasoning_content": think, "content": text, "check": check}


def call(think, *calls):
    return {
        "role": "assistant",
        "reasoning_content": think,
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": n, "arguments": a}} for n, a in calls
        ],
    }


def result(value):
    return {
        "role": "tool",
        "content": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
    }


def sentence_case(text):
    return text[0].upper() + text[1:]


def with_article(noun):
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


PREFIXES = [
    "Hi! ", "Hello! ", "Hey, ", "Please tell me: ", "Quick question: ", "Question: ", "OK. ",
    "Now: ", "One more: ", "I have a question. ", "Can you help me? ",
]
SUFFIXES = [" Thanks!", " Thank you.", " Please.", " I want to know."]


def dress(r, text):
    """Wordings around a question. Returns the text and whether it differs from the plain one."""
    plain = text
    if r.random() < 0.12:
        text = r.choice(PREFIXES) + text
    if r.random() < 0.06:
        text = text + r.choice(SUFFIXES)
    roll = r.random()
    if roll < 0.10 and text[-1] in "?.!":
        text = text[:-1]
    elif roll < 0.16:
        text = text[0].lower() + text[1:]
    elif roll < 0.20 and text[-1] in "?.!":
        text = text[0].lower() + text[1:-1]
    return text, text != plain


def one_turn(r, skill, question, reply, key=None, dressed=True):
    """A single question. Without a key of its own, the wording is the key, and the plain wording is
    never held out."""
    changed = False
    if dressed:
        question, changed = dress(r, question)
    if key is None and changed:
        key = question
    return Example(skill, [user(question), reply], key)
