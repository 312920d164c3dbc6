"""How the server behaves towards clients that leave, wait, do not read, or have no key; and how it ends."""
import json
import signal
import socket
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import serving

STORY = "Tell me a short story about a fox named Lila."
ENDLESS = {"ignore_eos": True, "temperature": 1, "seed": 1}


def raw(body, path="/v1/chat/completions"):
    body = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Leaving(unittest.TestCase):
    def leave(self, server, body):
        """Sends a request, and closes once it has a seat."""
        before = server.stats()["jobs"]
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(raw(body))
        while server.stats()["jobs"] == before or server.stats()["running"] == 0:
            time.sleep(0.001)
        connection.close()

    def test_a_client_that_leaves_costs_one_step_more(self):
        # Steps are counted and not seconds: the server tells how many of them any sequence was in after its client was known to be gone.
        long = "The fox sleeps. " * 200
        with serving.Server("--max-num-seqs", 4, "--max-tokens-per-step", 16, "--no-enable-prefix-caching") as server:
            for round in range(4):
                for stream in (True, False):
                    self.leave(server, serving.chat(STORY, stream=stream, **{**ENDLESS, "max_tokens": 4000}))  # while it writes
                    self.leave(server, serving.chat(long, stream=stream, **{**ENDLESS, "max_tokens": 1}))  # while it reads its prompt
                    self.leave(server, serving.chat(STORY, stream=stream, n=3, **{**ENDLESS, "max_tokens": 3000}))
            stats = server.wait_until_idle(60)
            self.assertLessEqual(stats["most_unwanted_steps"], 1)
            self.assertEqual(stats["engine"]["kv"]["n_seqs"], 0)
            self.assertEqual(stats["engine"]["kv"]["free_blocks"], stats["engine"]["kv"]["total_blocks"])
            # Nobody's answer went on to its end: all of the ones that write were cancelled, and those that read as often as they were in time.
            self.assertGreaterEqual(stats["cancelled"], 8 + 8 * 3)
            self.assertEqual(stats["cancelled"] + stats["finished"], 8 + 8 + 8 * 3)
            self.assertLess(stats["generated_tokens"], 8 * 4000)

    def test_a_client_that_leaves_the_queue_is_forgotten(self):
        with serving.Server("--max-num-seqs", 1) as server:
            first = socket.create_connection(("127.0.0.1", server.port))
            first.sendall(raw(serving.chat(STORY, **ENDLESS)))
            while server.stats()["running"] == 0:
                time.sleep(0.005)
            second = socket.create_connection(("127.0.0.1", server.port))
            second.sendall(raw(serving.chat(STORY, **ENDLESS)))
            while server.stats()["waiting"] == 0:
                time.sleep(0.005)
            second.close()
            while server.stats()["waiting"] > 0:
                time.sleep(0.005)
            self.assertEqual(server.stats()["running"], 1)
            first.close()
            server.wait_until_idle()

    def test_a_client_that_does_not_read_is_paused_and_then_dropped(self):
        with serving.Server("--max-num-seqs", 4, "--slow-reader-seconds", 15) as server:
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            # Megabytes of log probabilities: far more than sockets and the channel take.
            slow.sendall(raw(serving.chat(STORY, stream=True, logprobs=True, top_logprobs=20, **ENDLESS)))
            while server.stats()["running"] == 0:
                time.sleep(0.01)
            paused, before, memory = 0, server.rss(), 0
            end = time.monotonic() + 60
            while time.monotonic() < end:
                stats = server.stats()
                paused = max(paused, stats["paused"])
                memory = max(memory, server.rss())
                # Others are served meanwhile.
                self.assertEqual(server.post("/v1/chat/completions", serving.chat("Hi!", max_tokens=3))[0], 200)
                if stats["running"] == 0:
                    break
                time.sleep(0.05)
            if stats["generated_tokens"] > 1500:  # a machine that is too slow to fill the channel in time drops it without a pause
                self.assertEqual(paused, 1, "it was left out of steps")
            self.assertLess(memory - before, 32 << 20)
            stats = server.wait_until_idle()
            self.assertLess(stats["cancelled"] + stats["failed"], 2)
            self.assertLess(stats["generated_tokens"], 3900, "it was dropped before it had everything")
            self.assertEqual(stats["engine"]["kv"]["n_seqs"], 0)
            slow.close()


