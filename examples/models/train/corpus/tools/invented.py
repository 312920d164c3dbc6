"""Tools that exist nowhere else: only reading the schema tells their names and parameters."""

from ..turns import with_article
from ..words import CATEGORIES, PEOPLE, WORDS, city_name, nonsense, phrase
from .queries import FILE_ENDS
from .task import Task, joined, schema, spoken


VERBS = {
    "archive": "archived", "rename": "renamed", "delete": "deleted", "create": "created",
    "update": "updated", "lock": "locked", "unlock": "unlocked", "move": "moved", "copy": "copied",
    "print": "printed", "share": "shared", "open": "opened", "close": "closed", "start": "started",
    "stop": "stopped", "pause": "paused", "book": "booked", "cancel": "cancelled",
    "order": "ordered", "paint": "painted", "clean": "cleaned", "scan": "scanned", "sort": "sorted",
    "approve": "approved", "reject": "rejected", "assign": "assigned", "publish": "published",
    "upload": "uploaded", "check": "checked", "restart": "restarted",
}
NOUNS = [
    "ticket", "playlist", "invoice", "robot", "camera", "server", "room", "order", "document",
    "folder", "account", "user", "door", "window", "car", "photo", "video", "email", "project",
    "task", "report", "job", "flight", "table", "recipe", "package", "printer", "device", "sensor",
    "album", "page", "event", "lamp", "pump", "train", "garden", "model", "cluster", "license",
    "badge",
]
COLOUR_NAMES = CATEGORIES["colours"]


def code_value(r):
    return r.choice([
        f"{r.choice('ABCDEFXYZ')}{r.randint(10, 999)}",
        f"{r.choice(['id', 'no', 'x'])}-{r.randint(100, 9999)}", nonsense(r),
        str(r.randint(100, 9999)) + r.choice("abcxyz"),
    ])


PARAMS = {  # name: (type, value maker, extra schema)
    "id": ("string", code_value),
    "ticket_id": ("string", code_value),
    "code": ("string", code_value),
    "name": ("string", lambda r: nonsense(r, True)),
    "new_name": ("string", lambda r: nonsense(r, True)),
    "title": ("string", lambda r: f"{r.choice(WORDS)} {r.choice(WORDS)}"),
    "owner": ("string", lambda r: r.choice(PEOPLE)),
    "color": ("string", lambda r: r.choice(COLOUR_NAMES)),
    "count": ("integer", lambda r: r.randint(1, 99)),
    "level": ("integer", lambda r: r.randint(1, 10)),
    "limit": ("integer", lambda r: r.randint(1, 500)),
    "user_id": ("integer", lambda r: r.randint(1, 9999)),
    "max_results": ("integer", lambda r: r.randint(1, 50)),
    "price": ("number", lambda r: r.randint(1, 99) + r.choice([0.5, 0.25, 0.75])),
    "enabled": ("boolean", lambda r: r.random() < 0.5),
    "force": ("boolean", lambda r: r.random() < 0.5),
    "verbose": ("boolean", lambda r: r.random() < 0.5),
    "date": (
        "string",
        lambda r: f"{r.randint(2024, 2030)}-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}",
    ),
    "city": ("string", city_name),
    "path": ("string", lambda r: f"/{r.choice(WORDS)}/{nonsense(r)}.{r.choice(FILE_ENDS)}"),
    "email": ("string", lambda r: f"{nonsense(r)}@example.com"),
    "note": ("string", phrase),
    "tag": ("string", lambda r: r.choice(WORDS)),
    "size": (
        "string",
        lambda r: r.choice(["small", "medium", "large"]),
        {"enum": ["small", "medium", "large"]},
    ),
    "format": (
        "string",
        lambda r: r.choice(["json", "csv", "pdf"]),
        {"enum": ["json", "csv", "pdf"]},
    ),
    "tags": ("array", lambda r: r.sample(WORDS, r.randint(1, 3)), {"items": {"type": "string"}}),
    "speed": ("integer", lambda r: r.randint(1, 200)),
    "reason": ("string", lambda r: r.choice(WORDS)),
    "target": ("string", lambda r: nonsense(r)),
    "destination": ("string", city_name),
}


def invented_name(r, verb, noun):
    return r.choice([
        f"{verb}_{noun}", f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}",
        f"{verb}{noun.capitalize()}", f"{verb}-{noun}",
    ])


