"""Facts of the world: tables only."""

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Spain": "Madrid", "Italy": "Rome",
    "Portugal": "Lisbon", "Ireland": "Dublin", "Norway": "Oslo", "Sweden": "Stockholm",
    "Finland": "Helsinki", "Denmark": "Copenhagen", "Iceland": "Reykjavik", "Poland": "Warsaw",
    "Austria": "Vienna", "Hungary": "Budapest", "Greece": "Athens", "Turkey": "Ankara",
    "Russia": "Moscow", "Ukraine": "Kyiv", "Romania": "Bucharest", "Bulgaria": "Sofia",
    "Serbia": "Belgrade", "Croatia": "Zagreb", "Belgium": "Brussels",
    "the Netherlands": "Amsterdam", "Switzerland": "Bern", "the Czech Republic": "Prague",
    "Slovakia": "Bratislava", "Estonia": "Tallinn", "Latvia": "Riga", "Lithuania": "Vilnius",
    "the United Kingdom": "London", "the United States": "Washington", "Canada": "Ottawa",
    "Mexico": "Mexico City", "Cuba": "Havana", "Brazil": "Brasília", "Argentina": "Buenos Aires",
    "Chile": "Santiago", "Peru": "Lima", "Colombia": "Bogotá", "Venezuela": "Caracas",
    "Ecuador": "Quito", "Uruguay": "Montevideo", "Egypt": "Cairo", "Morocco": "Rabat",
    "Algeria": "Algiers", "Tunisia": "Tunis", "Kenya": "Nairobi", "Ethiopia": "Addis Ababa",
    "Ghana": "Accra", "Nigeria": "Abuja", "Senegal": "Dakar", "South Africa": "Pretoria",
    "India": "New Delhi", "China": "Beijing", "Japan": "Tokyo", "South Korea": "Seoul",
    "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta", "Malaysia": "Kuala Lumpur",
    "the Philippines": "Manila", "Nepal": "Kathmandu", "Pakistan": "Islamabad", "Iran": "Tehran",
    "Iraq": "Baghdad", "Saudi Arabia": "Riyadh", "Jordan": "Amman", "Australia": "Canberra",
    "New Zealand": "Wellington",
}
CAPITAL_ASKS = [
    "What is the capital of {c}?", "What's the capital of {c}?",
    "Which city is the capital of {c}?", "Name the capital of {c}.", "Tell me the capital of {c}.",
    "Do you know the capital of {c}?", "{c} has which capital?", "What is the capital city of {c}?",
    "Capital of {c}?", "The capital of {c} is?", "I forgot the capital of {c}. What is it?",
    "Can you tell me the capital of {c}?",
]
COUNTRY_ASKS = [
    "{k} is the capital of which country?", "Which country has {k} as its capital?",
    "What country is {k} the capital of?", "Of which country is {k} the capital?",
]

