"""The mixture of the skills, and the split into training and held-out examples."""

from .arithmetic import addition, count_up, number_sense, subtraction
from .completion import completion
from .dialogues import follow_up, long_chat, memory_turns, mixed_turns
from .knowledge import capital, knowledge, unknown
from .languages import emoji, foreign
from .library_facts import mm2_fact
from .small_talk import identity, joke, persona, small_talk
from .spelling import count_items, letters, repeat
from .system_prompts import brief, date_and_place, with_system
from .tools.dialogues import parallel_tool, single_tool, tool_dialogue, tool_not_needed
from .writing import listing, poem, story


MIXTURE = [  # (generator, weight)
    (small_talk, 6), (joke, 0.7), (identity, 3), (persona, 4), (mm2_fact, 6), (capital, 8),
    (knowledge, 7), (unknown, 2.5), (addition, 11), (subtraction, 7), (number_sense, 3.5),
    (count_up, 3), (count_items, 4), (letters, 5), (repeat, 5), (listing, 3), (story, 2.5),
    (poem, 1), (foreign, 5), (emoji, 2), (brief, 2), (date_and_place, 1.5), (memory_turns, 5),
    (follow_up, 3), (mixed_turns, 6), (long_chat, 2.5), (single_tool, 19), (parallel_tool, 7),
    (tool_dialogue, 5), (tool_not_needed, 5), (completion, 4),
]
NO_THINK_SKILLS = {
    "small_talk", "identity", "persona", "mm2_facts", "capitals", "knowledge", "foreign", "emoji",
    "lists", "stories", "tool_single", "tool_parallel", "memory", "repeat", "unknown",
}


def part_of_mixture(names):
    """The generators of these names with their weights."""
    known = {make.__name__: (make, weight) for make, weight in MIXTURE}
    unknown_names = [name for name in names if name not in known]
    if unknown_names:
        raise ValueError(f"no generator {unknown_names[0]}; there are {', '.join(known)}")
    return [known[name] for name in names]


def draw(r, held_out, makers=None):
    """One example of the training set or of the held-out set."""
    makers = makers or MIXTURE
    make = r.choices([m for m, _ in makers], [w for _, w in makers])[0]
    while True:
        ex = with_system(r, make(r))
        if ex.held_out == held_out:
            break
    if not held_out and ex.skill in NO_THINK_SKILLS and r.random() < 0.07:
        ex.no_think = True
    return ex
