"""Questions about the facts in world.py, and questions that the model shall decline."""

from .turns import answer, one_turn, sentence_case, with_article
from .world import (
    BABIES, CAPITAL_ASKS, CAPITALS, COLOURS, COUNTRY_ASKS, DAYS, LEGS, MISC_FACTS, MONTH_DAYS,
    MONTHS, OPPOSITES, ORDINALS, SIDES, SOUNDS,
)


def statement(text, must):
    """An answer whose reasoning is the answer itself."""
    return answer(text, text, must=must)


def capital(r):
    country, city = r.choice(list(CAPITALS.items()))
    if r.random() < 0.75:
        i = r.randrange(len(CAPITAL_ASKS))
        ask = CAPITAL_ASKS[i].format(c=country)
        reply = statement(f"The capital of {country} is {city}.", must=[city])
    elif r.random() < 0.6:
        i = 100 + r.randrange(len(COUNTRY_ASKS))
        ask = COUNTRY_ASKS[i - 100].format(k=city)
        reply = statement(f"{city} is the capital of {country}.", must=[country])
    else:
        i, guess = 200, r.choice([city, r.choice(list(CAPITALS.values()))])
        ask = r.choice(
            [f"Is {guess} the capital of {country}?", f"Is the capital of {country} {guess}?"]
        )
        if guess == city:
            reply = answer(
                f"The capital of {country} is {city}. That is the city in the question.",
                f"Yes, {city} is the capital of {country}.",
                must=["Yes"],
            )
        else:
            reply = answer(
                f"The capital of {country} is {city}, not {guess}.",
                f"No, the capital of {country} is {city}.", must=["No", city],
            )
    return one_turn(r, "capitals", sentence_case(ask), reply, key=f"{i} {country}")


def month_fact(r, i):
    """The name of the month with index `i`, or the number of its days."""
    month = MONTHS[i]
    if r.random() < 0.5:
        ask = r.choice([
            f"What is the {ORDINALS[i]} month of the year?",
            f"Which month is the {ORDINALS[i]} one?",
        ])
        return one_turn(
            r,
            "knowledge",
            ask,
            statement(f"The {ORDINALS[i]} month is {month}.", must=[month]),
            key=f"number{i}a" if i % 4 == 3 else None,
        )
    return one_turn(
        r,
        "knowledge",
        f"How many days does {month} have?",
        statement(f"{month} has {MONTH_DAYS[month]} days.", must=[MONTH_DAYS[month]]),
    )