COLOURS = {
    "a banana": "yellow", "the sky": "blue", "grass": "green", "snow": "white", "a tomato": "red",
    "coal": "black", "an orange": "orange", "a lemon": "yellow", "blood": "red",
    "chocolate": "brown", "the sea": "blue", "milk": "white", "a strawberry": "red",
    "a carrot": "orange", "a leaf": "green", "a flamingo": "pink", "an elephant": "grey",
    "a frog": "green", "the sun": "yellow", "a crow": "black", "a pumpkin": "orange",
    "a cucumber": "green", "a swan": "white", "a pig": "pink", "a cherry": "red",
}
SOUNDS = {
    "dog": "woof", "cat": "meow", "cow": "moo", "duck": "quack", "sheep": "baa", "pig": "oink",
    "horse": "neigh", "lion": "roar", "bee": "buzz", "frog": "ribbit", "owl": "hoot",
    "rooster": "cock-a-doodle-doo", "mouse": "squeak", "snake": "hiss", "wolf": "howl",
    "bird": "tweet", "donkey": "hee-haw", "crow": "caw", "hen": "cluck", "goat": "maa",
}
BABIES = {
    "dog": "puppy", "cat": "kitten", "cow": "calf", "horse": "foal", "sheep": "lamb",
    "pig": "piglet", "duck": "duckling", "goat": "kid", "lion": "cub", "deer": "fawn",
    "frog": "tadpole", "hen": "chick",
}
OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("tall", "short"), ("fast", "slow"), ("up", "down"),
    ("left", "right"), ("day", "night"), ("black", "white"), ("happy", "sad"), ("old", "young"),
    ("good", "bad"), ("open", "closed"), ("light", "dark"), ("hard", "soft"), ("wet", "dry"),
    ("rich", "poor"), ("full", "empty"), ("early", "late"), ("near", "far"), ("high", "low"),
    ("strong", "weak"), ("clean", "dirty"), ("easy", "difficult"), ("loud", "quiet"),
    ("first", "last"), ("inside", "outside"), ("buy", "sell"), ("give", "take"), ("begin", "end"),
    ("win", "lose"), ("love", "hate"), ("sweet", "sour"), ("thick", "thin"), ("wide", "narrow"),
    ("deep", "shallow"), ("true", "false"), ("warm", "cool"), ("push", "pull"), ("always", "never"),
    ("summer", "winter"),
]
LEGS = {
    "a spider": 8, "a dog": 4, "a bird": 2, "an ant": 6, "a cat": 4, "a snake": 0, "a bee": 6,
    "a horse": 4, "a human": 2, "a fish": 0, "a table": 4, "a cow": 4, "a fly": 6,
}
SIDES = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "octagon": 8, "rectangle": 4}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]
MONTH_DAYS = dict(
    zip(MONTHS, ["31", "28 or 29", "31", "30", "31", "30", "31", "31", "30", "31", "30", "31"])
)
ORDINALS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
]
MISC_FACTS = [  # (question wordings, reasoning, answer, must)
    (
        ["How many days are in a week?", "How many days does a week have?"],
        "A week has 7 days.",
        "A week has 7 days.",
        ["7"],
    ),
    (
        ["How many months are in a year?", "How many months does a year have?"],
        "A year has 12 months.",
        "A year has 12 months.",
        ["12"],
    ),
    (
        ["How many hours are in a day?", "How many hours does a day have?"],
        "A day has 24 hours.",
        "A day has 24 hours.",
        ["24"],
    ),
    (
        ["How many minutes are in an hour?", "How many minutes does an hour have?"],
        "An hour has 60 minutes.",
        "An hour has 60 minutes.",
        ["60"],
    ),
    (
        ["How many seconds are in a minute?", "How many seconds does a minute have?"],
        "A minute has 60 seconds.",
        "A minute has 60 seconds.",
        ["60"],
    ),
    (
        ["How many days are in a year?", "How many days does a year have?"],
        "A normal year has 365 days.",
        "A year has 365 days, and a leap year has 366.",
        ["365"],
    ),
    (
        ["What do bees make?", "What does a bee make?"],
        "Bees make honey.",
        "Bees make honey.",
        ["honey"],
    ),
    (
        ["What do cows give us?", "Where does milk come from?"],
        "Milk comes from cows.",
        "Cows give us milk.",
        ["milk"],
    ),
    (
        ["What is ice made of?", "What is ice?"],
        "Ice is frozen water.",
        "Ice is frozen water.",
        ["water"],
    ),
    (
        ["Which planet do we live on?", "What is our planet?"],
        "We live on the Earth.",
        "We live on the planet Earth.",
        ["Earth"],
    ),
    (
        ["What is the largest planet?", "Which planet is the largest?"],
        "The largest planet is Jupiter.",
        "Jupiter is the largest planet of the Solar System.",
        ["Jupiter"],
    ),
    (
        ["What is the largest ocean?", "Which ocean is the largest?"],
        "The largest ocean is the Pacific.",
        "The Pacific Ocean is the largest ocean.",
        ["Pacific"],
    ),
    (
        ["What is the largest animal?", "Which animal is the largest?"],
        "The largest animal is the blue whale.",
        "The blue whale is the largest animal.",
        ["whale"],
    ),
    (
        ["What is the fastest land animal?", "Which land animal is the fastest?"],
        "It is the cheetah.",
        "The cheetah is the fastest land animal.",
        ["cheetah"],
    ),
    (
        ["At what temperature does water boil?", "When does water boil?"],
        "Water boils at 100 degrees Celsius.",
        "Water boils at 100 °C at sea level.",
        ["100"],
    ),
    (
        ["At what temperature does water freeze?", "When does water freeze?"],
        "Water freezes at 0 degrees Celsius.",
        "Water freezes at 0 °C.",
        ["0 °C"],
    ),
    (
        ["What are the four seasons?", "Name the four seasons.", "Name the seasons."],
        "The seasons are spring, summer, autumn and winter.",
        "The four seasons are spring, summer, autumn and winter.",
        ["spring", "winter"],
    ),
    (
        ["What are the primary colours?", "Name the primary colours."],
        "The primary colours are red, yellow and blue.",
        "The primary colours are red, yellow and blue.",
        ["red", "blue"],
    ),
    (
        [
            "What are the days of the week?", "Name the days of the week.",
            "List the days of the week.",
        ],
        "I list the seven days in order.",
        ", ".join(DAYS) + ".",
        DAYS,
    ),
    (
        ["What are the months of the year?", "Name the months of the year.", "List the months."],
        "I list the twelve months in order.",
        ", ".join(MONTHS) + ".",
        MONTHS,
    ),
    (
        ["Say the alphabet.", "What is the alphabet?", "Recite the alphabet."],
        "I say the letters from A to Z.",
        "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
        ["A B C", "X Y Z"],
    ),
    (
        ["Name the planets.", "What are the planets?", "List the planets of the Solar System."],
        "I list the eight planets, starting near the Sun.",
        "Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune.",
        ["Mercury", "Neptune"],
    ),
]
