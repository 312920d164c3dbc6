"""A tool task: the schema of a tool, a request, the call, the result and what to say then."""

import json
from dataclasses import dataclass


@dataclass
class Task:
    schema: dict
    ask: str  # a full request, starting with a capital letter
    why: str  # one sentence of reasoning before the call
    args: dict
    output: object  # what the tool returns
    so: str  # reasoning about the result
    say: str  # the final answer
    must: list


def schema(r, name, descriptions, params):
    """params: (name, type, descriptions, required, extra)"""
    props, required = {}, []
    for pname, ptype, pdesc, need, *extra in params:
        prop = {"type": ptype}
        if pdesc and r.random() < 0.7:
            prop["description"] = r.choice(pdesc)
        if extra:
            prop.update(extra[0])
        props[pname] = prop
        if need:
            required.append(pname)
    return {
        "name": name,
        "description": r.choice(descriptions),
        "parameters": {"type": "object", "properties": props, "required": required},
    }


def spoken(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def joined(parts):
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
