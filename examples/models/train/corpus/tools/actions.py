"""Tools that do something: messages, lights, timers, to-do lists."""

from ..words import PEOPLE, WORDS, nonsense, phrase
from .task import Task, schema


def message_task(r):
    who = r.choice(PEOPLE) if r.random() < 0.6 else nonsense(r, True)
    text = phrase(r)
    to, body = r.choice([("to", "text"), ("to", "text"), ("recipient", "message"), ("to", "body")])
    s = schema(
        r,
        r.choice(["send_message", "send_message", "send_text", "message"]),
        ["Send a message to a person.", "Send a text message.", "Sends a short message."],
        [
            (to, "string", ["Who gets the message", "Name of the receiver"], True),
            (body, "string", ["Text of the message", "What to say"], True),
        ],
    )
    ask = r.choice([
        "Send a message to {w}: {t}", "Send {w} a message: {t}", "Send {w} the message '{t}'",
        "Text {w}: {t}", "Write to {w}: {t}", "Send the text '{t}' to {w}.",
    ]).format(w=who, t=text)
    return Task(
        s,
        ask,
        f"The user wants to send a message to {who}.",
        {to: who, body: text},
        r.choice([{"status": "sent"}, "sent", {"ok": True}, "Message delivered."]),
        "The message was sent.",
        f"Your message to {who} was sent.",
        [who],
    )


ROOMS = [
    "kitchen", "bedroom", "living room", "bathroom", "garage", "office", "hall", "garden",
    "dining room", "attic", "basement", "study", "nursery",
]


def light_task(r):
    room = r.choice(ROOMS)
    s = schema(
        r,
        r.choice(["set_light", "set_light", "switch_light", "control_light"]),
        ["Switch a light on or off.", "Control the light in a room.", "Set the light of a room."],
        [
            ("room", "string", ["Which room", "Name of the room"], True),
            ("on", "boolean", ["true to switch on", "Whether the light is on"], True),
            ("brightness", "integer", ["Brightness from 0 to 100", "Percent"], False),
        ],
    )
    args = {"room": room}
    kind = r.choice(["on", "off", "dim", "dim"])
    if kind == "dim":
        level = r.randint(1, 100)
        args.update(on=True, brightness=level)
        ask = r.choice([
            "Set the {r} light to {n}%.", "Set the light in the {r} to {n} percent.",
            "Turn on the {r} light at {n}%.", "Dim the {r} light to {n}%.",
            "Set the {r} light to brightness {n}.",
        ]).format(r=room, n=level)
        say = f"The {room} light is now at {level}%."
    else:
        args["on"] = kind == "on"
        ask = r.choice([
            "Turn {k} the {r} light.", "Switch {k} the light in the {r}.",
            "Turn the {r} light {k}.", "Please turn {k} the lights in the {r}.",
            "Switch the {r} light {k}.",
        ]).format(k=kind, r=room)
        say = f"The {room} light is now {kind}."
    return Task(
        s, ask, f"The user wants to change the light in the {room}.", args,
        r.choice([{"ok": True}, {"status": "ok"}, "done", "OK"]), "The light was set.", say, [room],
    )


def timer_task(r):
    n, label = r.randint(1, 120), r.choice(WORDS)
    s = schema(
        r,
        r.choice(["set_timer", "start_timer"]),
        ["Start a timer.", "Set a kitchen timer."],
        [
            ("minutes", "integer", ["Length in minutes"], True),
            ("label", "string", ["Name of the timer"], False),
        ],
    )
    args, ask = (
        {"minutes": n},
        r.choice([
            "Set a timer for {n} minutes.", "Start a timer of {n} minutes.",
            "Timer for {n} minutes.", "Set a {n} minute timer.",
        ]).format(n=n),
    )
    if r.random() < 0.5:
        args["label"] = label
        ask = (
            ask[:-1]
            + r.choice([" called {l}", " with the label {l}", " named {l}"]).format(l=label)
            + "."
        )
    return Task(
        s,
        ask,
        f"The user wants a timer of {n} minutes.",
        args,
        r.choice([{"ok": True}, "timer started", {"status": "started"}]),
        "The timer was started.",
        f"The timer is set to {n} minutes.",
        [str(n)],
    )


def task_list_task(r):
    what, level = (
        r.choice(
            ["buy", "clean", "call", "paint", "find", "repair", "sell", "read", "visit", "draw"]
        )
        + " "
        + r.choice(["the ", "a ", "my "])
        + r.choice(WORDS),
        r.choice(["low", "medium", "high"]),
    )
    s = schema(
        r,
        r.choice(["add_task", "create_task", "add_todo"]),
        ["Add a task to the list.", "Create a to-do entry."],
        [
            ("task", "string", ["What to do"], True),
            ("priority", "string", ["Priority"], False, {"enum": ["low", "medium", "high"]}),
        ],
    )
    args, ask = (
        {"task": what},
        r.choice(
            ["Add a task: {t}", "Add '{t}' to my tasks.", "New task: {t}", "Put '{t}' on my list."]
        ).format(t=what),
    )
    if r.random() < 0.4:
        args["priority"] = level
        ask = ask.rstrip(".") + r.choice(
            [", priority {p}", " with {p} priority", " ({p} priority)"]
        ).format(p=level)
    return Task(
        s, ask, "The user wants to add a task.", args,
        r.choice([{"ok": True}, {"status": "added"}, "added"]), "The task was added.",
        f"I added the task: {what}", [what],
    )
