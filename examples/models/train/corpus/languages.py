"""Spanish, French, Chinese and emoji."""

from .turns import NAME, answer, one_turn


FOREIGN_TALK = [  # (reasoning, questions, answer)
    (
        "The user greets me in Spanish.",
        ["Hola", "¡Hola!", "Hola, ¿qué tal?", "¡Buenos días!", "Buenas tardes"],
        "¡Hola! ¿En qué puedo ayudarte?",
    ),
    (
        "The user asks in Spanish how I am.",
        ["¿Cómo estás?", "¿Qué tal?", "¿Cómo está usted?"],
        "Estoy muy bien, ¡gracias! ¿Y tú?",
    ),
    (
        "The user asks in Spanish who I am.",
        ["¿Quién eres?", "¿Cómo te llamas?", "¿Cuál es tu nombre?"],
        f"Soy {NAME}, un modelo muy pequeño del proyecto mm2.",
    ),
    (
        "The user thanks me in Spanish.",
        ["Gracias", "¡Muchas gracias!", "Gracias por tu ayuda."],
        "¡De nada!",
    ),
    (
        "The user says goodbye in Spanish.",
        ["Adiós", "¡Hasta luego!", "Hasta mañana"],
        "¡Adiós! Que tengas un buen día.",
    ),
    (
        "The user greets me in French.",
        ["Bonjour", "Bonjour !", "Salut", "Salut !", "Bonsoir"],
        "Bonjour ! Comment puis-je vous aider ?",
    ),
    (
        "The user asks in French how I am.",
        ["Comment ça va ?", "Ça va ?", "Comment allez-vous ?"],
        "Je vais très bien, merci ! Et vous ?",
    ),
    (
        "The user asks in French who I am.",
        ["Qui es-tu ?", "Comment t'appelles-tu ?", "Qui êtes-vous ?", "Quel est ton nom ?"],
        f"Je suis {NAME}, un très petit modèle du projet mm2.",
    ),
    (
        "The user thanks me in French.",
        ["Merci", "Merci beaucoup !", "Merci pour ton aide."],
        "De rien !",
    ),
    (
        "The user says goodbye in French.",
        ["Au revoir", "À bientôt !", "Bonne nuit"],
        "Au revoir ! Bonne journée.",
    ),
    (
        "The user greets me in Chinese.",
        ["你好", "你好！", "您好", "早上好", "大家好"],
        "你好！有什么可以帮你的吗？",
    ),
    (
        "The user asks in Chinese how I am.",
        ["你好吗？", "你怎么样？", "最近好吗？"],
        "我很好，谢谢！你呢？",
    ),
    (
        "The user asks in Chinese who I am.",
        ["你是谁？", "你叫什么名字？", "请介绍一下你自己。"],
        f"我是 {NAME}，mm2 项目的一个很小的模型。",
    ),
    ("The user thanks me in Chinese.", ["谢谢", "谢谢你！", "非常感谢！"], "不客气！"),
    (
        "The user says goodbye in Chinese.",
        ["再见", "再见！", "拜拜", "明天见"],
        "再见！祝你有美好的一天。",
    ),
]
FRENCH_CAPITALS = {  # with the preposition that follows "la capitale"
    "de la France": "Paris", "de l'Allemagne": "Berlin", "de l'Espagne": "Madrid",
    "de l'Italie": "Rome", "du Japon": "Tokyo", "de la Chine": "Pékin", "du Portugal": "Lisbonne",
    "de la Grèce": "Athènes", "de l'Égypte": "Le Caire", "de la Russie": "Moscou",
    "du Canada": "Ottawa", "du Brésil": "Brasilia", "de la Belgique": "Bruxelles",
    "de la Suède": "Stockholm", "de l'Inde": "New Delhi", "du Royaume-Uni": "Londres",
}
SPANISH_CAPITALS = {
    "Francia": "París", "Alemania": "Berlín", "España": "Madrid", "Italia": "Roma",
    "Japón": "Tokio", "China": "Pekín", "Portugal": "Lisboa", "Grecia": "Atenas",
    "Egipto": "El Cairo", "Rusia": "Moscú", "Canadá": "Ottawa", "Brasil": "Brasilia",
    "México": "Ciudad de México", "Perú": "Lima", "Cuba": "La Habana", "Suecia": "Estocolmo",
}
CHINESE_CAPITALS = {
    "法国": "巴黎", "德国": "柏林", "西班牙": "马德里", "意大利": "罗马", "日本": "东京",
    "中国": "北京", "葡萄牙": "里斯本", "希腊": "雅典", "埃及": "开罗", "俄罗斯": "莫斯科",
    "加拿大": "渥太华", "印度": "新德里", "英国": "伦敦", "美国": "华盛顿", "韩国": "首尔",
    "泰国": "曼谷",
}
TRANSLATIONS = {  # English: (Spanish, French, Chinese)
    "cat": ("gato", "chat", "猫"), "dog": ("perro", "chien", "狗"),
    "house": ("casa", "maison", "房子"), "water": ("agua", "eau", "水"),
    "book": ("libro", "livre", "书"), "sun": ("sol", "soleil", "太阳"),
    "moon": ("luna", "lune", "月亮"), "tree": ("árbol", "arbre", "树"),
    "bread": ("pan", "pain", "面包"), "milk": ("leche", "lait", "牛奶"),
    "friend": ("amigo", "ami", "朋友"), "red": ("rojo", "rouge", "红色"),
    "blue": ("azul", "bleu", "蓝色"), "green": ("verde", "vert", "绿色"),
    "hello": ("hola", "bonjour", "你好"), "goodbye": ("adiós", "au revoir", "再见"),
    "thank you": ("gracias", "merci", "谢谢"), "yes": ("sí", "oui", "是"),
    "no": ("no", "non", "不"), "night": ("noche", "nuit", "夜晚"), "fish": ("pez", "poisson", "鱼"),
    "bird": ("pájaro", "oiseau", "鸟"), "apple": ("manzana", "pomme", "苹果"),
    "school": ("escuela", "école", "学校"), "love": ("amor", "amour", "爱"),
    "one": ("uno", "un", "一"), "two": ("dos", "deux", "二"), "three": ("tres", "trois", "三"),
    "flower": ("flor", "fleur", "花"), "fire": ("fuego", "feu", "火"),
}
EMOJI = {
    "cat": "🐱", "dog": "🐶", "sun": "☀️", "moon": "🌙", "star": "⭐", "heart": "❤️", "fire": "🔥",
    "tree": "🌳", "flower": "🌸", "fish": "🐟", "bird": "🐦", "apple": "🍎", "banana": "🍌",
    "pizza": "🍕", "cake": "🎂", "car": "🚗", "rocket": "🚀", "house": "🏠", "book": "📚",
    "robot": "🤖", "rain": "🌧️", "snow": "❄️", "smile": "😀", "laugh": "😂", "party": "🎉",
    "thumbs up": "👍", "coffee": "☕", "bee": "🐝",
}


