"""Dialogues of several turns: memory, follow-up questions and mixed chats."""

from .arithmetic import (
    add_steps, addition, count_up, number_sense, sub_steps, subtraction, two_numbers,
)
from .knowledge import capital, knowledge, unknown
from .languages import emoji, foreign
from .library_facts import mm2_fact
from .small_talk import identity, small_talk
from .spelling import count_items, letters, repeat
from .turns import Example, answer, sentence_case, user, with_article
from .words import CATEGORIES, CITIES, PEOPLE, nonsense
from .world import CAPITAL_ASKS, CAPITALS, OPPOSITES, SOUNDS
from .writing import listing, story


SIMPLE_SKILLS = [
    small_talk, identity, mm2_fact, capital, capital, knowledge, knowledge, addition, subtraction,
    number_sense, count_up, count_items, letters, repeat, listing, story, foreign, emoji, unknown,
]


FAVOURITES = {
    "colour": CATEGORIES["colours"], "animal": CATEGORIES["animals"], "fruit": CATEGORIES["fruits"],
    "city": CITIES, "sport": CATEGORIES["sports"], "drink": CATEGORIES["drinks"],
}


def remember_name(r):
    value = r.choice(PEOPLE) if r.random() < 0.5 else nonsense(r, True)
    say = r.choice(
        ["My name is {v}.", "I am {v}.", "Hi, I am {v}!", "Hello, my name is {v}.", "Call me {v}."]
    ).format(v=value)
    ack = answer(f"The user is called {value}.", f"Nice to meet you, {value}!", must=[value])
    ask = r.choice([
        "What is my name?", "Who am I?", "Do you remember my name?", "What's my name?",
        "Tell me my name.",
    ])
    back = answer(
        f"The user said that the name is {value}.", f"Your name is {value}.", must=[value]
    )
    return value, say, ack, ask, back


def remember_favourite(r):
    what = r.choice(list(FAVOURITES))
    value = r.choice(FAVOURITES[what])
    say = r.choice([f"My favourite {what} is {value}.", f"My favorite {what} is {value}."])
    ack = answer(
        f"The favourite {what} of the user is {value}.",
        f"{sentence_case(value)} is a good choice!", must=[value[1:]],
    )
    ask = r.choice([
        f"What is my favourite {what}?", f"Which {what} do I like?",
        f"Do you remember my favourite {what}?",
    ])
    back = answer(
        f"The user said that the favourite {what} is {value}.",
        f"Your favourite {what} is {value}.", must=[value],
    )
    return value, say, ack, ask, back


def remember_number(r):
    value = r.randint(10, 999)
    say = r.choice([
        f"Remember the number {value}.", f"My number is {value}.", f"The secret number is {value}.",
    ])
    ack = answer(
        f"I keep the number {value} in mind.", f"I will remember {value}.", must=[str(value)]
    )
    ask = r.choice(["What was the number?", "Which number did I say?", "What is the number?"])
    back = answer(
        f"The user said the number {value}.", f"The number is {value}.", must=[str(value)]
    )
    return value, say, ack, ask, back


def remember_pet(r):
    animal = r.choice(["cat", "dog", "bird", "horse", "rabbit"])
    value = r.choice(PEOPLE) if r.random() < 0.5 else nonsense(r, True)
    say = r.choice([f"I have a {animal} named {value}.", f"My {animal} is called {value}."])
    ack = answer(
        f"The user has a {animal} named {value}.", f"{value} is a lovely name for a {animal}!",
        must=[value],
    )
    ask = r.choice([f"What is the name of my {animal}?", f"What is my {animal} called?"])
    back = answer(
        f"The user said that the {animal} is called {value}.", f"Your {animal} is called {value}.",
        must=[value],
    )
    return value, say, ack, ask, back


