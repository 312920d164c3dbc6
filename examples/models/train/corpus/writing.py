"""Lists, stories and poems."""

from .turns import answer, one_turn, with_article
from .words import CATEGORIES, PEOPLE, nonsense


SMALL_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


def listing(r):
    what, items = r.choice(list(CATEGORIES.items()))
    n = r.randint(2, min(6, len(items)))
    chosen = r.sample(items, n)
    number = SMALL_NUMBERS[n] if r.random() < 0.7 else str(n)
    style = r.choice(["bullets", "bullets", "numbers", "line"])
    if style == "bullets":
        ask, text = (
            r.choice([
                "List {n} {w}.", "Give me a list of {n} {w}.", "Make a list of {n} {w}.",
                "Write a list of {n} {w}.",
            ]),
            "\n".join(f"- {x}" for x in chosen),
        )
    elif style == "numbers":
        ask, text = (
            r.choice([
                "Write a numbered list of {n} {w}.", "Give me a numbered list of {n} {w}.",
                "Make a numbered list of {n} {w}.",
            ]),
            "\n".join(f"{i + 1}. {x}" for i, x in enumerate(chosen)),
        )
    else:
        ask, text = (
            r.choice(["Name {n} {w}.", "Tell me {n} {w}.", "Can you name {n} {w}?"]),
            ", ".join(chosen[:-1]) + " and " + chosen[-1] + ".",
        )
    ask = ask.format(n=number, w=what)
    reply = answer(
        f"The user wants {n} {what}: {', '.join(chosen)}.", text,
        check={"list": style, "count": n, "items": items},
    )
    return one_turn(r, "lists", ask, reply, key=f"{what} {n} {style} {number}")


STORY_ANIMALS = [
    "cat", "dog", "fox", "bear", "mouse", "rabbit", "owl", "frog", "horse", "dragon", "robot",
    "turtle", "lion", "bird", "penguin", "elephant",
]
STORY_PLACES = [
    "forest", "garden", "village", "castle", "city", "mountain", "river", "beach", "island",
    "library",
]
STORY_OBJECTS = ["key", "map", "lamp", "book", "ring", "coin", "boat", "kite", "bell", "hat"]
STORY_TRAITS = ["small", "brave", "curious", "kind", "shy", "clever", "lazy", "funny"]


def story(r):
    n, friend = r.sample(PEOPLE, 2)
    if r.random() < 0.25:
        n = nonsense(r, True)
    a, p, o, t = (
        r.choice(STORY_ANIMALS),
        r.choice(STORY_PLACES),
        r.choice(STORY_OBJECTS),
        r.choice(STORY_TRAITS),
    )
    one = with_article(a)
    plots = [
        f"Once upon a time there was a {t} {a} named {n}. {n} lived near a {p}. One day "
        f'{n} found a {o} under a tree. "This must belong to {friend}," said {n}. '
        f"{n} carried the {o} to {friend}, and {friend} was very happy. From that day on "
        "they were best friends.",
        f"{n} was a {t} {a} who wanted to see the world. One morning {n} left the {p} "
        f"with nothing but a {o}. On the road {n} met {friend}, who was lost. "
        f'Together they found the way home. {n} smiled and said, "The best journey is '
        'the one with a friend."',
        f"In a quiet {p} lived a {a} called {n}. Everybody said that {n} was too {t}. "
        f"But when {friend} lost a {o}, only {n} could find it. "
        f'"Thank you, {n}!" said {friend}. That night the whole {p} had a big party.',
        f"It was raining in the {p}, and {n} the {a} could not sleep. Suddenly there was "
        f'a light. It was {friend} with an old {o}. "Come with me," said {friend}. '
        f"They walked until the rain stopped and the stars came out. Then {n} was not "
        "afraid any more.",
    ]
    ask = r.choice([
        "Tell me a story about {x} named {n}.", "Tell me a short story about {x} named {n}.",
        "Write a story about {x} called {n}.", "Write a short story about {n} the {a}.",
        "Can you tell me a story about {n} the {a}?", "I want a story about {x} named {n}.",
    ]).format(x=one, a=a, n=n)
    if r.random() < 0.15:
        ask = r.choice([
            "Tell me a story.", "Tell me a short story.", "Write a story.",
            "I want to hear a story.",
        ])
        return one_turn(
            r,
            "stories",
            ask,
            answer(
                f"The user wants a story. I choose {one} named {n}.", r.choice(plots),
                check={"story": []},
            ),
        )
    return one_turn(
        r,
        "stories",
        ask,
        answer(
            f"The user wants a story about {one} named {n}.", r.choice(plots),
            check={"story": [n, a]},
        ),
        key=f"{n} {a}",
    )


POEMS = {
    "the sea": (
        "The sea is wide, the sea is blue,\nIt sings a song for me and you.\nThe waves "
        "come in, the waves go out,\nAnd gulls fly round and cry and shout."
    ),
    "the moon": (
        "The moon is shining, round and bright,\nIt paints the garden silver white.\n"
        "The owls wake up, the children sleep,\nThe night is quiet, soft and deep."
    ),
    "spring": (
        "The snow is gone, the sky is clear,\nThe birds come back, for spring is here.\n"
        "The flowers wake in red and gold,\nAnd no one thinks about the cold."
    ),
    "a cat": (
        "The cat sits on the window sill,\nShe looks at birds and holds so still.\nShe "
        "dreams of fish, she dreams of cream,\nAnd purrs a little in her dream."
    ),
    "the rain": (
        "The rain is falling on the street,\nIt makes a drum beneath my feet.\nI hold "
        "my hat, I start to run,\nAnd wait inside to see the sun."
    ),
    "a robot": (
        "A little robot made of tin\nHas lights outside and wires within.\nIt counts to "
        "ten, it says hello,\nAnd tells you all the things you know."
    ),
    "the sun": (
        "The sun gets up, the night is done,\nIt warms the houses one by one.\nIt "
        "shines on mountain, field and sea,\nAnd then it shines on you and me."
    ),
    "a friend": (
        "A friend is someone kind and true,\nWho laughs and cries along with you.\nWhen "
        "days are long and skies are grey,\nA friend will brighten up the day."
    ),
}


def poem(r):
    topic, text = r.choice(list(POEMS.items()))
    ask = r.choice([
        "Write a poem about {t}.", "Write a short poem about {t}.",
        "Can you write a poem about {t}?", "A poem about {t}, please.", "Make a poem about {t}.",
    ]).format(t=topic)
    if r.random() < 0.15:
        return one_turn(
            r,
            "stories",
            r.choice(["Write a poem.", "Write a short poem.", "Tell me a poem."]),
            answer(
                f"The user wants a poem. I write about {topic}.", text, one_of=list(POEMS.values())
            ),
        )
    return one_turn(r, "stories", ask, answer(f"The user wants a poem about {topic}.", text))
