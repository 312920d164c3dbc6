"""Words as rows of letters: counting, spelling, reversing, and copying a text exactly."""

from .turns import Example, answer, one_turn, user
from .words import WORDS, nonsense, phrase


def count_words(r):
    items = r.sample(WORDS, r.randint(2, 7))
    ask = r.choice([
        "How many words are in this list: {l}?", "Count these words: {l}.",
        "How many items are here: {l}?",
    ]).format(l=", ".join(items))
    think = ", ".join(f"{i + 1} {w}" for i, w in enumerate(items)) + "."
    return one_turn(
        r,
        "counting",
        ask,
        answer(think, f"There are {len(items)} words.", must=[str(len(items))]),
        key=" ".join(items),
        dressed=False,
    )


def word_length(r, word):
    think = ", ".join(f"{c} {i + 1}" for i, c in enumerate(word)) + "."
    ask = r.choice([
        "How many letters are in {w}?", "How many letters does {w} have?",
        "Count the letters in {w}.", "How many letters are in the word '{w}'?",
    ]).format(w=word)
    return one_turn(r, "letters", ask, answer(think, f"The word {word} has {len(word)} letters."))


def count_letter(r, word):
    letter = r.choice(word) if r.random() < 0.85 else r.choice("abcdefghijklmnopqrstuvwxyz")
    seen, parts = 0, []
    for c in word:
        seen += c == letter
        parts.append(f"{c} ({seen})" if c == letter else c)
    times = "once" if seen == 1 else f"{seen} times"
    ask = r.choice([
        f"How many times does the letter {letter} appear in {word}?",
        f"How many {letter}'s are in {word}?", f"How many {letter}s are in {word}?",
        f"Count the letter {letter} in {word}.",
    ])
    return one_turn(
        r,
        "letters",
        ask,
        answer(
            f"{', '.join(parts)}. Total: {seen}.", f"The letter {letter} appears {times} in {word}."
        ),
        key=f"{letter} {word}",
    )


def count_items(r):
    if r.random() < 0.5:
        return count_words(r)
    word = r.choice(WORDS)
    return word_length(r, word) if r.random() < 0.5 else count_letter(r, word)


def letters(r):
    word = r.choice(WORDS)
    kind = r.choice(["spell", "spell", "reverse", "reverse", "first", "last", "upper"])
    spelled = ", ".join(word)
    if kind == "spell":
        ask = r.choice([
            "Spell {w}.", "Spell the word {w}.", "How do you spell {w}?", "Spell '{w}'.",
            "Can you spell {w}?",
        ])
        reply = answer(f"I write the letters of {word} one by one.", "-".join(word))
    elif kind == "reverse":
        ask = r.choice([
            "Reverse the word {w}.", "Reverse {w}.", "Write {w} backwards.", "Spell {w} backwards.",
            "What is {w} backwards?", "Reverse '{w}'.",
        ])
        reply = answer(
            f"The letters are {spelled}. Backwards: {', '.join(reversed(word))}.",
            "-".join(reversed(word)),
        )
    elif kind == "first":
        ask = r.choice([
            "What is the first letter of {w}?", "Which letter does {w} start with?",
            "What letter does {w} begin with?",
        ])
        reply = answer(f"The letters are {spelled}.", f"The first letter of {word} is {word[0]}.")
    elif kind == "last":
        ask = r.choice(["What is the last letter of {w}?", "Which letter does {w} end with?"])
        reply = answer(f"The letters are {spelled}.", f"The last letter of {word} is {word[-1]}.")
    else:
        ask = r.choice(
            ["Write {w} in capital letters.", "Write {w} in uppercase.", "Uppercase {w}."]
        )
        reply = answer(f"The letters are {spelled}.", word.upper())
    return one_turn(r, "letters", ask.format(w=word), reply)


def repeat(r):
    kind = r.random()
    if kind < 0.5:
        text = phrase(r)
    elif kind < 0.75:
        text = " ".join(r.sample(WORDS, r.randint(2, 5)))
    else:
        text = " ".join(nonsense(r) for _ in range(r.randint(1, 4)))
    ask = r.choice([
        "Repeat after me: {t}", "Repeat: {t}", "Say: {t}", "Please repeat this: {t}",
        "Say exactly this: {t}", "Copy this text: {t}", "Echo: {t}",
    ]).format(t=text)
    return Example(
        "repeat",
        [user(ask), answer("The user wants me to repeat the text exactly.", text)],
        key=text,
    )
