#!/usr/bin/env python3
"""Measures any OpenAI endpoint the way the model cards do.

    bench_client.py depth http://127.0.0.1:8000/v1 --depths 0 4096 8192 --prompt 2048 --tokens 32
    bench_client.py serve http://127.0.0.1:8000/v1 --concurrency 1 8 32 --requests 64

depth  one request at a time: prefill tok/s, decode tok/s and time to first token of a prompt that follows `depth` tokens
serve  many requests: throughput, and percentiles of time to first token (TTFT), time per output token (TPOT) and inter-token
       latency (ITL), for each concurrency, or with --rate for requests that arrive at random

Both print a table in Markdown; --json FILE keeps the figures, --svg PREFIX draws them.
"""
import argparse
import json
import random
import sys
import threading
import time

from client import Endpoint, Failed, make_prompt
from figures import mean, percentile, plot, table, with_deviation


def measure_depth(endpoint, depth, prompt, tokens, runs, salt):
    """Runs at one depth. The context is sent once before, so that a server with a prefix cache computes the prompt alone; one
    without computes both, and its rate is taken over both, as the seeds' tool does."""
    prefill, decode, first = [], [], []
    for run in range(runs):
        context = make_prompt(depth, salt + run)
        if depth:
            endpoint.complete(context, 1)
        result = endpoint.complete(context + make_prompt(prompt, salt + 1000 + run), tokens)
        prefill.append((result.prompt_tokens - result.cached_tokens) / result.first)
        first.append(1000 * result.first)
        if result.per_token:
            decode.append(1 / result.per_token)
    return {"depth": depth, "prefill": prefill, "decode": decode, "ttft_ms": first}


def run_depth(arguments, endpoint):
    endpoint.complete(make_prompt(16, 7), 4)  # warms up
    salt = arguments.seed * 100_000
    rows = [measure_depth(endpoint, d, arguments.prompt, arguments.tokens, arguments.runs, salt + 10_000 * i) for i, d in enumerate(arguments.depths)]
    print(table(["depth", "prefill tok/s", "decode tok/s", "TTFT (ms)"],
                [[r["depth"], with_deviation(r["prefill"]), with_deviation(r["decode"], 2), f"{mean(r['ttft_ms']):.1f}"] for r in rows]))
    if arguments.svg:
        plot(arguments.svg + "-prefill.svg", f"Prefill, {arguments.prompt} tokens", "depth (tokens)", "tok/s", {"prefill": [(r["depth"], mean(r["prefill"])) for r in rows]})
        plot(arguments.svg + "-decode.svg", "Decode, one request", "depth (tokens)", "tok/s", {"decode": [(r["depth"], mean(r["decode"])) for r in rows]})
    return rows


class Load:
    """Requests from several threads, or at random times."""

    def __init__(self, endpoint, arguments, salt):
        self.endpoint, self.arguments = endpoint, arguments
        self.lock, self.next, self.salt = threading.Lock(), 0, salt
        self.results, self.failures = [], []

    def one(self, number):
        try:
            result = self.endpoint.complete(make_prompt(self.arguments.prompt, self.salt + number), self.arguments.tokens)
        except (Failed, OSError) as error:
            with self.lock:
                self.failures.append(str(error))
            return
        with self.lock:
            self.results.append(result)

    def worker(self):
        while True:
            with self.lock:
                number, self.next = self.next, self.next + 1
            if number >= self.arguments.requests:
                return
            self.one(number)

    def run(self, concurrency, rate):
        begin = time.perf_counter()
        if rate:
            threads, chance = [], random.Random(self.arguments.seed)
            for number in range(self.arguments.requests):
                threads.append(threading.Thread(target=self.one, args=(number,)))
                threads[-1].start()
                time.sleep(chance.expovariate(rate))
        else:
            threads = [threading.Thread(target=self.worker) for _ in range(concurrency)]
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - begin

    def summary(self, seconds):
        ttft = [1000 * r.first for r in self.results]
        tpot = [1000 * r.per_token for r in self.results if r.per_token]
        itl = [1000 * g for r in self.results for g in r.gaps]
        figures = {"requests": len(self.results), "failed": len(self.failures), "seconds": seconds, "requests_per_s": len(self.results) / seconds,
                   "output_tok_per_s": sum(r.completion_tokens for r in self.results) / seconds,
                   "total_tok_per_s": sum(r.completion_tokens + r.prompt_tokens for r in self.results) / seconds}
        for name, values in (("ttft_ms", ttft), ("tpot_ms", tpot), ("itl_ms", itl)):
            figures[name] = {"mean": mean(values), **{f"p{p}": percentile(values, p) for p in (50, 90, 99)}}
        return figures