class Limits(unittest.TestCase):
    def test_a_full_queue_says_when_to_come_again(self):
        with serving.Server("--max-num-seqs", 1, "--max-waiting", 2) as server:
            held = []
            for i in range(3):
                connection = server.connection()
                connection.request("POST", "/v1/chat/completions", json.dumps(serving.chat(STORY, **ENDLESS)))
                held.append(connection)
                while server.stats()["running"] + server.stats()["waiting"] < i + 1:
                    time.sleep(0.005)
            status, headers, body = server.request("POST", "/v1/chat/completions", serving.chat("Hi!"))
            self.assertEqual((status, headers["Retry-After"]), (503, "1"))
            self.assertIn("2 answers are waiting already", json.loads(body)["error"]["message"])
            for connection in held:
                connection.close()
            server.wait_until_idle()
            self.assertEqual(server.post("/v1/chat/completions", serving.chat("Hi!"))[0], 200)

    def test_an_answer_at_once_has_not_more_log_probabilities_than_memory_for_them(self):
        with serving.Server() as server:
            most = dict(logprobs=True, top_logprobs=20, n=4, max_tokens=3500, **ENDLESS)  # 294,000 of them
            status, answer = server.post("/v1/chat/completions", serving.chat(STORY, **most))
            self.assertEqual(status, 400)
            self.assertIn("more than 262144 log probabilities; stream it", answer["error"]["message"])
            stats = server.wait_until_idle()
            self.assertEqual((stats["cancelled"], stats["engine"]["kv"]["n_seqs"]), (4, 0))

    def test_more_connections_than_allowed_are_refused_in_words(self):
        with serving.Server("--max-connections", 4) as server:
            held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
            ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            while b"503" not in (answer := server.send(ask)):  # the four count once they are accepted
                self.assertIn(b" 200 ", answer)
            self.assertIn(b"all connections of this server are in use", answer)
            for connection in held:
                connection.close()
            while b" 200 " not in (answer := server.send(ask)):
                self.assertIn(b"503", answer)

    def test_a_small_pool_makes_answers_wait_but_changes_none(self):
        questions = [f"What is {a} + {a + 7}?" for a in range(11, 27)] + [STORY]
        with serving.Server("--max-num-seqs", 1) as server:
            alone = [server.post("/v1/chat/completions", serving.chat(q, seed=5, temperature=1))[1]["choices"] for q in questions]
        # 8 blocks for 8 sequences of two to four blocks each: some have to make room.
        with serving.Server("--max-num-seqs", 8, "--kv-tokens", 512, "--no-enable-prefix-caching", "--max-tokens-per-step", 64) as server:
            with ThreadPoolExecutor(len(questions)) as pool:
                together = list(pool.map(lambda q: server.post("/v1/chat/completions", serving.chat(q, seed=5, temperature=1, max_tokens=300))[1]["choices"], questions))
            stats = server.wait_until_idle()
        self.assertEqual(together, alone)
        self.assertGreater(stats["preemptions"], 0)

    def test_prefixes_are_found_again(self):
        with serving.Server() as server:
            long = " ".join(f"The fox number {i} lives in the forest." for i in range(40))
            body = serving.chat(long + " Who are you?", max_tokens=5)
            first = server.post("/v1/chat/completions", body)[1]
            again = server.post("/v1/chat/completions", body)[1]
            self.assertEqual(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            self.assertGreater(again["usage"]["prompt_tokens_details"]["cached_tokens"], 200)
            self.assertEqual(again["choices"], first["choices"])
            salted = server.post("/v1/chat/completions", {**body, "cache_salt": "mine"})[1]
            self.assertEqual(salted["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            self.assertEqual(salted["choices"], first["choices"])


class Access(unittest.TestCase):
    def test_a_key_is_asked_for(self):
        with serving.Server("--api-key", "secret", "--api-key", "other") as server:
            body = serving.chat("Hi!", max_tokens=1)
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}, {"Authorization": "Bearer secret2"},
                            {"Authorization": "Bearer "}, {"x-api-key": "secre"}):
                status, answer = server.post("/v1/chat/completions", body, headers=headers)
                self.assertEqual(status, 401, headers)
                self.assertIn("an API key is needed", answer["error"]["message"])
            for headers in ({"Authorization": "Bearer secret"}, {"x-api-key": "other"}):
                self.assertEqual(server.post("/v1/chat/completions", body, headers=headers)[0], 200)
            for path, status in (("/health", 200), ("/", 200), ("/stats", 401), ("/metrics", 401), ("/v1/models", 401)):
                self.assertEqual(server.request("GET", path)[0], status, path)

    def test_pages_of_others_need_leave(self):
        with serving.Server("--allowed-origins", "https://good.example") as server:
            for origin, status in (("https://good.example", 200), ("https://evil.example", 403), (server.url, 200)):
                got, headers, _ = server.request("GET", "/v1/models", headers={"Origin": origin})
                self.assertEqual(got, status, origin)
                self.assertEqual(headers["Access-Control-Allow-Origin"], origin if status == 200 else None)
            status, headers, _ = server.request("OPTIONS", "/v1/chat/completions", headers={"Origin": "https://good.example"})
            self.assertEqual((status, headers["Access-Control-Allow-Methods"]), (204, "GET, POST"))


class Ending(unittest.TestCase):
    def test_sigterm_lets_answers_end_and_refuses_new_ones(self):
        server = serving.Server()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.post, "/v1/chat/completions", serving.chat(STORY, max_tokens=3500, **ENDLESS))
            while server.stats()["generated_tokens"] < 5:
                time.sleep(0.005)
            server.process.send_signal(signal.SIGTERM)
            while (health := server.get("/health"))[0] == 200:  # until the signal has arrived
                time.sleep(0.005)
            self.assertEqual(health, (503, {"status": "draining"}))
            status, headers, body = server.request("POST", "/v1/chat/completions", serving.chat("Hi!"))
            self.assertEqual((status, headers["Retry-After"]), (503, "1"))
            self.assertIn("shutting down", json.loads(body)["error"]["message"])
            status, whole = answer.result()
        self.assertEqual((status, whole["usage"]["completion_tokens"]), (200, 3500))
        self.assertEqual(server.process.wait(60), 0)
        server.process.stderr.close()

    def test_an_idle_server_ends_at_once_even_with_open_connections(self):
        server = serving.Server()
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        self.assertEqual(server.end(patience=20), 0)
        for connection in idle:
            connection.close()

    def test_a_port_that_is_taken_is_an_error_in_one_line(self):
        import subprocess
        with serving.Server() as server:
            done = subprocess.run([serving.PROGRAM, "serve", serving.TINY, "--port", str(server.port)], capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 4)
            self.assertRegex(done.stderr.decode(), rf"^mm2: serving .*: listening on 127.0.0.1:{server.port}: Address already in use\n$")


