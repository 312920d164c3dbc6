"""How many answers are right, per skill, and at the end of long chats."""

import random

from .judging import Score, judge
from .questions import long_questions, questions


def measure_skills(subject, per_skill, seed, failures=None, **options):
    """The table of Score. Wrong answers are appended to `failures`."""
    items = questions(subject.template, per_skill, seed)
    score = Score()
    for (skill, prompt, check), text in zip(
        items, subject.answer([p for _, p, _ in items], **options)
    ):
        marks = judge(text, check)
        score.add(skill, marks)
        if failures is not None and not (marks[0] and marks[1]):
            failures.append(dict(skill=skill, prompt=prompt, output=text, check=check))
    return score.table()


def measure_long(subject, per_length, seed):
    """Held-out questions at the end of long chats."""
    r = random.Random(seed)
    table = {}
    for target in (500, 1000, 1500, 2000):
        items = long_questions(
            subject.template, lambda t: len(subject.encode(t)), target, per_length, r
        )
        texts = subject.answer([prompt for prompt, _ in items], batch=20)
        marks = [judge(text, check) for text, (_, check) in zip(texts, items)]
        table[f"{target}_tokens"] = dict(
            right=round(sum(m[1] for m in marks) / len(marks), 3),
            well_formed=round(sum(m[0] for m in marks) / len(marks), 3),
        )
    return table


def reference(subject, per_skill, seed):
    """Every question as token ids, with the greedy answer of transformers in BF16, one by one:
    padding a batch changes roundings, and a tie may then fall the other way."""
    items = questions(subject.template, per_skill, seed)
    prompts = [subject.encode(prompt) for _, prompt, _ in items]
    for (skill, _, check), prompt, ids in zip(items, prompts, subject.answer_ids(prompts, batch=1)):
        right = bool(judge(subject.decode(ids), check)[1])
        yield dict(skill=skill, prompt_ids=prompt, answer_ids=ids, check=check, right=right)
