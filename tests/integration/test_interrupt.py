"""Claims about Ctrl-C, with the program on a terminal of its own."""
import os
import pty
import re
import select
import signal
import time
import unittest

import program

LONG = "one two three four five six seven eight nine ten " * 60  # about 1,000 tokens
PROMPT = r"> $"


class Terminal:
    """The program behind a pseudo terminal."""

    def __init__(self, *arguments):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(program.PROGRAM, [program.PROGRAM, *map(str, arguments)], {**os.environ, "TERM": "dumb"})
        self.seen = ""

    def read_until(self, pattern, seconds=120):
        """Everything up to a match of the pattern in what was not yet read."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            if time.monotonic() > end:
                raise AssertionError(f"{pattern!r} never came; the terminal shows {self.seen[-2000:]!r}")
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    piece = os.read(self.terminal, 65536)
                except OSError:  # the program ended
                    piece = b""
                if not piece:
                    raise AssertionError(f"the program ended before {pattern!r}; it wrote {self.seen[-2000:]!r}")
                self.seen += piece.decode(errors="replace")
        seen, self.seen = self.seen, ""
        return seen

    def write(self, text):
        os.write(self.terminal, text.encode())

    def interrupt(self):
        self.write("\x03")

    def wait(self, seconds=60):
        """The exit code. What the program still writes is read, or it would never end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    os.read(self.terminal, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.terminal)
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("the program did not end")

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.terminal)


class Interrupt(unittest.TestCase):
    def start(self, *arguments):
        terminal = Terminal(*arguments)
        self.addCleanup(terminal.close)
        return terminal

    def test_during_a_long_prefill_the_prompt_comes_back_and_the_engine_works(self):
        # The scalar reference needs many seconds for this prompt.
        chat = self.start("chat", program.TINY, "--greedy", "--isa", "reference", "--threads", 1, "--max-tokens", 12)
        chat.read_until(PROMPT)
        chat.write(LONG[:900] + "\n")
        time.sleep(1)
        chat.interrupt()
        chat.read_until(r"\[interrupted\]")
        chat.read_until(PROMPT)
        chat.write("Hi!\n")
        answer = chat.read_until(r"\w+[^>]*\n> $")
        self.assertNotIn("mm2:", answer)
        chat.write("/exit\n")
        self.assertEqual(chat.wait(), program.OK)

    def test_at_the_prompt_it_ends_the_chat(self):
        chat = self.start("chat", program.TINY, "--greedy")
        chat.read_until(PROMPT)
        chat.interrupt()
        self.assertEqual(chat.wait(), program.OK)

    def test_generate_ends_with_its_own_exit_code(self):
        ids = ",".join(["7"] * 1000)
        work = self.start("generate", program.TINY, "--ids", ids, "--isa", "reference", "--threads", 1)
        time.sleep(1)
        work.interrupt()
        self.assertEqual(work.wait(), program.INTERRUPTED)

    def test_a_terminal_shows_reasoning_dimmed_and_the_commands(self):
        chat = self.start("chat", program.TINY, "--greedy")
        chat.read_until(PROMPT)
        chat.write("What is 47 + 38?\n")
        answer = chat.read_until(r"= 85\r\n")
        self.assertIn("\x1b[2m47 + 38.", answer)
        self.assertIn("\x1b[0m", answer)
        chat.read_until(PROMPT)
        for command, shows in (("/help", "/system"), ("/tools", "no tools"), ("/system You are Nova.", "Nova"), ("/stats", "tok/s"),
                               ("/reset", "new conversation"), ("/nonsense", "no command")):
            chat.write(command + "\n")
            self.assertIn(shows, chat.read_until(r"\r\n[^\r]*\r\n.*> $|\]\r\n.*> $"), command)
        chat.write("\x04")
        self.assertEqual(chat.wait(), program.OK)


if __name__ == "__main__":
    unittest.main()
