"""Which tools stand in the system turn together."""

from .actions import light_task, message_task, task_list_task, timer_task
from .invented import invented_task, lookup_task
from .queries import (
    calculator_task, read_file_task, search_files_task, search_task, stock_task, time_task,
    weather_task,
)


KNOWN_TASKS = [
    weather_task, weather_task, calculator_task, search_files_task, time_task, message_task,
    light_task, timer_task, stock_task, task_list_task, read_file_task, search_task,
]
TASKS = KNOWN_TASKS + [invented_task] * 7 + [lookup_task] * 3


def tool_list(r, tasks):
    """The tools of the tasks among a few others, shuffled, without equal or confusable names."""
    schemas = [t.schema for t in tasks]
    taken = {s["name"] for s in schemas}
    makers = {t.schema["description"] for t in tasks}
    for _ in range(r.choice([0, 1, 1, 2, 2, 3])):
        other = r.choice(TASKS)(r).schema
        if (
            other["name"] not in taken
            and other["description"] not in makers
            and not similar(other["name"], taken)
        ):
            schemas.append(other)
            taken.add(other["name"])
    r.shuffle(schemas)
    unique = {s["name"]: s for s in schemas}
    return [{"type": "function", "function": s} for s in unique.values()]


FAMILIES = [
    ("weather",), ("calc",), ("files",), ("time", "timer"), ("message", "text"), ("light", "lamp"),
    ("stock", "price"), ("task", "todo"), ("read_file", "open_file", "cat_file"), ("search",),
]


def similar(name, taken):
    """True if two tools could serve the same request."""
    return any(
        any(w in name for w in fam) and any(any(w in t for w in fam) for t in taken)
        for fam in FAMILIES
    )
