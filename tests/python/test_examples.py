"""The programs of examples/python, and the programs inside docs/python.md and README.md."""
import os
import re
import subprocess
import sys
import unittest

from support import SOURCE


def run(*command, text=""):
    return subprocess.run([sys.executable, "-B", *command], input=text, capture_output=True, text=True, timeout=100, cwd=SOURCE)


def blocks(name):
    with open(os.path.join(SOURCE, name), encoding="utf-8") as file:
        return re.findall(r"^```python\n(.*?)^```", file.read(), re.M | re.S)


class Programs(unittest.TestCase):
    def assert_says(self, done, *words):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        for word in words:
            self.assertIn(word, done.stdout)

    def test_chat_answers_line_after_line(self):
        self.assertEqual(len(re.findall("\n", run("examples/python/chat.py", text="Hello!\nHow are you?\n").stdout)) >= 2, True)
        self.assert_says(run("examples/python/chat.py", text="Hello!\n"))

    def test_stream_calls_the_tool_and_tells_its_result(self):
        self.assert_says(run("examples/python/stream_tools.py"), '[get_weather {"city": "Paris"}]', "18")

    def test_logits_shows_what_is_likely(self):
        done = run("examples/python/logits.py")
        self.assert_says(done, "%")
        self.assertEqual(len(done.stdout.splitlines()), 3)

    def test_the_first_programs_of_the_documents_do_what_they_say(self):
        for name in ("docs/python.md", "README.md"):
            self.assert_says(run("-c", blocks(name)[0]), "47 + 38 = 85")

    def test_the_steps_of_the_guide_run(self):
        program = "\n".join(["import mm2, numpy", "model = mm2.load('examples/models/mm2-tiny')", "engine = model.engine()",
                             "ids = more = model.tokenizer.encode('A few words.')", blocks("docs/python.md")[1],
                             "assert logits.shape == (3, 1664)"])
        self.assert_says(run("-c", program))

    def test_the_kernels_of_the_guide_run(self):
        program = "\n".join(["import numpy", "weight, x = numpy.ones((8, 4), 'f'), numpy.ones((2, 4), 'f')",
                             "gain = numpy.ones(8, 'f')", blocks("docs/python.md")[3].replace("rms_norm(x,", "rms_norm(y.copy(),")])
        self.assert_says(run("-c", program))


if __name__ == "__main__":
    unittest.main()
