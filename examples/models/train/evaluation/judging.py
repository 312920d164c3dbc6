"""The rule that says whether an answer is right. Standard library only.

A check says what a right answer is, and is one of

    {"prefix": TEXT}                          the beginning of a plain text to continue
    {"calls": [CALL ...], "types": TYPES}     exactly these tool calls
    {"equals": TEXT}                          exactly this answer
    {"must": [TEXT ...]}                      all of these in the answer
    {"one_of": [TEXT ...]}                    one of these answers
    {"list": STYLE, "count": N, "items": [..]}  N different members of the items
    {"story": [WORD ...]}                     at least three sentences with these words
    {"pattern": REGEX}                        a match somewhere in the answer

where CALL is {"name": .., "arguments": {..}} and TYPES is {tool: {parameter: JSON type}}.
"""

import json
import re
from collections import defaultdict

END, THINK_END = "[e~[", "</think>"

CALL_BLOCK = re.compile(
    r"\n<minimax:tool_call>\n"
    r"((?:<invoke name=\"[^\"]+\">\n"
    r"(?:<parameter name=\"[^\"]+\">.*?</parameter>\n)*</invoke>\n)+)"
    r"</minimax:tool_call>",
    re.S,
)
INVOKE = re.compile(r"<invoke name=\"([^\"]+)\">\n(.*?)</invoke>\n", re.S)
PARAMETER = re.compile(r"<parameter name=\"([^\"]+)\">(.*?)</parameter>\n", re.S)


def split_answer(text):
    """(well formed, answer): a well-formed output closes the reasoning once and ends its turn."""
    ended = text.endswith(END)
    body = text[: -len(END)] if ended else text
    good = ended and body.count(THINK_END + "\n\n") == 1
    return good, body.split(THINK_END + "\n\n", 1)[-1]


def parameter_types(tools):
    """{tool: {parameter: JSON type}} of OpenAI-style tools."""
    return {
        t["function"]["name"]: {
            key: spec.get("type", "string")
            for key, spec in t["function"]["parameters"]["properties"].items()
        }
        for t in tools
    }


def typed(value, kind):
    if kind == "string":
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def parse_calls(answer, types):
    """The calls of a syntactically perfect block, or None. Values are typed by the schema."""
    block = CALL_BLOCK.fullmatch(answer)
    if not block:
        return None
    calls = []
    for name, body in INVOKE.findall(block[1]):
        kinds = types.get(name, {})
        args = {k: typed(v, kinds.get(k, "string")) for k, v in PARAMETER.findall(body)}
        calls.append({"name": name, "arguments": args})
    return calls


def same(a, b):
    """Equality of JSON values in which true is not 1 and 5.0 is not 5."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def judge_list(answer, check):
    lines = answer.split("\n")
    if check["list"] == "bullets":
        items = [line[2:] for line in lines if line.startswith("- ")]
    elif check["list"] == "numbers":
        items = [
            line.split(". ", 1)[1] for i, line in enumerate(lines) if line.startswith(f"{i + 1}. ")
        ]
    else:
        items = re.split(r", | and ", answer.rstrip("."))
    different = len(items) == check["count"] == len(set(items))
    return different and all(i in check["items"] for i in items)


def judge_story(answer, words):
    ended = answer.rstrip().endswith((".", '"'))
    return ended and answer.count(".") >= 3 and all(w in answer for w in words)


def judge_answer(answer, check):
    if "equals" in check:
        return answer == check["equals"]
    if "must" in check:
        return all(m in answer for m in check["must"])
    if "one_of" in check:
        return answer in check["one_of"]
    if "list" in check:
        return judge_list(answer, check)
    if "story" in check:
        return judge_story(answer, check["story"])
    return re.search(check["pattern"], answer) is not None


def judge(text, check):
    """(well formed, right, valid call or None) of the raw output after the prompt."""
    if "prefix" in check:
        body = text.removesuffix(END).strip()
        wanted = check["prefix"].strip()
        return text.endswith(END), body.startswith(wanted[: max(12, len(wanted) // 2)]), None
    good, answer = split_answer(text)
    if "calls" in check:
        calls = parse_calls(answer, check["types"])
        named = sum(len(c["arguments"]) for c in check["calls"])
        once = len(PARAMETER.findall(answer)) == named  # no parameter is given twice
        return good, good and once and same(calls, check["calls"]), calls is not None
    return good, good and judge_answer(answer, check), None


class Score:
    """Counts the marks of answers, per skill and in total."""

    def __init__(self):
        self.skills = defaultdict(lambda: [0, 0, 0])  # questions, right, well formed
        self.calls = [0, 0, 0]  # turns that must call, valid, exact

    def add(self, skill, marks):
        good, right, valid = marks
        row = self.skills[skill]
        for i, mark in enumerate((1, right, good)):
            row[i] += mark
        if valid is not None:
            for i, mark in enumerate((1, valid, right)):
                self.calls[i] += mark

    @staticmethod
    def row(count, right, good):
        return dict(count=count, right=round(right / count, 4), well_formed=round(good / count, 4))

    def table(self):
        total = [sum(column) for column in zip(*self.skills.values())]
        turns, valid, exact = self.calls
        return dict(
            skills={skill: self.row(*row) for skill, row in sorted(self.skills.items())},
            all=dict(
                **self.row(*total), tool_turns=turns,
                tool_call_valid=round(valid / turns, 4) if turns else None,
                tool_call_exact=round(exact / turns, 4) if turns else None,
            ),
        )