class Models(unittest.TestCase):
    def test_a_model_is_told_by_its_name(self):
        with serving.Server("--served-model-name", "tiny", "org/tiny of all") as server:
            listed = server.get("/v1/models")[1]["data"]
            for path, i in (("tiny", 0), ("org/tiny%20of%20all", 1), ("org%2Ftiny%20of%20all", 1)):
                self.assertEqual(server.get("/v1/models/" + path), (200, listed[i]))
            status, headers, body = server.request("HEAD", "/v1/models/tiny")
            self.assertEqual((status, body), (200, b""))

    def test_other_names_are_refused_in_words(self):
        with serving.Server("--api-key", "secret") as server:
            key = {"Authorization": "Bearer secret"}
            for name, path in (("another", "gpt-4"), ("a part of a name", "mm2"), ("more than a name", "mm2-tiny/x"), ("a slash", "mm2-tiny/"),
                               ("upwards", "../../etc/passwd"), ("upwards, encoded", "%2e%2e%2f%2e%2e"), ("a line end", "mm2-tiny%0A"),
                               ("a NUL", "mm2-tiny%00"), ("half a character", "%FF%C3"), ("quotes", '%22%27%5C'), ("half an escape", "%"),
                               ("markup", "%3Cscript%3E"), ("a pattern", "(a+)+%24"), ("8,000 characters", "x" * 8000), ("another case", "MM2-TINY")):
                with self.subTest(name):
                    status, headers, body = server.request("GET", "/v1/models/" + path, headers=key)
                    error = json.loads(body)["error"]
                    self.assertEqual((status, error["code"], error["param"]), (404, "model_not_found", "model"))
                    self.assertIn("is not served here; 'mm2-tiny' is", error["message"])
                    self.assertLess(len(error["message"]), 700)
            self.assertEqual(server.request("GET", "/v1/models/" + "x" * 9000, headers=key)[0], 414)
            self.assertEqual(server.get("/v1/models/", headers=key)[0], 404)
            for method in ("POST", "DELETE", "PUT"):
                status, headers, body = server.request(method, "/v1/models/mm2-tiny", headers=key)
                self.assertEqual((status, headers["Allow"]), (405, "GET"))
                self.assertIn("takes GET, not " + method, json.loads(body)["error"]["message"])
            self.assertEqual(server.request("GET", "/v1/models/mm2-tiny")[0], 401)
            self.assertEqual(server.request("GET", "/v1/models/gpt-4")[0], 401)
            self.assertEqual(server.request("GET", "/v1/models/mm2-tiny", headers={**key, "Origin": "https://evil.example"})[0], 403)
            self.assertEqual(server.get("/v1/models/mm2-tiny", headers=key)[1]["id"], "mm2-tiny")