def invented_schema(r, verb, noun, params, name):
    one = with_article(noun)
    spec = []
    for p in params:
        ptype, _, *extra = PARAMS[p]
        words = p.replace("_", " ")
        spec.append(
            (p, ptype, [f"The {words}", f"{words.capitalize()} of the {noun}"], True, *extra)
        )
    return schema(
        r,
        name,
        [
            f"{verb.capitalize()} {one}.", f"Use this to {verb} {one}.",
            f"{verb.capitalize()} one {noun} of the system.",
        ],
        spec,
    )


def invented_request(r, verb, noun, name, args):
    """A request that names every argument and its value."""
    said = [(p.replace("_", " ") if r.random() < 0.7 else p, spoken(v)) for p, v in args.items()]
    form = r.randrange(6)
    if form == 0:
        return f"{verb.capitalize()} the {noun} with " + joined([f"{p} {v}" for p, v in said]) + "."
    if form == 1:
        return f"Please {verb} the {noun}: " + ", ".join(f"{p} = {v}" for p, v in said)
    if form == 2:
        return f"Call {name} with " + joined([f"{p} {v}" for p, v in said]) + "."
    if form == 3:
        return f"{verb.capitalize()} the {noun} ({', '.join(f'{p}: {v}' for p, v in said)})"
    if form == 4:
        return f"I want to {verb} the {noun}. " + " ".join(f"The {p} is {v}." for p, v in said)
    return (
        f"{verb.capitalize()} {with_article(noun)} with "
        + joined([f"the {p} {v}" for p, v in said])
        + "."
    )


def invented_task(r):
    verb, noun = r.choice(list(VERBS)), r.choice(NOUNS)
    params = r.sample(list(PARAMS), r.choice([1, 1, 2, 2, 2, 3]))
    name = invented_name(r, verb, noun)
    s = invented_schema(r, verb, noun, params, name)
    args = {p: PARAMS[p][1](r) for p in params}
    ask = invented_request(r, verb, noun, name, args)
    if r.random() < 0.2:
        size = r.randint(1, 99)
        output = r.choice([{"status": "ok", "time": size}, {"ok": True, "number": size}])
    else:
        output = r.choice([{"status": "ok"}, {"ok": True}, "ok", "success", {"success": True}])
    done = VERBS[verb]
    return Task(
        s, ask, f"The user wants to {verb} the {noun}.", args, output,
        "The tool says that it worked.", f"Done. The {noun} was {done}.", [done],
    )


def lookup_task(r):
    """An invented tool that returns a value."""
    what = r.choice([
        "balance", "score", "price", "status", "address", "height", "weight", "age", "owner",
        "color", "distance", "size", "rating", "version", "phone number", "capacity",
    ])
    noun = r.choice(NOUNS)
    pname = r.choice(["id", "name", "code", "email", f"{noun}_id", f"{noun}_name", "key"])
    value = (
        PARAMS["name"][1](r)
        if "name" in pname
        else PARAMS["email"][1](r)
        if pname == "email"
        else code_value(r)
    )
    name = r.choice([
        f"get_{noun}_{what}", f"lookup_{what}", f"fetch_{noun}_{what}", f"find_{what}",
        f"{noun}_{what}",
    ]).replace(" ", "_")
    s = schema(
        r,
        name,
        [
            f"Get the {what} of a {noun}.", f"Look up the {what} of one {noun}.",
            f"Returns the {what} for a {noun}.",
        ],
        [(pname, "string", [f"The {pname.replace('_', ' ')}"], True)],
    )
    found = r.choice(
        [r.randint(1, 9999), nonsense(r), r.choice(PEOPLE), f"{r.randint(1, 9)}.{r.randint(0, 99)}"]
    )
    ask = r.choice([
        f"What is the {what} of {noun} {value}?", f"Get the {what} of the {noun} {value}.",
        f"Look up the {what} of {noun} {value}.", f"Tell me the {what} of {noun} {value}.",
    ])
    return Task(
        s,
        ask,
        f"The user wants the {what} of {value}.",
        {pname: value},
        r.choice([{what: found}, {"result": found}, {"value": found}, str(found)]),
        f"The tool says {found}.",
        f"The {what} of {noun} {value} is {found}.",
        [str(found)],
    )
