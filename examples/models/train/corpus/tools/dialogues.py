"""Dialogues with tools: one call, several calls, calls after earlier turns, and no call at all."""

from ..knowledge import capital, knowledge
from ..library_facts import mm2_fact
from ..small_talk import PERSONA_JOBS, identity, persona_name, small_talk
from ..spelling import letters
from ..languages import foreign
from ..system_prompts import PLAIN_SYSTEMS
from ..turns import Example, answer, call, result, user
from ..writing import listing, story
from .actions import light_task
from .queries import stock_task, time_task, weather_task
from .task import joined
from .toolbox import TASKS, similar, tool_list


def add_tool_system(r, ex):
    roll = r.random()
    if roll < 0.12:
        ex.messages.insert(0, {"role": "system", "content": r.choice(PLAIN_SYSTEMS)})
    elif roll < 0.18:
        ex.messages.insert(
            0,
            {"role": "system", "content": f"You are {persona_name(r)}, {r.choice(PERSONA_JOBS)}."},
        )
    return ex


def why_call(task):
    return f"{task.why} I call {task.schema['name']}."


def single_tool(r):
    task = r.choice(TASKS)(r)
    turns = [user(task.ask), call(why_call(task), (task.schema["name"], task.args))]
    if r.random() < 0.06:
        error = r.choice(
            ["not found", "timeout", "permission denied", "service unavailable", "invalid argument"]
        )
        turns += [
            result({"error": error}),
            answer(
                f"The tool failed: {error}.", f"Sorry, the tool reported an error: {error}.",
                must=[error],
            ),
        ]
    elif r.random() < 0.75:
        turns += [result(task.output), answer(task.so, task.say, must=task.must)]
    return add_tool_system(
        r, Example("tool_single", turns, key=task.ask, tools=tool_list(r, [task]))
    )


def several_tasks(r, maker):
    """Two or three tasks of one tool with different values, or one if none was found."""
    first = maker(r)
    tasks = [first]
    for _ in range(20):
        other = maker(r)
        if (
            other.args.keys() == first.args.keys()
            and other.args != first.args
            and len(tasks) < r.choice([2, 2, 3])
        ):
            other.schema = first.schema
            if all(other.args != t.args for t in tasks):
                tasks.append(other)
    return tasks


def one_tool_for_several(r):
    """(tasks, request, reasoning) for one tool for several things; None if the draw fails."""
    maker = r.choice([weather_task, weather_task, time_task, light_task, stock_task])
    tasks = several_tasks(r, maker)
    first = tasks[0].args
    if len(tasks) < 2:
        return None
    things, asks = [next(iter(t.args.values())) for t in tasks], []
    if maker is weather_task and "unit" not in first:
        asks, what = (
            [
                "What is the weather in {p}?", "Compare the weather in {p}.",
                "Tell me the weather in {p}.",
            ],
            "wants the weather in",
        )
    elif maker is time_task:
        asks, what = ["What time is it in {p}?", "Tell me the time in {p}."], "wants the time in"
        for t, zone in zip(tasks, things):
            t.say, t.must = (
                f"{t.so[:-1].replace('The time is', 'It is')} in {zone}.",
                [t.must[0], zone],
            )
    elif maker is stock_task:
        asks, what = (
            ["What are the prices of {p}?", "Get the stock prices of {p}."],
            "wants the prices of",
        )
    elif (
        maker is light_task
        and "brightness" not in first
        and len({t.args["on"] for t in tasks}) == 1
    ):
        state = "on" if first["on"] else "off"
        asks, what = (
            [f"Turn {state} the lights in the {{p}}.", f"Switch {state} the lights in the {{p}}."],
            "wants to change the light in the",
        )
    if not asks or len(set(things)) < len(things):
        return None
    listed = " and the ".join(things) if maker is light_task else joined(things)
    return (
        tasks,
        r.choice(asks).format(p=listed),
        f"The user {what} {listed}. I call {tasks[0].schema['name']} for each.",
    )


def two_tools(r):
    """(tasks, request, reasoning) for two different tools; None if they are too much alike."""
    a, b = (r.choice(TASKS)(r) for _ in range(2))
    if a.schema["name"] == b.schema["name"] or similar(a.schema["name"], {b.schema["name"]}):
        return None
    link = r.choice(["Also: ", "And also: ", "Then: ", "Also, "])
    ask = a.ask.rstrip(".") + (" " if a.ask[-1] in "?!" else ". ") + link + b.ask
    return (
        [a, b],
        ask,
        (
            f"The user wants two things. {a.why} {b.why} I call {a.schema['name']} and "
            f"{b.schema['name']}."
        ),
    )


def parallel_tool(r):
    """Two or three calls in one block: the same tool for several things, or different tools."""
    found = None
    while found is None:
        found = one_tool_for_several(r) if r.random() < 0.6 else two_tools(r)
    tasks, ask, why = found
    turns = [user(ask), call(why, *[(t.schema["name"], t.args) for t in tasks])]
    if r.random() < 0.7:
        turns += [result(t.output) for t in tasks]
        said = " ".join(t.say if t.say[-1] in ".!?" else t.say + "." for t in tasks)
        turns += [
            answer(" ".join(t.so for t in tasks), said, must=[m for t in tasks for m in t.must])
        ]
    return add_tool_system(r, Example("tool_parallel", turns, key=ask, tools=tool_list(r, tasks)))


def tool_dialogue(r):
    """A tool request after small talk, or a second request after the first one."""
    task = r.choice(TASKS)(r)
    turns = []
    if r.random() < 0.5:
        turns += r.choice([small_talk, capital, knowledge, mm2_fact])(r).messages[-2:]
        tools = tool_list(r, [task])
    else:
        before = r.choice(TASKS)(r)
        if before.schema["name"] != task.schema["name"] and similar(
            before.schema["name"], {task.schema["name"]}
        ):
            return tool_dialogue(r)
        if before.schema["name"] == task.schema["name"]:
            before.schema = task.schema
            if before.args.keys() != task.args.keys():
                return tool_dialogue(r)
        turns += [
            user(before.ask), call(why_call(before), (before.schema["name"], before.args)),
            result(before.output), answer(before.so, before.say, must=before.must),
        ]
        tools = tool_list(r, [before, task])
    turns += [user(task.ask), call(why_call(task), (task.schema["name"], task.args))]
    if r.random() < 0.6:
        turns += [result(task.output), answer(task.so, task.say, must=task.must)]
    return add_tool_system(r, Example("tool_dialogue", turns, key=task.ask, tools=tools))


def tool_not_needed(r):
    """Tools are there, but the question needs none of them, or none of them fits."""
    task = r.choice(TASKS)(r)
    tools = tool_list(r, [r.choice(TASKS)(r)])
    names = {t["function"]["name"] for t in tools}
    if r.random() < 0.6:
        base = r.choice(
            [small_talk, identity, mm2_fact, capital, knowledge, letters, listing, story, foreign]
        )(r)
        return Example(
            "tool_not_needed", base.messages, key=base.messages[0]["content"], tools=tools
        )
    if (
        task.schema["name"] in names
        or similar(task.schema["name"], names)
        or task.schema["name"] in task.ask
        or "expression" in task.args
    ):
        return tool_not_needed(r)
    return Example(
        "tool_not_needed",
        [
            user(task.ask),
            answer(
                f"{task.why} I have no tool for this.", "I am sorry, I have no tool for that.",
                must=["no tool"],
            ),
        ],
        key=task.ask,
        tools=tools,
    )
