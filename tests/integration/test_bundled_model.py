"""The bundled model answers its own questions as well through libmm2 as through transformers.

A host in 100 lines of ctypes: it uses nothing but the shared library, batches 16 conversations, and picks tokens with the greedy
sampler. tests/data/tiny/eval_questions.jsonl holds the questions with transformers' greedy BF16 answers; the judge is the one that
made the figures in the model's README.
"""
import ctypes
import json
import os
import sys
import unittest

SOURCE = os.environ["MM2_SOURCE_DIR"]
LIBRARY = os.environ["MM2_LIBRARY"]
TINY = os.path.join(SOURCE, "examples", "models", "mm2-tiny")
QUESTIONS = os.path.join(SOURCE, "tests", "data", "tiny", "eval_questions.jsonl")
SEQS, CHUNK, LONGEST_ANSWER = 16, 1024, 260

sys.path.insert(0, os.path.join(SOURCE, "examples", "models", "train"))
from evaluation.judging import Score, judge  # noqa: E402: plain Python, no torch
from tiny.vocabulary import Decoder  # noqa: E402


class Error(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("code", ctypes.c_int32), ("domain", ctypes.c_uint32),
                ("native_code", ctypes.c_int32), ("message", ctypes.c_char * 480)]


class EngineOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("max_seqs", ctypes.c_int32), ("max_tokens_per_step", ctypes.c_int32),
                ("max_outputs_per_step", ctypes.c_int32), ("kv_tokens", ctypes.c_int64), ("kv_block_size", ctypes.c_int32),
                ("kv_dtype", ctypes.c_int32), ("activations", ctypes.c_int32), ("prefix_cache", ctypes.c_int32),
                ("n_threads", ctypes.c_int32), ("kv_scales", ctypes.c_int32), ("host", ctypes.c_void_p)]


class SeqRows(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("seq_id", "first_position", "n_tokens", "n_outputs")]


class Batch(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("n_seqs", ctypes.c_int32), ("seqs", ctypes.POINTER(SeqRows)),
                ("tokens", ctypes.POINTER(ctypes.c_int32)), ("n_tokens", ctypes.c_int32), ("reserved", ctypes.c_int32)]


class Host:
    """Model, engine and one greedy sampler."""

    def __init__(self, path, n_vocab, end_id):
        self.lib, self.n_vocab, self.end_id = ctypes.CDLL(LIBRARY), n_vocab, end_id
        self.error = Error(struct_size=ctypes.sizeof(Error))
        self.model, self.engine, self.sampler = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        self.call("mm2_model_load", path.encode(), None, ctypes.byref(self.model))
        options = EngineOptions(struct_size=ctypes.sizeof(EngineOptions), max_seqs=SEQS, max_tokens_per_step=CHUNK,
                                max_outputs_per_step=SEQS, kv_tokens=SEQS * 4096)
        self.call("mm2_engine_create", self.model, ctypes.byref(options), ctypes.byref(self.engine))
        self.call("mm2_sampler_create", None, n_vocab, ctypes.byref(self.sampler))
        self.logits = (ctypes.c_float * (SEQS * n_vocab))()

    def call(self, name, *arguments):
        status = getattr(self.lib, name)(*arguments, ctypes.byref(self.error))
        if status != 0:
            raise RuntimeError(f"{name}: {self.error.message.decode()}")

    def close(self):
        for name, handle in (("sampler", self.sampler), ("engine", self.engine), ("model", self.model)):
            getattr(self.lib, f"mm2_{name}_destroy")(handle)

    def step(self, rows, tokens, n_outputs):
        """The greedy token of each output."""
        batch = Batch(struct_size=ctypes.sizeof(Batch), n_seqs=len(rows), seqs=(SeqRows * len(rows))(*rows),
                      tokens=(ctypes.c_int32 * len(tokens))(*tokens), n_tokens=len(tokens))
        self.call("mm2_engine_step", self.engine, ctypes.byref(batch), self.logits, ctypes.c_size_t(len(self.logits)), None)
        picked, token = [], ctypes.c_int32()
        for i in range(n_outputs):
            row = ctypes.byref(self.logits, i * self.n_vocab * ctypes.sizeof(ctypes.c_float))
            self.call("mm2_sampler_sample", self.sampler, row, ctypes.byref(token), None)
            picked.append(token.value)
        return picked

    def prefill(self, seq_id, prompt):
        """The first token of the answer."""
        for at in range(0, len(prompt), CHUNK):
            part = prompt[at:at + CHUNK]
            last = at + len(part) == len(prompt)
            first = self.step([SeqRows(seq_id, at, len(part), int(last))], part, int(last))
        return first[0]

    def answer(self, prompts):
        """Greedy continuations, up to and with the end of the turn."""
        answers = [[self.prefill(i, prompt)] for i, prompt in enumerate(prompts)]
        while True:
            going = [i for i, a in enumerate(answers) if a[-1] != self.end_id and len(a) < LONGEST_ANSWER]
            if not going:
                break
            rows = [SeqRows(i, len(prompts[i]) + len(answers[i]) - 1, 1, 1) for i in going]
            for i, token in zip(going, self.step(rows, [answers[i][-1] for i in going], len(going))):
                answers[i].append(token)
        for i in range(len(prompts)):
            self.call("mm2_seq_free", self.engine, i)
        return answers


class BundledModel(unittest.TestCase):
    def test_its_answers_are_as_right_as_those_of_transformers(self):
        with open(QUESTIONS, encoding="utf-8") as file:
            questions = [json.loads(line) for line in file]
        with open(os.path.join(TINY, "config.json"), encoding="utf-8") as file:
            n_vocab = json.load(file)["vocab_size"]
        with open(os.path.join(TINY, "generation_config.json"), encoding="utf-8") as file:
            end_id = json.load(file)["eos_token_id"]
        decode = Decoder(__import__("pathlib").Path(TINY) / "tokenizer.json")
        host = Host(TINY, n_vocab, end_id)
        order = sorted(range(len(questions)), key=lambda i: len(questions[i]["prompt_ids"]))
        mine, theirs, same = Score(), Score(), 0
        for start in range(0, len(order), SEQS):
            part = [questions[i] for i in order[start:start + SEQS]]
            for question, ids in zip(part, host.answer([q["prompt_ids"] for q in part])):
                mine.add(question["skill"], judge(decode(ids), question["check"]))
                theirs.add(question["skill"], judge(decode(question["answer_ids"]), question["check"]))
                same += ids == question["answer_ids"]
        host.close()
        mine, theirs = mine.table()["all"], theirs.table()["all"]
        figures = f"{len(questions)} questions, {same} answers equal; mm2 {mine}; transformers {theirs}"
        sys.stderr.write(figures + "\n")
        # Both round activations to BF16, at different places: near-ties fall either way, so figures agree to a point, not to a token.
        for figure in ("right", "well_formed", "tool_call_exact"):
            point = 0.01 if figure != "tool_call_exact" else max(0.01, 1.01 / max(1, theirs["tool_turns"]))
            self.assertGreaterEqual(mine[figure], theirs[figure] - point, figures)


if __name__ == "__main__":
    unittest.main()
