"""Every hostile request gets its status and its sentence, and the server answers the next one."""
import json
import unittest

import hostile_cases
import serving


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server("--max-num-seqs", 4)
        cls.right = cls.server.post("/v1/chat/completions", serving.chat("What is 47 + 38?"))[1]["choices"]

    @classmethod
    def tearDownClass(cls):
        stats = cls.server.wait_until_idle()
        assert stats["engine"]["kv"]["free_blocks"] == stats["engine"]["kv"]["total_blocks"], stats
        assert cls.server.end() == 0

    def assert_serves(self):
        self.assertTrue(self.server.alive())
        self.assertEqual(self.server.post("/v1/chat/completions", serving.chat("What is 47 + 38?"))[1]["choices"], self.right)

    def test_bodies(self):
        cases = list(hostile_cases.cases())
        self.assertGreaterEqual(len(cases), 150)
        self.assertEqual(len({case[0] for case in cases}), len(cases), "names are given once")
        for name, path, body, status, fragment in cases:
            with self.subTest(name):
                got, _, answer = self.server.request("POST", path, body)
                error = json.loads(answer)["error"]
                self.assertEqual(got, status, error)
                self.assertIn(fragment, error["message"])
                self.assertLess(len(error["message"]), 700)
                self.assertEqual(self.server.get("/health"), (200, {"status": "ok"}))
        self.assert_serves()

    def test_wires(self):
        for name, sent, wanted in hostile_cases.wires():
            with self.subTest(name):
                answer = self.server.send(sent)
                if wanted:
                    self.assertIn(wanted, answer)
                    self.assertTrue(answer.startswith(b"HTTP/1.1 "), answer[:80])
                self.assertEqual(self.server.get("/health"), (200, {"status": "ok"}))
        self.assert_serves()


if __name__ == "__main__":
    unittest.main()
