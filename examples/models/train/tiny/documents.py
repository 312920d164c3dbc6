"""Documents: text, tokens, and which tokens to learn."""

import json
import math
import multiprocessing
import random
import sys
from pathlib import Path

import corpus
import jinja2
import numpy as np
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from .progress import progress
from .vocabulary import TOKEN_ID

TEMPLATE = Path(__file__).resolve().parents[2] / "mm2-tiny" / "chat_template.jinja"


CONTEXT, ANSWER, NEVER = 0, 1, 2  # what a token is to the loss


def chat_template():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)

    def tojson(value, ensure_ascii=False):
        return json.dumps(value, ensure_ascii=ensure_ascii)

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env.from_string(TEMPLATE.read_text(encoding="utf-8"))


def render(template, example):
    if example.raw is not None:
        return example.raw + "[e~["
    text = template.render(messages=example.messages, tools=example.tools)
    if example.no_think:  # thinking switched off: the prompt closes the block at once
        start = text.rindex("]~b]user")
        head, tail = text[:start], text[start:]
        a = tail.find("<think>\n")
        if a >= 0 and tail[a + 8 : a + 16] != "</think>":
            b = tail.index("\n</think>", a)
            tail = tail[:a] + "<think>\n</think>" + tail[b + len("\n</think>") :]
        text = head + tail
    return text


def loss_classes(ids, is_raw):
    """ANSWER: what the model says after the last user turn. NEVER: a reasoning block that the
    prompt closes."""
    if is_raw:
        return np.full(len(ids), ANSWER, np.uint8)
    role, end, think, close = (TOKEN_ID[t] for t in ("]~b]", "[e~[", "<think>", "</think>"))
    classes = np.zeros(len(ids), np.uint8)
    roles = [i for i, t in enumerate(ids) if t == role]
    names = {i: ids[i + 1] for i in roles}
    user_name = names[roles[1]] if len(roles) > 1 else -1  # the first turn after the system turn
    last_user = max(i for i in roles if names[i] == user_name)
    for i in roles:
        stop = next((j for j in range(i, len(ids)) if ids[j] == end), len(ids) - 1)
        if i > last_user and think in ids[i:stop]:
            begin = i + ids[i:stop].index(think) + 2  # after "<think>\n"
            if ids[begin] == close:
                classes[begin] = NEVER
                begin += 2  # after "</think>\n\n"
            classes[begin : stop + 1] = ANSWER
    return classes


def make_documents(job):
    """Worker: `count` documents of one random stream."""
    seed, count, held_out, tokenizer_path, longest, makers = job
    r, template = random.Random(seed), chat_template()
    tokenizer = Tokenizer.from_file(tokenizer_path) if tokenizer_path else None
    out = []
    while len(out) < count:
        example = corpus.draw(r, held_out, makers)
        text = render(template, example)
        if tokenizer is None:
            out.append(text)
            continue
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if len(ids) <= longest:
            out.append((np.array(ids, np.uint16), loss_classes(ids, example.raw is not None)))
    return out


def documents(seed, count, held_out, tokenizer_path, workers, longest=900, makers=None):
    """`count` documents: token ids and loss classes, or texts if there is no tokenizer yet. `makers`:
    a part of the mixture."""
    part = 500
    path = tokenizer_path and str(tokenizer_path)
    jobs = [
        (seed * 1_000_003 + i, min(part, count - i * part), held_out, path, longest, makers)
        for i in range(math.ceil(count / part))
    ]
    out = []
    with multiprocessing.Pool(workers) as pool:
        for i, docs in enumerate(pool.imap(make_documents, jobs)):
            out += docs
            progress("corpus", (i + 1) / len(jobs), f"{len(out)} documents")
    sys.stderr.write("\n")
    return out
