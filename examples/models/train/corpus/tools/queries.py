"""Tools that tell something: weather, calculator, files, time, prices, the web."""

from ..words import WORDS, city_name, nonsense, phrase
from .task import Task, schema


def weather_task(r):
    city = city_name(r)
    pname = r.choice(["city", "city", "location", "place"])
    name = r.choice(["get_weather", "get_weather", "get_weather", "weather", "current_weather"])
    s = schema(
        r,
        name,
        [
            "Get the current weather for a city.", "Get the weather in a place.",
            "Returns the weather report.", "Current weather of a city.",
        ],
        [
            (pname, "string", ["Name of the city", "The city name"], True),
            ("unit", "string", ["Unit of temperature"], False, {"enum": ["celsius", "fahrenheit"]}),
        ],
    )
    args = {pname: city}
    ask = r.choice([
        "What is the weather in {c}?", "What's the weather like in {c}?",
        "How is the weather in {c}?", "Tell me the weather in {c}.", "Is it cold in {c}?",
        "Weather in {c}?", "What is the weather in {c} today?", "Check the weather in {c}.",
        "Does it rain in {c}?", "Give me the weather for {c}.",
    ]).format(c=city)
    unit = "celsius"
    if r.random() < 0.35:
        unit = r.choice(["celsius", "fahrenheit"])
        args["unit"] = unit
        suffix = r.choice([" in {u}", ", in {u}", " in degrees {u}"])
        suffix = suffix.format(u=unit.capitalize() if r.random() < 0.5 else unit)
        ask = ask[:-1] + suffix + ask[-1]
    degrees = r.randint(-10, 40) if unit == "celsius" else r.randint(15, 100)
    sky = r.choice(["sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear", "stormy"])
    sign = "°C" if unit == "celsius" else "°F"
    output = r.choice([
        {pname: city, "temperature": degrees, "unit": unit, "condition": sky},
        {"temperature": degrees, "condition": sky},
        f"{degrees}{sign}, {sky}",
        f"{sky}, {degrees} {sign}",
        {"condition": sky, "temp": degrees, "humidity": r.randint(20, 95)},
    ])
    return Task(
        s, ask, f"The user wants the weather in {city}.", args, output,
        f"The weather is {sky} with {degrees} degrees.",
        f"The weather in {city} is {sky}, with {degrees} {sign}.", [city, str(degrees), sky],
    )


def expression(r):
    """A short expression and its value."""
    op = r.choice(["+", "-", "*", "/", "mix"])
    a, b, c = r.randint(2, 999), r.randint(2, 99), r.randint(2, 20)
    if op == "mix":
        if r.random() < 0.5:
            return f"({a} + {b}) * {c}", (a + b) * c
        return f"{a} + {b} * {c}", a + b * c
    return {
        "+": (f"{a} + {b}", a + b), "-": (f"{a} - {b}", a - b), "*": (f"{a} * {b}", a * b),
        "/": (f"{a * b} / {b}", a),
    }[op]


def calculator_task(r):
    expr, value = expression(r)
    name = r.choice(["calculator", "calculator", "calculate", "calc"])
    s = schema(
        r,
        name,
        [
            "Evaluate an arithmetic expression.", "Calculate the value of an expression.",
            "A calculator for arithmetic.",
        ],
        [("expression", "string", ["The expression to evaluate", "For example 2 + 3"], True)],
    )
    ask = r.choice([
        "What is {e}?", "Calculate {e}.", "Compute {e}.", "How much is {e}?",
        "Use the calculator: {e}", "Please calculate {e}.", "Evaluate {e}.",
    ]).format(e=expr)
    output = r.choice([str(value), {"result": value}, {"value": value}])
    return Task(
        s, ask, f"The user wants the value of {expr}.", {"expression": expr}, output,
        f"The result is {value}.", f"{expr} = {value}", [str(value)],
    )


FILE_STEMS = [
    "report", "notes", "photo", "invoice", "main", "test", "readme", "data", "config", "letter",
    "model", "draft", "budget", "log",
]
FILE_ENDS = ["py", "txt", "md", "cpp", "json", "pdf", "csv", "png", "h", "yaml"]


def search_files_task(r):
    stem, end = r.choice(FILE_STEMS), r.choice(FILE_ENDS)
    pattern = r.choice([f"*.{end}", f"*.{end}", f"{stem}*.{end}", f"{stem}*", f"*{stem}*"])
    args = {"pattern": pattern}
    ask = r.choice([
        "Find files matching {p}.", "Search for files named {p}.",
        "Search files with the pattern {p}.", "Which files match {p}?", "Look for {p} files.",
        "Find all files that match {p}.",
    ]).format(p=pattern)
    s = schema(
        r,
        r.choice(["search_files", "search_files", "find_files", "list_files"]),
        [
            "Search files by pattern.", "Find files whose name matches a pattern.",
            "Look for files in the workspace.",
        ],
        [
            ("pattern", "string", ["Pattern with wildcards", "File name pattern"], True),
            ("max_results", "integer", ["Maximum number of results"], False),
        ],
    )
    if r.random() < 0.5:
        n = r.randint(1, 50)
        args["max_results"] = n
        ask = (
            ask[:-1]
            + r.choice([
                ", at most {n} results", " (max {n})", ", maximum {n}",
                " and return at most {n} results",
            ]).format(n=n)
            + ask[-1]
        )
    made = [
        pattern.replace(
            "*", r.choice(["_" + str(r.randint(1, 99)), "a", "old", "_new", r.choice(WORDS)]), 1
        ).replace("*", r.choice(["", f".{end}"]))
        for _ in range(r.randint(0, 3))
    ]
    files = list(dict.fromkeys(made))
    if not files:
        say = "I found no files."
    elif len(files) == 1:
        say = f"I found 1 file: {files[0]}"
    else:
        say = f"I found {len(files)} files: " + ", ".join(files)
    return Task(
        s, ask, f"The user wants files that match {pattern}.", args,
        r.choice([files, {"files": files}]), f"The tool found {len(files)} files.", say,
        files or ["no files"],
    )


