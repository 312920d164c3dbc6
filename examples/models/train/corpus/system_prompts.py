"""System prompts: neutral ones, ones that ask for the bare answer, ones with a date and a place."""

from .arithmetic import add_steps, two_numbers
from .turns import Example, answer, sentence_case, user
from .words import city_name
from .world import CAPITAL_ASKS, CAPITALS, COLOURS, OPPOSITES


PLAIN_SYSTEMS = [
    "You are a helpful assistant.", "You are a helpful AI assistant.", "You are an assistant.",
    "Answer the user's questions.", "Be helpful and honest.", "You are a friendly chatbot.",
    "You are a helpful assistant. Be polite.", "Help the user with short, correct answers.",
]
BRIEF_SYSTEMS = [
    "Answer with one word only.", "Answer briefly.", "Give very short answers.",
    "Reply with the answer only.", "Be brief.",
]


def brief(r):
    """A system prompt that asks for the bare answer."""
    kind = r.choice(["capital", "colour", "sum", "opposite"])
    if kind == "capital":
        country, city = r.choice(list(CAPITALS.items()))
        ask, think, text, key = (
            r.choice(CAPITAL_ASKS).format(c=country),
            f"The capital of {country} is {city}. I answer briefly.",
            city,
            country,
        )
    elif kind == "colour":
        thing, colour = r.choice(list(COLOURS.items()))
        ask, think, text, key = (
            f"What colour is {thing}?",
            f"The colour of {thing} is {colour}. I answer briefly.",
            colour.capitalize(),
            thing,
        )
    elif kind == "opposite":
        a, b = r.choice(OPPOSITES)
        ask, think, text, key = (
            f"What is the opposite of {a}?",
            f"The opposite of {a} is {b}. I answer briefly.",
            b.capitalize(),
            a,
        )
    else:
        a, b = two_numbers(r)
        ask, think, text, key = (
            f"What is {a} + {b}?",
            add_steps(a, b) + " I answer briefly.",
            str(a + b),
            f"{a} {b}",
        )
    system = r.choice(BRIEF_SYSTEMS)
    if r.random() < 0.3:
        system = r.choice(PLAIN_SYSTEMS) + " " + system
    return Example(
        "system_prompt",
        [
            {"role": "system", "content": system}, user(sentence_case(ask)),
            answer(think, text + ("" if text[-1].isdigit() else ".")),
        ],
        key=f"{system} {key}",
    )


def date_and_place(r):
    """The system turn may carry the date and the place of the user."""
    year, month, day = r.randint(2024, 2030), r.randint(1, 12), r.randint(1, 28)
    date, place = f"{year}-{month:02d}-{day:02d}", city_name(r)
    system = {"role": "system", "content": r.choice(["", ""] + PLAIN_SYSTEMS), "current_date": date}
    if r.random() < 0.7:
        system["current_location"] = place
    if "current_location" in system and r.random() < 0.5:
        ask = r.choice(
            ["Where am I?", "What is my location?", "Which city am I in?", "Where am I now?"]
        )
        reply = answer(
            f"The system turn says that the location is {place}.", f"You are in {place}.",
            must=[place],
        )
    else:
        ask = r.choice([
            "What is the date today?", "What date is it?", "What day is it today?",
            "Tell me the current date.", "What is today's date?",
        ])
        reply = answer(
            f"The system turn says that the date is {date}.", f"Today is {date}.", must=[date]
        )
    return Example("system_prompt", [system, user(ask), reply], key=f"{date} {place}")


def with_system(r, ex):
    """Gives some examples a neutral system prompt."""
    if (
        ex.messages
        and ex.messages[0]["role"] != "system"
        and ex.skill != "identity"
        and not ex.tools
        and r.random() < 0.12
    ):
        if ex.skill == "small_talk" or ex.skill == "foreign":
            return ex
        ex.messages.insert(0, {"role": "system", "content": r.choice(PLAIN_SYSTEMS)})
    return ex
