"""The bench client against the server: its tables hold what the model cards' tables hold, and its plots are SVG."""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

import serving

CLIENT = os.path.join(serving.SOURCE, "examples", "bench_client", "bench_client.py")


class BenchClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server("--max-num-seqs", 8)
        cls.folder = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()
        assert cls.server.end() == 0

    def run_client(self, verb, *options):
        prefix = os.path.join(self.folder.name, verb)
        done = subprocess.run([sys.executable, CLIENT, verb, self.server.url + "/v1", "--json", prefix + ".json", "--svg", prefix, "--seed", "1", *map(str, options)],
                              capture_output=True, timeout=120)
        self.assertEqual((done.returncode, done.stderr.decode()), (0, ""))
        with open(prefix + ".json") as file:
            return done.stdout.decode(), json.load(file)["rows"], prefix

    def assert_svg(self, path, n_points):
        text = open(path).read()
        self.assertTrue(xml.etree.ElementTree.fromstring(text).tag.endswith("svg"))
        self.assertEqual(text.count("<circle"), n_points)

    def test_depth(self):
        out, rows, prefix = self.run_client("depth", "--depths", 0, 256, "--prompt", 128, "--tokens", 8, "--runs", 2)
        self.assertIn("| depth | prefill tok/s | decode tok/s | TTFT (ms) |", out)
        self.assertEqual(len(re.findall(r"^\| (?:0|256) \| [\d.]+ \u00b1 [\d.]+ \| [\d.]+ \u00b1 [\d.]+ \| [\d.]+ \|$", out, re.M)), 2)
        self.assertTrue(all(value > 0 for row in rows for value in row["prefill"] + row["decode"]))
        self.assert_svg(prefix + "-prefill.svg", 2)

    def test_serve(self):
        out, rows, prefix = self.run_client("serve", "--concurrency", 1, 4, "--requests", 8, "--prompt", 32, "--tokens", 8)
        self.assertEqual([(r["requests"], r["failed"]) for r in rows], [(8, 0), (8, 0)])
        for row in rows:
            self.assertLessEqual(row["ttft_ms"]["p50"], row["ttft_ms"]["p99"])
            self.assertGreater(row["output_tok_per_s"], 0)
        self.assert_svg(prefix + "-ttft.svg", 6)

    def test_rate(self):
        _, rows, _ = self.run_client("serve", "--rate", 50, "--requests", 6, "--prompt", 16, "--tokens", 4)
        self.assertEqual((rows[0]["requests"], rows[0]["failed"]), (6, 0))

    def test_a_server_that_is_not_there_is_one_line(self):
        done = subprocess.run([sys.executable, CLIENT, "depth", "http://127.0.0.1:9/v1"], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), r"^bench_client: .*\n$")


if __name__ == "__main__":
    unittest.main()