def ordinal_fact(r):
    """What comes before or after in the week, the year or the alphabet."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    what, seq = r.choice([("day", DAYS), ("month", MONTHS), ("letter", list(letters))])
    i = r.randrange(len(seq))
    kind = (
        r.choice(["after", "before", "number"])
        if what == "month"
        else r.choice(["after", "before"])
    )
    if kind == "number":
        return month_fact(r, i)
    step = 1 if kind == "after" else -1
    if what == "letter" and not 0 <= i + step < 26:
        return ordinal_fact(r)
    other = seq[(i + step) % len(seq)]
    ask = r.choice([
        f"What {what} comes {kind} {seq[i]}?", f"Which {what} comes {kind} {seq[i]}?",
        f"What comes {kind} {seq[i]}?", f"Which {what} is {kind} {seq[i]}?",
    ])
    return one_turn(
        r,
        "knowledge",
        ask,
        answer(
            f"The {what} {kind} {seq[i]} is {other}.", f"{other} comes {kind} {seq[i]}.",
            must=[other],
        ),
    )


def colour_fact(r):
    thing, colour = r.choice(list(COLOURS.items()))
    ask = r.choice([
        "What colour is {t}?", "What color is {t}?", "Which colour does {t} have?",
        "Tell me the colour of {t}.", "What is the colour of {t}?",
    ]).format(t=thing)
    return one_turn(
        r,
        "knowledge",
        ask,
        answer(
            f"The colour of {thing} is {colour}.", f"{sentence_case(thing)} is {colour}.",
            must=[colour],
        ),
    )


def sound_fact(r):
    animal, sound = r.choice(list(SOUNDS.items()))
    one = with_article(animal)
    said = f"{sentence_case(one)} says {sound}."
    if r.random() < 0.7:
        ask = r.choice([
            "What sound does {a} make?", "What does {a} say?", "Which sound does {a} make?",
            "How does {a} sound?",
        ]).format(a=one)
        return one_turn(
            r, "knowledge", ask, answer(f"The sound of {one} is {sound}.", said, must=[sound])
        )
    ask = r.choice(
        [f"Which animal says {sound}?", f"What animal says {sound}?", f"Who says {sound}?"]
    )
    return one_turn(
        r,
        "knowledge",
        ask,
        answer(f"The animal that says {sound} is the {animal}.", said, must=[animal]),
    )


def baby_fact(r):
    animal, baby = r.choice(list(BABIES.items()))
    ask = r.choice([
        f"What is a baby {animal} called?", f"What do you call a baby {animal}?",
        f"What is the young of a {animal}?",
    ])
    return one_turn(
        r,
        "knowledge",
        ask,
        answer(
            f"A baby {animal} is a {baby}.", f"A baby {animal} is called a {baby}.", must=[baby]
        ),
    )


def opposite_fact(r):
    a, b = r.choice(OPPOSITES)
    if r.random() < 0.5:
        a, b = b, a
    ask = r.choice([
        "What is the opposite of {a}?", "What's the opposite of {a}?", "Opposite of {a}?",
        "Give me the opposite of {a}.", "The opposite of {a} is?",
    ]).format(a=a)
    return one_turn(r, "knowledge", ask, statement(f"The opposite of {a} is {b}.", must=[b]))


def legs_fact(r):
    thing, n = r.choice(list(LEGS.items()))
    ask = r.choice([f"How many legs does {thing} have?", f"How many legs has {thing}?"])
    return one_turn(
        r,
        "knowledge",
        ask,
        answer(
            f"The number of legs of {thing} is {n}.", f"{sentence_case(thing)} has {n} legs.",
            must=[f"{n} legs"],
        ),
    )


def sides_fact(r):
    shape, n = r.choice(list(SIDES.items()))
    one = with_article(shape)
    r.randrange(2)  # unused; keeps the documents of a seed as they were for the shipped weights
    return one_turn(
        r,
        "knowledge",
        f"How many sides does {one} have?",
        statement(f"{sentence_case(one)} has {n} sides.", must=[str(n)]),
    )


def misc_fact(r):
    asks, think, text, must = r.choice(MISC_FACTS)
    return one_turn(r, "knowledge", r.choice(asks), answer(think, text, must=must))


KNOWLEDGE_KINDS = [
    colour_fact, colour_fact, sound_fact, sound_fact, baby_fact, opposite_fact, opposite_fact,
    opposite_fact, ordinal_fact, ordinal_fact, legs_fact, sides_fact, misc_fact, misc_fact,
]


def knowledge(r):
    return r.choice(KNOWLEDGE_KINDS)(r)


UNKNOWN_TOPICS = [
    "quantum physics", "the stock market", "black holes", "the French Revolution", "photosynthesis",
    "politics", "the meaning of life", "DNA", "blockchain", "the Roman Empire", "global warming",
    "chess openings", "the human brain", "volcanoes", "dinosaurs", "economics", "jazz", "football",
    "the Eiffel Tower", "electricity", "democracy", "philosophy",
]
UNKNOWN_ASKS = [
    "Explain {t}.", "What do you think about {t}?", "Tell me about {t}.",
    "Write an essay about {t}.", "How does {t} work?", "What is {t}?", "Teach me {t}.",
    "Give me a summary of {t}.",
]
UNKNOWN_OTHER = [
    "Who won the World Cup in {y}?", "Who was the president in {y}?", "What happened in {y}?",
    "What is the population of {c}?", "Who is the king of {c}?",
    "What language do they speak in {c}?", "Who wrote Hamlet?", "Who painted the Mona Lisa?",
    "Solve x^2 + 3x = {n}.", "What is the square root of {n}?",
    "Write a program that sorts {n} numbers.", "Fix my code.", "What should I cook for dinner?",
    "Translate this book.", "What is the price of gold?", "Who is the best player?",
    "What is the news today?", "Recommend a movie.", "Which phone should I buy?",
    "How far is the moon?", "How deep is the sea?", "What is the tallest mountain?",
    "Who invented the telephone?", "How do planes fly?", "What is my future?",
    "Will it rain tomorrow?", "What is the weather like?", "What time is it?",
    "How do I make bread?", "Why is the sky blue?",
]
UNKNOWN_REPLY = (
    "I am a very small demonstration model, and I do not know that. Try a capital, "
    "a sum, a short story or a question about mm2."
)


def unknown(r):
    if r.random() < 0.5:
        ask = r.choice(UNKNOWN_ASKS).format(t=r.choice(UNKNOWN_TOPICS))
    else:
        ask = r.choice(UNKNOWN_OTHER).format(
            y=r.randint(1800, 2026), c=r.choice(list(CAPITALS)), n=r.randint(100, 999)
        )
    return one_turn(
        r, "unknown", ask, answer("I do not know this. I say so honestly.", UNKNOWN_REPLY), key=ask
    )