def run_serve(arguments, endpoint):
    endpoint.complete(make_prompt(16, 7), 4)  # warms up
    settings = [(0, rate) for rate in arguments.rate] if arguments.rate else [(c, 0) for c in arguments.concurrency]
    rows = []
    for i, (concurrency, rate) in enumerate(settings):
        load = Load(endpoint, arguments, arguments.seed * 100_000 + 10_000 * i + 1)
        figures = load.summary(load.run(concurrency, rate))
        rows.append({"concurrency": concurrency, "rate": rate, **figures})
        for failure in load.failures[:3]:
            print("failed:", failure, file=sys.stderr)
    name = "requests/s" if arguments.rate else "concurrency"
    three = lambda f: f"{f['p50']:.1f} / {f['p90']:.1f} / {f['p99']:.1f}"
    print(table([name, "done", "failed", "req/s", "output tok/s", "total tok/s", "TTFT ms p50/p90/p99", "TPOT ms p50/p90/p99", "ITL ms p50/p90/p99"],
                [[r["rate"] or r["concurrency"], r["requests"], r["failed"], f"{r['requests_per_s']:.2f}", f"{r['output_tok_per_s']:.0f}", f"{r['total_tok_per_s']:.0f}",
                  three(r["ttft_ms"]), three(r["tpot_ms"]), three(r["itl_ms"])] for r in rows]))
    if arguments.svg:
        x = lambda r: r["rate"] or r["concurrency"]
        plot(arguments.svg + "-throughput.svg", "Throughput", name, "output tok/s", {"output": [(x(r), r["output_tok_per_s"]) for r in rows]})
        plot(arguments.svg + "-ttft.svg", "Time to first token", name, "ms", {p: [(x(r), r["ttft_ms"][p]) for r in rows] for p in ("p50", "p90", "p99")})
        plot(arguments.svg + "-itl.svg", "Inter-token latency", name, "ms", {p: [(x(r), r["itl_ms"][p]) for r in rows] for p in ("p50", "p90", "p99")})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("depth", "serve"):
        verb = verbs.add_parser(name)
        verb.add_argument("url", help="base URL, such as http://127.0.0.1:8000/v1")
        verb.add_argument("--model", help="default: the first one that the server lists")
        verb.add_argument("--key", help="API key")
        verb.add_argument("--prompt", type=int, default=2048 if name == "depth" else 256, help="tokens of a prompt")
        verb.add_argument("--tokens", type=int, default=32 if name == "depth" else 128, help="tokens of an answer")
        verb.add_argument("--seed", type=int, default=int(time.time()) % 10_000, help="of the prompts; another one each time unless given")
        verb.add_argument("--json", help="file for all figures")
        verb.add_argument("--svg", help="prefix of the plots' files")
    verbs.choices["depth"].add_argument("--depths", type=int, nargs="+", default=[0, 4096, 8192, 16384])
    verbs.choices["depth"].add_argument("--runs", type=int, default=3)
    verbs.choices["serve"].add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16])
    verbs.choices["serve"].add_argument("--rate", type=float, nargs="+", help="requests per second, instead of concurrency")
    verbs.choices["serve"].add_argument("--requests", type=int, default=64, help="for each setting")
    arguments = parser.parse_args()
    try:
        endpoint = Endpoint(arguments.url, arguments.model, arguments.key)
        figures = (run_depth if arguments.verb == "depth" else run_serve)(arguments, endpoint)
    except (Failed, OSError) as error:
        print(f"bench_client: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"model": endpoint.model, "verb": arguments.verb, "prompt": arguments.prompt, "tokens": arguments.tokens, "rows": figures}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
