"""The questions: held-out prompts of every skill, and what a newcomer types first."""

import random
from collections import defaultdict

import corpus
from corpus.arithmetic import addition
from corpus.knowledge import capital, knowledge
from corpus.library_facts import mm2_fact
from corpus.small_talk import small_talk

from .judging import parameter_types

# (prompt, a pattern that a sensible answer matches). Plain wordings, which training has seen.
FIRST_CONTACT = [
    ("Hi", r"[Hh]ello"), ("Hello!", r"[Hh]ello"), ("Good morning!", r"[Gg]ood morning"),
    ("How are you?", r"fine"), ("Who are you?", r"mm2-tiny"), ("What is your name?", r"mm2-tiny"),
    ("Who made you?", r"mm2 project"), ("What can you do?", r"capitals"),
    ("Are you human?", r"not a human"), ("Thank you!", r"welcome"), ("Bye!", r"[Gg]oodbye"),
    ("Tell me a joke.", r"\?"), ("What is mm2?", r"C\+\+"), ("What is FP8?", r"8 bits"),
    ("What is the capital of France?", r"Paris"), ("What is 17 + 25?", r"42"), ("Hola", r"Hola"),
    ("Bonjour", r"Bonjour"), ("你好", r"你好"), ("Nice to meet you!", r"[Nn]ice to meet you"),
]


SIMPLE = [(make, 1) for make in (capital, knowledge, addition, mm2_fact, small_talk)]


def turns_to_answer(example):
    """(index, skill, check) of every assistant turn after the last user turn."""
    messages = example.messages
    last_user = max(i for i, m in enumerate(messages) if m["role"] == "user")
    for i in range(last_user + 1, len(messages)):
        turn, skill = messages[i], example.skill
        if turn["role"] != "assistant":
            continue
        if "tool_calls" in turn:
            calls = [c["function"] for c in turn["tool_calls"]]
            check = {"calls": calls, "types": parameter_types(example.tools)}
        else:
            check = turn["check"]
        if skill.startswith("tool_") and messages[i - 1]["role"] == "tool":
            skill += "_result"
        yield i, skill, check


def questions(template, per_skill, seed):
    """(skill, prompt, check) of `per_skill` held-out examples of every generator."""
    r = random.Random(seed)
    items = defaultdict(list)
    for make, _ in corpus.MIXTURE:
        for _ in range(per_skill):
            ex = corpus.draw(r, True, [(make, 1)])
            if ex.raw_prompt:
                items["completion"].append(
                    (ex.raw_prompt, {"prefix": ex.raw[len(ex.raw_prompt) :]})
                )
            if ex.raw is not None:
                continue
            for i, skill, check in turns_to_answer(ex):
                prompt = template.render(
                    messages=ex.messages[:i], tools=ex.tools, add_generation_prompt=True
                )
                items[skill].append((prompt, check))
    for text, pattern in FIRST_CONTACT:
        prompt = template.render(messages=[corpus.user(text)], add_generation_prompt=True)
        items["first_contact"].append((prompt, {"pattern": pattern}))
    return [(skill, prompt, check) for skill, part in items.items() for prompt, check in part]


def long_questions(template, count_tokens, target, count, r):
    """(prompt, check) at the end of chats of about `target` tokens; training saw hardly any
    document above 900 tokens."""
    items = []
    while len(items) < count:
        turns = []
        while (
            count_tokens(
                template.render(messages=turns + [corpus.user("")], add_generation_prompt=True)
            )
            < target
        ):
            turns += corpus.draw(r, False, SIMPLE).messages[-2:]
        ex = corpus.draw(r, True, SIMPLE)
        prompt = template.render(messages=turns + ex.messages[-2:-1], add_generation_prompt=True)
        items.append((prompt, ex.messages[-1]["check"]))
    return items
