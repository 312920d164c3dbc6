"""Stubs and annotations: mypy's stubtest compares them with the modules, mypy --strict reads them as a user's would."""
import importlib.util
import os
import subprocess
import sys
import tempfile
import unittest

from support import SOURCE

HAS_MYPY = importlib.util.find_spec("mypy") is not None

USER = """
import mm2

def main() -> int:
    model = mm2.load("path", progress=lambda p: print(p.done))
    engine: mm2.Engine = model.engine(max_seqs=2)
    text: str = engine.generate("words", max_tokens=3).text
    for event in engine.chat_stream([{"role": "user", "content": text}]):
        if isinstance(event, mm2.TextDelta):
            text += event.text
    logits = engine.step([mm2.Rows(0, [1, 2])])
    return mm2.Sampler(logits.shape[1], temperature=1.0).sample(logits)
"""


@unittest.skipUnless(HAS_MYPY, "mypy is not installed")
class Types(unittest.TestCase):
    def run_mypy(self, *command):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "MYPYPATH": os.environ["PYTHONPATH"], "MYPY_CACHE_DIR": folder}
            done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, env=environment, cwd=folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_stubs_say_what_the_modules_have(self):
        self.run_mypy("mypy.stubtest", "mm2._core", "mm2._kernels", "--concise", "--allowlist", os.path.join(SOURCE, "tests", "python", "stubtest_allowlist.txt"))

    def test_a_strict_user_and_the_package_itself_pass(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "user.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write(USER)
            self.run_mypy("mypy", "--strict", path)
            self.run_mypy("mypy", "--strict", "-p", "mm2")


if __name__ == "__main__":
    unittest.main()