class Telling(unittest.TestCase):
    def test_metrics_are_what_prometheus_reads(self):
        with serving.Server() as server:
            server.post("/v1/chat/completions", serving.chat("Hi!"))
            server.wait_until_idle()
            status, headers, body = server.request("GET", "/metrics")
            self.assertEqual(status, 200)
            self.assertTrue(headers["Content-Type"].startswith("text/plain; version=0.0.4"))
            values = {}
            for line in body.decode().splitlines():
                if line.startswith("#"):
                    self.assertRegex(line, r"^# (HELP mm2_\w+ .+|TYPE mm2_\w+ (counter|gauge|histogram))$")
                else:
                    self.assertRegex(line, r'^mm2_\w+(\{le="[^"]+"\})? [0-9.e+-]+$')
                    name, value = line.rsplit(" ", 1)
                    values[name] = float(value)
            self.assertEqual(values["mm2_answers_finished_total"], 1)
            self.assertEqual(values['mm2_time_to_first_token_seconds_bucket{le="+Inf"}'], 1)
            self.assertGreater(values["mm2_generated_tokens_total"], 5)

    def test_experts_are_counted(self):
        with serving.Server() as server:
            server.post("/v1/chat/completions", serving.chat("Hi!"))
            engine = server.stats()["engine"]
            self.assertEqual([len(layer) for layer in engine["expert_tokens"]], [16] * 4)
            self.assertEqual([sum(layer) for layer in engine["expert_tokens"]], [4 * engine["tokens"]] * 4)

    def test_tokens_and_back(self):
        with serving.Server("--served-model-name", "one", "two") as server:
            text = "Hello, \u4e16\u754c! \U0001f98a"
            tokens = server.post("/tokenize", {"prompt": text, "model": "two"})[1]
            self.assertEqual(tokens["count"], len(tokens["tokens"]))
            self.assertEqual(server.post("/detokenize", {"tokens": tokens["tokens"]})[1], {"prompt": text})
            rendered = server.post("/tokenize", {"messages": [{"role": "user", "content": "Hi!"}], "return_token_strs": True})[1]
            self.assertEqual(rendered["token_strs"][-2:], ["<think>", "\n"])
            self.assertEqual([m["id"] for m in server.get("/v1/models")[1]["data"]], ["one", "two"])

    def test_flags_of_other_servers(self):
        with serving.Server("--trust-remote-code", "--enable-auto-tool-choice", "--tool-call-parser", "minimax_m2", "--reasoning-parser",
                            "minimax_m2_append_think", "--max-model-len", 256, "--kv-cache-dtype", "bfloat16", "--enable-prefix-caching",
                            "--enable-chunked-prefill", "--tensor-parallel-size", 1) as server:
            answer = server.post("/v1/chat/completions", serving.chat("What is 47 + 38?"))[1]["choices"][0]["message"]
            self.assertNotIn("reasoning_content", answer)
            self.assertTrue(answer["content"].startswith("<think>"))
            self.assertIn("256", server.post("/v1/chat/completions", serving.chat("Hi!", max_tokens=256))[1]["error"]["message"])


if __name__ == "__main__":
    unittest.main()