def memory_turns(r):
    """The user says something about himself and asks for it later."""
    remember = r.choice(
        [remember_name, remember_name, remember_favourite, remember_number, remember_pet]
    )
    value, say, ack, ask, back = remember(r)
    turns = [user(say), ack]
    for _ in range(r.choice([0, 0, 1, 1, 2])):
        turns += r.choice([small_talk, capital, knowledge, addition, emoji])(r).messages[-2:]
    return Example("memory", turns + [user(ask), back], key=str(value))


MORE_CAPITAL_ASKS = [
    "And {c}?", "And of {c}?", "What about {c}?", "And the capital of {c}?", "Now {c}.",
]


def more_capitals(r):
    pairs = r.sample(list(CAPITALS.items()), r.randint(2, 4))
    turns = []
    for i, (country, city) in enumerate(pairs):
        ask = r.choice(CAPITAL_ASKS[:6] if i == 0 else MORE_CAPITAL_ASKS)
        text = f"The capital of {country} is {city}."
        turns += [user(ask.format(c=country)), answer(text, text, must=[city])]
    return turns, " ".join(c for c, _ in pairs)


def more_sums(r):
    a, b = two_numbers(r)
    a, b = a // 2, b // 2
    c, s = r.randrange(1, 10), a + b
    turns = [user(f"What is {a} + {b}?"), answer(add_steps(a, b), f"{a} + {b} = {s}")]
    if r.random() < 0.6 or s < c:
        turns += [
            user(r.choice([f"Now add {c}.", f"Add {c}.", f"And plus {c}?"])),
            answer(add_steps(s, c), f"{s} + {c} = {s + c}"),
        ]
    else:
        turns += [
            user(r.choice([f"Now subtract {c}.", f"Subtract {c}.", f"And minus {c}?"])),
            answer(sub_steps(s, c), f"{s} - {c} = {s - c}"),
        ]
    return turns, f"{a} {b} {c}"


def more_sounds(r):
    pairs = r.sample(list(SOUNDS.items()), r.randint(2, 3))
    turns = []
    for i, (animal, sound) in enumerate(pairs):
        one = with_article(animal)
        ask = (
            f"What sound does {one} make?"
            if i == 0
            else r.choice([f"And {one}?", f"What about {one}?"])
        )
        turns += [
            user(ask),
            answer(
                f"The sound of {one} is {sound}.", f"{sentence_case(one)} says {sound}.",
                must=[sound],
            ),
        ]
    return turns, " ".join(a for a, _ in pairs)


def more_opposites(r):
    pairs = r.sample(OPPOSITES, r.randint(2, 3))
    turns = []
    for i, (a, b) in enumerate(pairs):
        ask = f"What is the opposite of {a}?" if i == 0 else r.choice([f"And of {a}?", f"And {a}?"])
        text = f"The opposite of {a} is {b}."
        turns += [user(ask), answer(text, text, must=[b])]
    return turns, " ".join(a for a, _ in pairs)


def hero_of_story(r):
    first = story(r)
    hero = first.messages[-1]["check"]["story"]
    if not hero:
        return None
    text = f"The story was about {hero[0]} the {hero[1]}."
    ask = r.choice(["Who was the story about?", "What was the name in the story?"])
    return first.messages + [user(ask), answer(text, text, must=[hero[0]])], f"{hero}"


def follow_up(r):
    """Short questions that lean on the turn before."""
    found = None
    while found is None:
        found = r.choice(
            [more_capitals, more_capitals, more_sums, more_sounds, more_opposites, hero_of_story]
        )(r)
    turns, key = found
    return Example("follow_up", turns, key=key)


def mixed_turns(r, n=None):
    turns = []
    for _ in range(n or r.randint(2, 5)):
        turns += r.choice(SIMPLE_SKILLS)(r).messages[-2:]
    key = turns[-4]["content"] + turns[-2]["content"]
    return Example("mixed_turns", turns, key=key)


def long_chat(r):
    return mixed_turns(r, r.randint(6, 16))
