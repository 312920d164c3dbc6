"""Claims about the example programs that users copy."""
import os
import re
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
        self.assertIn("up to 4 conversations at once, 0 preempted", done.stdout)

    def test_conversations_that_had_to_make_room_get_the_same_answers(self):
        def answers(*arguments):
            done = run("MM2_BATCH_SCHEDULER", program.TINY, *arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            return sorted(done.stdout.rsplit("\n\n", 1)[0].splitlines()), int(re.search(r"(\d+) preempted", done.stdout)[1])

        at_ease, narrow = answers(), answers("256")
        self.assertEqual(at_ease[0], narrow[0])
        self.assertEqual(at_ease[1], 0)
        self.assertGreater(narrow[1], 0)

    def test_the_scheduler_takes_from_the_prefix_cache_what_made_room_has_left(self):
        done = run("MM2_BATCH_SCHEDULER", program.TINY, "256")
        self.assertGreater(int(re.search(r"(\d+) taken from the prefix cache", done.stdout)[1]), 0)


if __name__ == "__main__":
    unittest.main()
