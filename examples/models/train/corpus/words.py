"""Word lists that several skills share, and the makers of words and phrases that exist nowhere."""

from .world import CAPITALS, DAYS


PEOPLE = [
    "Anna", "Bob", "Carla", "David", "Emma", "Felix", "Grace", "Hugo", "Ines", "Jack", "Kate",
    "Leo", "Maria", "Nora", "Oscar", "Paula", "Quinn", "Rosa", "Sam", "Tina", "Uma", "Victor",
    "Wendy", "Xavier", "Yara", "Zoe", "Omar", "Priya", "Chen", "Yuki", "Fatima", "Ivan", "Lena",
    "Mateo", "Sofia", "Tom", "Ben", "Alice", "Clara", "Daniel",
]
THINGS = [
    "apples", "books", "coins", "pencils", "cards", "stamps", "marbles", "shells", "cookies",
    "flowers", "stickers", "balls", "eggs", "oranges", "stones", "toys",
]


WORDS = """
    cat dog cow pig hen fox bee ant owl bat rat sun sea sky ice map box cup hat pen bed car bus
    key tree fish bird frog duck goat lion bear wolf moon star rain snow wind fire lake hill
    rock sand leaf rose milk cake rice soup bread apple lemon grape peach mango onion river
    ocean beach cloud storm night light table chair house door window floor book paper pencil
    school music piano guitar drum song dance happy green black white brown orange purple yellow
    silver gold horse sheep tiger zebra monkey rabbit mouse snake spider butter cheese pepper
    banana cherry tomato potato carrot garden flower forest mountain island castle bridge street
    city village summer winter spring autumn morning evening friend family mother father sister
    brother doctor teacher farmer pilot robot model token expert router tensor kernel cache
    vector matrix python hello world computer strawberry elephant letter number water stone
    planet rocket
""".split()


def nonsense(r, capital_letter=False):
    """A word that exists nowhere, so that copying it needs reading."""
    word = "".join(
        r.choice("bcdfghjklmnprstvwz")
        + r.choice(["a", "e", "i", "o", "u", "ar", "en", "il", "on", "us"])
        for _ in range(r.choice([2, 2, 3]))
    )
    return word.capitalize() if capital_letter else word


PHRASE_SUBJECTS = [
    "I", "We", "My friend", "The team", "Everybody", "The train", "Your order", "The meeting",
    "Dinner", "The report", "The package", "My sister", "The boss", "The doctor", "The car",
]
PHRASE_STATES = [
    "will be late", "is ready", "starts at {n}", "arrives at {n}", "needs help", "is in {c}",
    "will call you back", "is on the way", "has moved to {d}", "is cancelled", "likes {w}",
    "found the {w}", "wants {n} {t}", "cannot come on {d}", "waits near the {w}", "lost the {w}",
    "sends greetings from {c}", "says hello",
]
PLAIN_VERBS = {  # after "I" and "We"
    "needs": "need", "arrives": "arrive", "starts": "start", "likes": "like", "wants": "want",
    "waits": "wait", "sends": "send", "says": "say", "has moved": "have moved",
}


def phrase(r):
    """A short free sentence, for copying."""
    subject, state = r.choice(PHRASE_SUBJECTS), r.choice(PHRASE_STATES)
    if subject in ("I", "We"):
        if state.startswith("is "):
            state = ("am " if subject == "I" else "are ") + state[3:]
        for verb, plain in PLAIN_VERBS.items():
            state = state.replace(verb, plain)
    return f"{subject} {state}".format(
        n=r.randint(1, 60), c=city_name(r), d=r.choice(DAYS), w=r.choice(WORDS), t=r.choice(THINGS)
    )


MORE_CITIES = [
    "New York", "Los Angeles", "Chicago", "Boston", "Toronto", "Barcelona", "Milan", "Munich",
    "Hamburg", "Lyon", "Marseille", "Porto", "Geneva", "Zurich", "Istanbul", "Dubai", "Mumbai",
    "Shanghai", "Hong Kong", "Osaka", "Sydney", "Melbourne", "Rio de Janeiro", "Cape Town",
    "Edinburgh", "Seattle", "Denver", "Miami", "Singapore", "Kyoto",
]
CITIES = list(CAPITALS.values()) + MORE_CITIES


def city_name(r):
    return nonsense(r, True) if r.random() < 0.2 else r.choice(CITIES)


CATEGORIES = {
    "fruits": "apple banana cherry grape lemon mango orange peach pear plum".split(),
    "vegetables": "carrot onion potato tomato pepper cabbage spinach bean pea cucumber".split(),
    "animals": "cat dog horse cow lion tiger bear wolf rabbit elephant".split(),
    "birds": "owl eagle robin swan duck crow parrot penguin sparrow pigeon".split(),
    "colours": "red blue green yellow orange purple black white brown pink".split(),
    "countries": "France Germany Spain Italy Japan China India Brazil Canada Egypt".split(),
    "cities": "Paris London Tokyo Rome Berlin Madrid Cairo Lima Oslo Vienna".split(),
    "instruments": "piano guitar violin drum flute trumpet harp cello".split(),
    "sports": "football tennis swimming running cycling rowing boxing basketball".split(),
    "drinks": "water milk tea coffee juice lemonade".split(),
    "flowers": "rose tulip daisy lily violet sunflower".split(),
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
    "programming languages": ["C", "C++", "Python", "Java", "Rust", "Go", "JavaScript", "Ruby"],
    "tools": "hammer saw drill wrench knife ruler axe shovel".split(),
    "clothes": "shirt hat coat shoes socks gloves scarf dress".split(),
}
