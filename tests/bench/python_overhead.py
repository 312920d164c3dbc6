"""What a decode step costs in Python, over the same calls in C.

    PYTHONPATH=build/bench/python python3 tests/bench/python_overhead.py build/bench/tests/bench/libpython_overhead.so [THREADS]

Blocks of steps in C and in Python take turns, in one process, on engines of their own with the same options: a slow moment of the
machine meets both. Each figure is a median over blocks; the overhead is the median of the quotients of neighbours.
"""

import ctypes
import statistics
import sys
import time
from pathlib import Path

import mm2
import numpy as np

TINY = Path(__file__).resolve().parents[2] / "examples" / "models" / "mm2-tiny"
N_BLOCKS, N_STEPS = 60, 100


class Bench(ctypes.Structure):
    _fields_ = [("model", ctypes.c_void_p), ("engine", ctypes.c_void_p), ("tokenizer", ctypes.c_void_p)]


class InC:
    def __init__(self, library, n_threads, prompt, n_vocab):
        self.library, self.prompt, self.n_vocab = ctypes.CDLL(library), prompt, n_vocab
        self.library.bench_decode.restype = ctypes.c_double
        self.bench, self.logits = Bench(), np.empty(n_vocab, np.float32)
        assert self.library.bench_open(ctypes.byref(self.bench), str(TINY).encode(), n_threads) == 0

    def run(self, what):
        ids = (ctypes.c_int32 * len(self.prompt))(*self.prompt)
        assert self.library.bench_prompt(ctypes.byref(self.bench), ids, len(ids)) == 0
        logits = self.logits.ctypes.data_as(ctypes.c_void_p)
        return self.library.bench_decode(ctypes.byref(self.bench), self.n_vocab, len(ids), 5, N_STEPS, what, logits) / N_STEPS


class InPython:
    def __init__(self, n_threads, prompt):
        self.model = mm2.load(TINY)
        self.engine, self.prompt = self.model.engine(n_threads=n_threads, prefix_cache=False), prompt

    def run(self, what):
        engine, sampler, text = self.engine, mm2.Sampler(self.model.info.n_vocab), self.model.tokenizer.stream()
        engine.free(0)
        engine.step([mm2.Rows(0, self.prompt, outputs=0)])
        token = 5
        begin = time.perf_counter()
        for _ in range(N_STEPS):
            logits = engine.step([mm2.Rows(0, token)])
            if what >= 1:
                token = sampler.sample(logits)
                sampler.accept(token)
            if what >= 2:
                text.push(token)
        return (time.perf_counter() - begin) / N_STEPS

    def stream(self):
        """generate's loop, with the same number of steps."""
        options = {"temperature": 0, "logit_bias": {stop: float("-inf") for stop in self.model.stop_ids}}
        tokens = self.engine.stream(self.prompt + [5], max_tokens=N_STEPS + 1, **options)
        next(tokens)  # the prompt's step
        begin = time.perf_counter()
        n = sum(1 for token in tokens if token.id >= 0)
        return (time.perf_counter() - begin) / n


def compare(name, in_c, in_python):
    in_c(), in_python()
    pairs = [(in_c(), in_python()) for _ in range(N_BLOCKS)]
    overhead = statistics.median(b / a for a, b in pairs) - 1
    c, python = (1e6 * statistics.median(column) for column in zip(*pairs))
    print(f"| {name} | {c:.1f} | {python:.1f} | {100 * overhead:.1f} % |", flush=True)


def main():
    n_threads = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    model = mm2.load(TINY, metadata_only=True)
    prompt = model.tokenizer.encode("The capital of Japan is")
    c, python = InC(sys.argv[1], n_threads, prompt, model.info.n_vocab), InPython(n_threads, prompt)
    print(f"{mm2.system_info()['isa']}, {n_threads} thread(s), medians of {N_BLOCKS} blocks of {N_STEPS} steps, microseconds per step\n")
    print("| per token | C | Python | overhead |\n|---|---|---|---|")
    compare("step", lambda: c.run(0), lambda: python.run(0))
    compare("step, sample, accept", lambda: c.run(1), lambda: python.run(1))
    compare("step, sample, accept, text", lambda: c.run(2), lambda: python.run(2))
    compare("the same through Engine.stream", lambda: c.run(2), python.stream)


if __name__ == "__main__":
    main()
