"""What quantizing and pruning do to the bundled model: held-out negative log likelihood and right answers, as Markdown tables.

    MM2_PROGRAM=.../mm2 MM2_LIBRARY=.../libmm2.so MM2_SOURCE_DIR=... python3 tests/bench/checkpoint_quality.py [--samples 400] [--work FOLDER]

Wants numpy. Calibration text comes from the training part of examples/models/train/corpus, evaluation text and questions from its held-out part.
"""
import argparse
import ctypes
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy

SOURCE, PROGRAM = os.environ["MM2_SOURCE_DIR"], os.environ["MM2_PROGRAM"]
sys.path[:0] = [os.path.join(SOURCE, "tests", "integration"), os.path.join(SOURCE, "examples", "models", "train")]
import corpus  # noqa: E402: plain Python, no torch
import test_bundled_model as bundled  # noqa: E402
from evaluation.judging import Score, judge  # noqa: E402
from tiny.vocabulary import Decoder  # noqa: E402

TINY = bundled.TINY


def mm2(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True)
    if done.returncode != 0:
        sys.exit(done.stderr.decode())
    return done.stdout.decode()


def documents(n, seed, held_out):
    """[{"ids": [..], "count_from": first token of the last answer}] of dialogues and plain texts."""
    r = random.Random(seed)
    examples = [corpus.draw(r, held_out) for _ in range(n)]
    lines = []
    for e in examples:
        if e.raw is None:
            lines.append(("render", {"messages": e.messages, **({"tools": e.tools} if e.tools else {})}))
        else:
            lines.append(("tokenize", {"text": e.raw}))
    answers = {}
    for verb in ("render", "tokenize"):
        text = "".join(json.dumps(line) + "\n" for v, line in lines if v == verb)
        done = subprocess.run([PROGRAM, verb, TINY, "--jsonl"], input=text.encode(), capture_output=True)
        answers[verb] = iter([json.loads(line) for line in done.stdout.decode().splitlines()])
    made = []
    for verb, _ in lines:
        ids = next(answers[verb])["ids"]
        last_turn = max((i for i, token in enumerate(ids) if token == ROLE), default=-1)
        made.append({"ids": ids[:900], "count_from": last_turn + 1 if verb == "render" else 0})
    return [d for d in made if len(d["ids"]) > max(2, d["count_from"])]


def role_token():
    """The token that opens each turn."""
    with open(os.path.join(TINY, "tokenizer.json"), encoding="utf-8") as file:
        added = json.load(file)["added_tokens"]
    return next(token["id"] for token in added if token["content"] == "]~b]")


class Judge(bundled.Host):
    """Negative log likelihood of answers, and the questions of the model's card."""

    def __init__(self, path):
        with open(os.path.join(TINY, "config.json"), encoding="utf-8") as file:
            n_vocab = json.load(file)["vocab_size"]
        with open(os.path.join(TINY, "generation_config.json"), encoding="utf-8") as file:
            end_id = json.load(file)["eos_token_id"]
        super().__init__(path, n_vocab, end_id)

    def log_probabilities(self, docs):
        """Of all tokens at each place whose next token is an answer's: [n_places, n_vocab]; and those next tokens."""
        options = bundled.EngineOptions(struct_size=ctypes.sizeof(bundled.EngineOptions), max_seqs=1, max_tokens_per_step=1024,
                                        max_outputs_per_step=1024, kv_tokens=1024)
        engine = ctypes.c_void_p()
        self.call("mm2_engine_create", self.model, ctypes.byref(options), ctypes.byref(engine))
        logits = (ctypes.c_float * (1024 * self.n_vocab))()
        numbers = numpy.frombuffer(logits, dtype=numpy.float32).reshape(1024, self.n_vocab)
        rows, nexts = [], []
        for d in docs:
            ids = d["ids"]
            batch = bundled.Batch(struct_size=ctypes.sizeof(bundled.Batch), n_seqs=1,
                                  seqs=(bundled.SeqRows * 1)(bundled.SeqRows(0, 0, len(ids), len(ids))),
                                  tokens=(ctypes.c_int32 * len(ids))(*ids), n_tokens=len(ids))
            self.call("mm2_engine_step", engine, ctypes.byref(batch), logits, ctypes.c_size_t(len(logits)), None)
            self.call("mm2_seq_free", engine, 0)
            first = max(0, d["count_from"] - 1)
            answer = numbers[first:len(ids) - 1].astype(numpy.float64)
            answer -= answer.max(axis=1, keepdims=True)
            rows.append((answer - numpy.log(numpy.exp(answer).sum(axis=1, keepdims=True))).astype(numpy.float32))
            nexts += ids[first + 1:]
        getattr(self.lib, "mm2_engine_destroy")(engine)
        return numpy.concatenate(rows), numpy.array(nexts)

    def right(self, questions, decode):
        score = Score()
        order = sorted(range(len(questions)), key=lambda i: len(questions[i]["prompt_ids"]))
        for start in range(0, len(order), bundled.SEQS):
            part = [questions[i] for i in order[start:start + bundled.SEQS]]
            for question, ids in zip(part, self.answer([q["prompt_ids"] for q in part])):
                score.add(question["skill"], judge(decode(ids), question["check"]))
        return score.table()["all"]


