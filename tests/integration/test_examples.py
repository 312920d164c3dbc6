"""Claims about the example programs that users copy."""
import os
import subprocess
import unittest

import program


def run(name, *arguments):
    return subprocess.run([os.environ[name], *arguments], capture_output=True, timeout=240, text=True)


class Examples(unittest.TestCase):
    def test_the_c_program_goes_on_with_a_text_as_the_program_does(self):
        done = run("MM2_C_MINIMAL", program.TINY, "The capital of Japan is")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("The capital of Japan is Tokyo."), done.stdout)

    def test_the_c_program_says_what_is_wrong(self):
        done = run("MM2_C_MINIMAL", "no-such-folder")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no-such-folder", done.stderr)

    def test_the_scheduler_answers_every_conversation_as_chat_would(self):
        done = run("MM2_BATCH_SCHEDULER", program.TINY)
        self.assertEqual(done.returncode, 0, done.stderr)
        for question in ("What is 47 + 38?", "Tell me a short story about a fox named Lila."):
            alone = program.run("chat", program.TINY, "-p", question, "--greedy").stdout.decode().strip()
            self.assertIn(f"{question}\n  {alone}\n", done.stdout)
        self.assertIn("up to 4 conversations at once", done.stdout)


if __name__ == "__main__":
    unittest.main()