def foreign_capital(r):
    """A capital asked and answered in French, Spanish or Chinese."""
    language = r.choice(["French", "Spanish", "Chinese"])
    if language == "French":
        place, city = r.choice(list(FRENCH_CAPITALS.items()))
        asks = [
            "Quelle est la capitale {p} ?", "Quelle est la capitale {p}?",
            "Dis-moi la capitale {p}.",
        ]
        text = f"La capitale {place} est {city}."
    elif language == "Spanish":
        place, city = r.choice(list(SPANISH_CAPITALS.items()))
        asks = [
            "¿Cuál es la capital de {p}?", "¿Qué ciudad es la capital de {p}?",
            "Dime la capital de {p}.",
        ]
        text = f"La capital de {place} es {city}."
    else:
        place, city = r.choice(list(CHINESE_CAPITALS.items()))
        asks = ["{p}的首都是哪里？", "{p}的首都是什么？", "请问{p}的首都是哪个城市？"]
        text = f"{place}的首都是{city}。"
    ask = r.choice(asks).format(p=place)
    return one_turn(
        r,
        "foreign",
        ask,
        answer(f"The user asks in {language} for a capital. It is {city}.", text, must=[city]),
        key=ask,
        dressed=False,
    )


def translation(r):
    """A word from English into another language, or the other way round."""
    word, forms = r.choice(list(TRANSLATIONS.items()))
    language, form = r.choice(list(zip(["Spanish", "French", "Chinese"], forms)))
    if r.random() < 0.7:
        ask = r.choice([
            "How do you say {w} in {l}?", "Translate {w} into {l}.", "What is {w} in {l}?",
            "What is the {l} word for {w}?", "How do you say '{w}' in {l}?",
        ]).format(w=word, l=language)
        return one_turn(
            r,
            "foreign",
            ask,
            answer(
                f"The {language} word for {word} is {form}.", f"In {language}, {word} is {form}.",
                must=[form],
            ),
        )
    ask = r.choice([
        f"What does {form} mean in English?", f"What does {form} mean?",
        f"Translate {form} into English.",
    ])
    return one_turn(
        r,
        "foreign",
        ask,
        answer(f"{form} means {word}.", f"{form} means {word}.", must=[word]),
        dressed=False,
    )


def foreign(r):
    kind = r.random()
    if kind < 0.40:
        think, asks, text = r.choice(FOREIGN_TALK)
        return one_turn(
            r, "foreign", r.choice(asks), answer(think, text, one_of=[text]), dressed=False
        )
    return foreign_capital(r) if kind < 0.62 else translation(r)


def emoji(r):
    name, sign = r.choice(list(EMOJI.items()))
    if r.random() < 0.6:
        ask = r.choice([
            "Send me a {n} emoji.", "Show me a {n} emoji.", "Give me a {n} emoji.",
            "What is the emoji for {n}?", "Which emoji means {n}?", "A {n} emoji, please.",
        ]).format(n=name)
        return one_turn(
            r,
            "emoji",
            ask,
            answer(f"The emoji for {name} is {sign}.", f"Here it is: {sign}", must=[sign]),
        )
    ask = r.choice(["What does {s} mean?", "What is {s}?", "What does the emoji {s} show?"]).format(
        s=sign
    )
    return one_turn(
        r,
        "emoji",
        ask,
        answer(f"The emoji {sign} means {name}.", f"{sign} means {name}.", must=[name]),
    )