class Table:
    """Rows of figures; the distance is to the first row's model."""

    def __init__(self, held_out):
        self.held_out, self.want = held_out, None
        with open(bundled.QUESTIONS, encoding="utf-8") as file:
            self.questions = [json.loads(line) for line in file]
        self.decode = Decoder(pathlib.Path(TINY) / "tokenizer.json")

    def head(self, what):
        print(f"\n| {what} | MB | NLL of held-out answers | KL from BF16 | right | exact calls |\n|---|---|---|---|---|---|")

    def row(self, name, path, questions=True):
        host = Judge(path)
        got, nexts = host.log_probabilities(self.held_out)
        self.want = got if self.want is None else self.want
        loss = -float(got[numpy.arange(len(nexts)), nexts].mean(dtype=numpy.float64))
        distance = float((numpy.exp(self.want) * (self.want - got)).sum(axis=1).mean(dtype=numpy.float64))
        marks = host.right(self.questions, self.decode) if questions else {"right": 0, "tool_call_exact": 0}
        host.close()
        size = sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path) if f.endswith(".safetensors"))
        print(f"| {name} | {size / 1e6:.2f} | {loss:.4f} | {distance:.5f} | {100 * marks['right']:.1f} % | {100 * marks['tool_call_exact']:.1f} % |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--held-out", type=int, default=400)
    parser.add_argument("--fast", action="store_true", help="without the questions")
    parser.add_argument("--work")
    options = parser.parse_args()
    work = options.work or tempfile.mkdtemp()
    global ROLE
    ROLE = role_token()
    held_out = documents(options.held_out, 2, True)
    calibration = documents(options.samples, 1, False)
    for name, keep in (("all", lambda d: {"ids": d["ids"]}), ("answers", lambda d: d)):
        pathlib.Path(work, name + ".jsonl").write_text("".join(json.dumps(keep(d)) + "\n" for d in calibration))
        stats = os.path.join(work, name + ".safetensors")
        if not os.path.exists(stats):
            mm2("calibrate", TINY, os.path.join(work, name + ".jsonl"), "--collect", "reap,imatrix,act,hessian", "-o", stats)
    stats = os.path.join(work, "all.safetensors")
    table = Table(held_out)
    table.head("weights")
    table.row("BF16", TINY, not options.fast)
    for name, recipe in {
        "FP8 128x128": ["--format", "fp8_block"],
        "W4A16 g128 RTN": ["--format", "auto_round"],
        "W4A16 g128 OPT-RTN": ["--format", "auto_round", "--algo", "opt-rtn"],
        "W4A16 g128 OPT-RTN, imatrix": ["--format", "auto_round", "--algo", "opt-rtn", "--stats", stats],
        "W4A16 g128 RTN, range / 15 (GPTQ layout)": ["--format", "gptq"],
        "W4A16 g128 GPTQ": ["--format", "gptq", "--algo", "gptq", "--stats", stats],
        "W4A16 g128 GPTQ, order of columns": ["--format", "gptq", "--algo", "gptq", "--act-group-aware", "false", "--stats", stats],
        "W4A16 g128 GPTQ, act-order": ["--format", "gptq", "--algo", "gptq", "--act-order", "--stats", stats],
        "W4A16 g128 GPTQ, ranges searched": ["--format", "gptq", "--algo", "gptq", "--mse-norm", "2.4", "--stats", stats],
        "W4A16 g128 asymmetric RTN (AWQ layout)": ["--format", "awq"],
        "W4A16 g128 asymmetric AWQ": ["--format", "awq", "--algo", "awq", "--stats", stats],
        "W4A16 g32 asymmetric RTN (AWQ layout)": ["--format", "awq", "--group", "32"],
        "W4A16 g32 asymmetric AWQ": ["--format", "awq", "--group", "32", "--algo", "awq", "--stats", stats],
        "NVFP4": ["--format", "nvfp4", "--stats", stats],
        "NVFP4, 4 over 6": ["--format", "nvfp4", "--four-over-six", "--stats", stats],
        "MXFP4": ["--format", "ct_mxfp4"],
        "MXFP8": ["--format", "mxfp8"],
    }.items():
        out = os.path.join(work, "".join(c if c.isalnum() else "-" for c in name))
        if not os.path.exists(out):
            mm2("quantize", TINY, *recipe, "-o", out)
        table.row(name, out, not options.fast)
    table.head("experts removed: a quarter")
    plans = {"REAP, all tokens": ("all", "reap", 0), "REAP, answer tokens": ("answers", "reap", 0), "EAN sum, answer tokens": ("answers", "ean_sum", 0),
             "frequency, all tokens": ("all", "frequency", 0), "frequency, answer tokens": ("answers", "frequency", 0)}
    plans.update({f"random {seed}": ("all", "random", seed) for seed in range(5)})
    for name, (which, method, seed) in plans.items():
        out = os.path.join(work, "".join(c if c.isalnum() else "-" for c in name))
        if not os.path.exists(out):
            mm2("prune", TINY, "--stats", os.path.join(work, which + ".safetensors"), "--method", method, "--seed", seed, "--ratio", "0.25", "-o", out)
        table.row(name, out, not options.fast)


if __name__ == "__main__":
    main()