ZONES = {
    "Paris": "Europe/Paris", "London": "Europe/London", "Berlin": "Europe/Berlin",
    "Madrid": "Europe/Madrid", "Rome": "Europe/Rome", "Tokyo": "Asia/Tokyo",
    "Shanghai": "Asia/Shanghai", "New York": "America/New_York", "Chicago": "America/Chicago",
    "Sydney": "Australia/Sydney", "Cairo": "Africa/Cairo", "Dubai": "Asia/Dubai",
    "Seoul": "Asia/Seoul", "Moscow": "Europe/Moscow", "UTC": "UTC",
}


def time_task(r):
    city, zone = r.choice(list(ZONES.items()))
    place = city if r.random() < 0.6 else zone
    clock = f"{r.randrange(24):02d}:{r.randrange(60):02d}"
    s = schema(
        r,
        r.choice(["get_time", "get_time", "current_time"]),
        [
            "Get the current time in a time zone.", "Returns the time of day.",
            "Tell the time in a time zone.",
        ],
        [
            (
                "timezone",
                "string",
                ["IANA time zone, such as Europe/Paris", "Name of the time zone"],
                True,
            )
        ],
    )
    ask = r.choice([
        "What time is it in {p}?", "What's the time in {p}?", "Tell me the time in {p}.",
        "Current time in {p}?", "Which time is it in {p} now?",
    ]).format(p=place)
    return Task(
        s,
        ask,
        f"The user wants the time in {place}. The time zone is {zone}.",
        {"timezone": zone},
        r.choice([clock, {"time": clock}, {"timezone": zone, "time": clock}]),
        f"The time is {clock}.",
        f"It is {clock} in {place}.",
        [clock, place],
    )


def stock_task(r):
    symbol = "".join(r.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(r.randint(2, 4)))
    price = round(r.uniform(1, 900), 2)
    s = schema(
        r,
        r.choice(["get_stock_price", "stock_price"]),
        ["Get the price of a stock.", "Returns the price for a ticker symbol."],
        [(r.choice(["symbol", "ticker"]), "string", ["Ticker symbol"], True)],
    )
    key = next(iter(s["parameters"]["properties"]))
    ask = r.choice([
        "What is the price of {s}?", "What is the stock price of {s}?", "How much is {s} stock?",
        "Get the price of {s}.",
    ]).format(s=symbol)
    return Task(
        s,
        ask,
        f"The user wants the price of {symbol}.",
        {key: symbol},
        r.choice([{"price": price}, {key: symbol, "price": price}, str(price)]),
        f"The price is {price}.",
        f"The price of {symbol} is {price}.",
        [str(price)],
    )


def read_file_task(r):
    path = (
        r.choice(["", "docs/", "src/", "/tmp/", "data/", "/home/" + nonsense(r) + "/"])
        + r.choice([r.choice(FILE_STEMS), nonsense(r)])
        + "."
        + r.choice(FILE_ENDS)
    )
    text = phrase(r)
    s = schema(
        r,
        r.choice(["read_file", "open_file", "cat_file"]),
        ["Read a text file.", "Return the content of a file."],
        [(r.choice(["path", "path", "file"]), "string", ["Path of the file"], True)],
    )
    key = next(iter(s["parameters"]["properties"]))
    ask = r.choice([
        "Read {p}.", "Open the file {p}.", "What is in {p}?", "Show me the file {p}.",
        "Read the file {p}.",
    ]).format(p=path)
    return Task(
        s, ask, f"The user wants to read {path}.", {key: path}, r.choice([text, {"content": text}]),
        "The tool returned the text of the file.", f"The file says: {text}", [text],
    )


def search_task(r):
    query = r.choice([
        f"{r.choice(WORDS)} {r.choice(WORDS)}",
        f"best {r.choice(WORDS)} in {city_name(r)}",
        f"how to {r.choice(['paint', 'cook', 'fix', 'build', 'draw'])} a {r.choice(WORDS)}",
        f"{nonsense(r)} {r.choice(WORDS)}",
    ])
    title = f"{r.choice(['All about', 'Guide to', 'News on', 'The story of'])} {r.choice(WORDS)}"
    s = schema(
        r,
        r.choice(["web_search", "search_web", "search"]),
        ["Search the web.", "Find pages on the internet."],
        [
            ("query", "string", ["What to search for"], True),
            ("limit", "integer", ["Number of results"], False),
        ],
    )
    ask = r.choice(
        ["Search the web for {q}.", "Search for {q}.", "Look up {q}.", "Find pages about {q}."]
    ).format(q=query)
    args = {"query": query}
    if r.random() < 0.25:
        args["limit"] = r.randint(1, 20)
        ask = ask[:-1] + f", limit {args['limit']}."
    return Task(
        s, ask, f"The user wants to search for {query}.", args,
        r.choice([[title], {"results": [title]}, {"title": title}]),
        f"The tool found one page: {title}.", f"I found this page: {title}", [title],
    )
