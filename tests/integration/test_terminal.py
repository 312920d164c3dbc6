"""Claims about the program on a terminal of its own: Ctrl-C, commands, tool results."""
import os
import pty
import re
import select
import signal
import time
import unittest

import program

LONG = "one two three four five six seven eight nine ten " * 120
PROMPT = r"> "


class Terminal:
    """The program behind a pseudo terminal."""

    def __init__(self, *arguments, **environment):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
            os.execve(program.PROGRAM, [program.PROGRAM, *map(str, arguments)], {**inherited, "TERM": "dumb", **environment})
        self.seen = ""

    def read_until(self, pattern, seconds=120):
        """Everything up to a match of the pattern in what was not yet read."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
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
        seen, self.seen = self.seen[:found.end()], self.seen[found.end():]
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


class OnATerminal(unittest.TestCase):
    def start(self, *arguments, **environment):
        terminal = Terminal(*arguments, **environment)
        self.addCleanup(terminal.close)
        return terminal

    def test_ctrl_c_during_a_long_prefill_the_prompt_comes_back_and_the_engine_works(self):
        # About 2,300 tokens in steps of one, in FP64: that takes longer than this test looks on.
        chat = self.start("chat", program.TINY, "--greedy", "--isa", "reference-f64", "--threads", 1, "--max-tokens-per-step", 1,
                          "--max-tokens", 12, "--system", LONG)
        chat.read_until(PROMPT)
        chat.write("Hi!\n")
        chat.read_until(r"reading \d+ of \d\d\d\d tokens")
        chat.interrupt()
        chat.read_until(r"\[interrupted\]")
        chat.read_until(PROMPT)
        chat.write("/system You are Nova.\n")
        chat.read_until(PROMPT)
        chat.write("Hi!\n")
        chat.read_until(r"Hi!\r\n")
        answer = chat.read_until(PROMPT)
        self.assertRegex(answer, r"\w\w\w")
        self.assertNotIn("mm2:", answer)
        chat.write("/exit\n")
        self.assertEqual(chat.wait(), program.OK)

    def test_ctrl_c_at_the_prompt_ends_the_chat_only_when_it_comes_twice(self):
        chat = self.start("chat", program.TINY, "--greedy")
        chat.read_until(PROMPT)
        chat.write("never mind")
        chat.read_until("never mind")
        chat.interrupt()
        chat.read_until("Ctrl-C again")
        chat.read_until(PROMPT)
        chat.write("What is 47 + 38?\n")
        chat.read_until("= 85\r\n")
        chat.read_until(PROMPT)
        chat.interrupt()
        chat.read_until("Ctrl-C again")
        chat.read_until(PROMPT)
        chat.interrupt()
        self.assertEqual(chat.wait(), program.OK)

    def test_ctrl_c_stops_an_answer_that_is_being_written(self):
        chat = self.start("chat", program.TINY, "--greedy", "--isa", "reference-f64", "--threads", 1)
        chat.read_until(PROMPT)
        # On a busy machine Ctrl-C may come before the answer or after it: then it is asked again.
        for _ in range(20):
            chat.write("Tell me a story about a fox.\n")
            chat.read_until(r"fox\.\r\n(.|\r|\n)*[A-Za-z]{3}")  # it has begun; ESC [?2004l is no answer
            chat.interrupt()
            seen = chat.read_until(r"\[interrupted\]|Ctrl-C again")
            chat.read_until(PROMPT)
            if "[interrupted]" in seen:
                break
        else:
            self.fail("no answer was interrupted in 20 tries")
        # Not Ctrl-D: before the editor has the terminal that is an end of file to it only once, and lost.
        chat.write("/exit\n")
        self.assertEqual(chat.wait(), program.OK)

    def test_after_ctrl_c_generate_ends_with_its_own_exit_code(self):
        ids = ",".join(["7"] * 4000)
        work = self.start("generate", program.TINY, "--ids", ids, "--isa", "reference-f64", "--threads", 1, "--max-tokens-per-step", 1,
                          "--progress", "json")
        work.read_until('"stage"')
        work.interrupt()
        self.assertEqual(work.wait(), program.INTERRUPTED)

    def test_reasoning_is_dimmed_and_commands_answer(self):
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
            chat.read_until(re.escape(command) + r"\r\n")
            self.assertIn(shows, chat.read_until(r"\r\n\x1b\[\?2004h> "), command)
        chat.write("\x04")
        self.assertEqual(chat.wait(), program.OK)

    def test_a_status_line_tells_speed_and_use_of_the_context(self):
        chat = self.start("chat", program.TINY, "--greedy")
        chat.read_until(PROMPT)
        chat.write("What is 47 + 38?\n")
        self.assertRegex(chat.read_until(r"%\]"), r"\[\d+ tokens, \d+\.\d tok/s; context \d+ of 4096, \d %\]")

    def test_no_color_means_no_styles_and_reasoning_between_tags(self):
        chat = self.start("chat", program.TINY, "--greedy", NO_COLOR="1")
        chat.read_until(PROMPT)
        chat.write("What is 47 + 38?\n")
        answer = chat.read_until(r"%\]")
        self.assertRegex(answer, r"<think>\r\n47 \+ 38\.(.|\r|\n)*</think>\r\n\r\n47 \+ 38 = 85\r\n")
        self.assertNotRegex(answer, "\x1b\\[[0-9;]*m")

    def test_a_pasted_text_is_one_message_and_is_sent_by_enter(self):
        chat = self.start("chat", program.TINY, "--greedy")
        self.assertIn("\x1b[?2004h", chat.read_until(PROMPT))
        chat.write("\x1b[200~What is\r47 + 38?\n\x1b[201~")
        chat.read_until(r"38\?")
        chat.write("\n")
        self.assertIn("\x1b[?2004l", chat.read_until(r"\d tok/s"))
        chat.read_until(PROMPT)
        chat.write("/undo\n")
        chat.read_until(r"taken back: What is\r\n47 \+ 38\?\]")

    def test_a_line_that_ends_in_a_backslash_goes_on(self):
        chat = self.start("chat", program.TINY, "--greedy")
        chat.read_until(PROMPT)
        chat.write("What is\\\n")
        chat.read_until(r"\.\.\. ")
        chat.write("47 + 38?\n")
        chat.read_until(r"\d tok/s")
        chat.read_until(PROMPT)
        chat.write("/undo\n")
        chat.read_until(r"taken back: What is\r\n47 \+ 38\?\]")

    def test_the_line_before_comes_back_with_the_arrow_key(self):
        chat = self.start("chat", program.TINY, "--greedy")
        chat.read_until(PROMPT)
        chat.write("/system You are Nova.\n")
        chat.read_until(r"\[system: You are Nova\.\]")
        chat.read_until(PROMPT)
        chat.write("\x1b[A\x7f, a guide.\n")
        chat.read_until(r"\[system: You are Nova, a guide\.\]")

    def test_an_answer_is_taken_back_given_again_and_given_without_reasoning(self):
        chat = self.start("chat", program.TINY, "--greedy")
        chat.read_until(PROMPT)
        chat.write("What is 47 + 38?\n")
        chat.read_until("= 85\r\n")
        chat.read_until(PROMPT)
        chat.write("/think off\n")
        chat.read_until(r"reasoning is off")
        chat.read_until(PROMPT)
        chat.write("/retry\n")
        chat.read_until(r"taken back: What is 47")
        self.assertNotIn("Ones:", chat.read_until(r"\d tok/s"))
        chat.read_until(PROMPT)
        chat.write("/undo\n")
        chat.read_until(r"taken back")
        chat.read_until(PROMPT)
        chat.write("/undo\n")
        chat.read_until(r"nothing to take back")

    def test_any_script_can_be_typed(self):
        chat = self.start("chat", program.TINY, "--greedy")
        chat.read_until(PROMPT)
        chat.write("\u4f60\u662f\u8c01\uff1f\n")  # who are you?
        self.assertIn("mm2-tiny", chat.read_until(r"\x1b\[0m\r\n\r\n.*\r\n"))

    def test_a_person_can_play_the_tools(self):
        chat = self.start("chat", program.TINY, "--greedy", "--tools", program.data("integration", "tools.json"))
        chat.read_until(PROMPT)
        chat.write("What is the weather in Oslo in celsius?\n")
        self.assertIn('{"name": "get_weather", "arguments": {"city": "Oslo"', chat.read_until("result of get_weather> "))
        chat.write('{"temperature": -4, "condition": "snowy"}\n')
        self.assertIn("snowy", chat.read_until("Oslo is .*\r\n"))


if __name__ == "__main__":
    unittest.main()
