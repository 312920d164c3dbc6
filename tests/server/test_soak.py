"""Many streams at once, clients that leave and requests that are wrong: every answer that comes to its end is the one that
the same request gets alone, nothing is left behind, and memory stays flat.  python3 test_soak.py SECONDS runs longer."""
import json
import os
import random
import sys
import threading
import time
import unittest

import serving

STREAMS = 64
SECONDS = 20


def questions():
    """A fixed set of requests, so that each of them is asked alone once."""
    bodies = [serving.chat(f"What is {a} + {b}?", max_tokens=120) for a, b in ((47, 38), (12, 9), (60, 31), (25, 66))]
    bodies += [serving.chat(f"What is the capital of {c}?", max_tokens=80, temperature=1, seed=s) for c, s in (("Japan", 1), ("France", 2), ("Canada", 3))]
    bodies += [serving.chat("Tell me a short story about a fox named Lila.", max_tokens=200, temperature=1.2, seed=s) for s in range(4)]
    bodies += [serving.chat(f"What is the weather in {c}?", tools=[serving.WEATHER], max_tokens=120) for c in ("Paris", "Rome")]
    bodies.append(serving.chat("Who are you? " * 60, max_tokens=60))
    bodies.append(serving.chat("Tell me a story.", max_tokens=60, n=2, temperature=1, seed=9))
    return bodies


def joined(choices):
    """What a stream's deltas come to, in the shape of whole answers."""
    return [(c.get("reasoning_content", ""), c.get("content") or "", [(f["name"], f["arguments"]) for f in c["calls"]], c["finish"]) for c in choices]


def whole(answer):
    return [(c["message"].get("reasoning_content", ""), c["message"]["content"] or "",
             [(t["function"]["name"], t["function"]["arguments"]) for t in c["message"].get("tool_calls", [])], c["finish_reason"])
            for c in answer["choices"]]


class Client(threading.Thread):
    """Asks one question after the other; a tenth of them it leaves, one in twenty is wrong."""

    def __init__(self, server, bodies, expected, seed, until):
        super().__init__()
        self.server, self.bodies, self.expected, self.until = server, bodies, expected, until
        self.random = random.Random(seed)
        self.counts = {"right": 0, "wrong": 0, "cancelled": 0, "refused": 0, "busy": 0}
        self.failures = []

    def run(self):
        while time.monotonic() < self.until:
            try:
                self.once()
            except Exception as error:  # a thread's own failure must not pass unseen
                self.failures.append(repr(error))
                return

    def once(self):
        i, luck = self.random.randrange(len(self.bodies)), self.random.random()
        if luck < 0.05:
            status, answer = self.server.post("/v1/chat/completions", {**self.bodies[i], "temperature": -1})
            assert status == 400 and "temperature is -1" in answer["error"]["message"], (status, answer)
            self.counts["refused"] += 1
        elif luck < 0.15:
            self.leave(self.bodies[i])
        elif luck < 0.6:
            self.stream(i)
        else:
            status, answer = self.server.post("/v1/chat/completions", self.bodies[i])
            self.compare(i, status, answer, whole)

    def compare(self, i, status, answer, read):
        if status == 503:
            self.counts["busy"] += 1
            time.sleep(0.05)
        elif status == 200 and read(answer) == self.expected[i]:
            self.counts["right"] += 1
        else:
            self.counts["wrong"] += 1
            self.failures.append(f"{self.bodies[i]['messages']}: {answer} instead of {self.expected[i]}")

    def leave(self, body):
        connection = self.server.connection()
        connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}))
        response = connection.getresponse()
        for _ in range(self.random.randrange(12)):
            response.readline()
        response.close()
        connection.close()
        self.counts["cancelled"] += 1

    def stream(self, i):
        connection = self.server.connection()
        connection.request("POST", "/v1/chat/completions", json.dumps({**self.bodies[i], "stream": True}))
        response = connection.getresponse()
        if response.status != 200:
            self.compare(i, response.status, json.loads(response.read()), whole)
            return connection.close()
        choices = [{"calls": [], "finish": None} for _ in range(self.bodies[i].get("n", 1))]
        for event in serving.events(response):
            assert "error" not in event, event
            choice, delta = choices[event["choices"][0]["index"]], event["choices"][0]["delta"]
            for field in ("content", "reasoning_content"):
                choice[field] = choice.get(field, "") + (delta.get(field) or "")
            for call in delta.get("tool_calls", []):
                if call.get("id"):
                    choice["calls"].append({"name": call["function"]["name"], "arguments": ""})
                choice["calls"][-1]["arguments"] += call["function"]["arguments"]
            if event["choices"][0]["finish_reason"]:
                assert choice["finish"] is None, "one final event"
                choice["finish"] = event["choices"][0]["finish_reason"]
        connection.close()
        self.compare(i, 200, choices, joined)


def soak(seconds, streams=STREAMS):
    """The counts of all clients, the memory at the beginning and at the end, and the last statistics."""
    bodies = questions()
    with serving.Server("--max-num-seqs", 64, "--max-waiting", 128, "--kv-tokens", 16384) as server:
        expected = []
        for body in bodies:
            status, answer = server.post("/v1/chat/completions", body)
            assert status == 200, answer
            expected.append(whole(answer))

        def run(duration, seed):
            clients = [Client(server, bodies, expected, seed + i, time.monotonic() + duration) for i in range(streams)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            return clients
        clients = run(max(2, seconds * 0.2), 1000)  # warms up: threads, buffers, caches
        server.wait_until_idle()
        before = server.rss()
        clients += run(seconds * 0.8, 2000)
        stats = server.wait_until_idle()
        after = server.rss()
    counts = {name: sum(c.counts[name] for c in clients) for name in clients[0].counts}
    return counts, [f for c in clients for f in c.failures], before, after, stats


class Soak(unittest.TestCase):
    def test_many_streams(self):
        counts, failures, before, after, stats = soak(SECONDS)
        self.assertEqual(failures[:3], [])
        self.assertEqual(counts["wrong"], 0)
        for name, least in (("right", 100), ("cancelled", 10), ("refused", 5)):
            self.assertGreater(counts[name], least, counts)
        kv = stats["engine"]["kv"]
        self.assertEqual((kv["n_seqs"], kv["free_blocks"]), (0, kv["total_blocks"]))
        # Allocators keep what a busier moment took; a leak of one small buffer per request would be larger than this.
        self.assertLess(after - before, 24 << 20, f"{before} -> {after}")


if __name__ == "__main__":
    counts, failures, before, after, stats = soak(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
    print(json.dumps({**counts, "failures": failures[:5], "rss_before": before, "rss_after": after, "kv": stats["engine"]["kv"],
                      "generated_tokens": stats["generated_tokens"], "cached_tokens": stats["cached_tokens"],
                      "preemptions": stats["preemptions"], "steps": stats["engine"]["steps"]}, indent=1))
