"""Claims about chat with standard input and output that are no terminal."""
import json
import unittest

import program

TOOLS = program.data("integration", "tools.json")


class Chat(program.ProgramTest):
    def test_one_answer_for_a_script_is_the_answer_alone(self):
        done = program.run("chat", program.TINY, "-p", "What is 47 + 38?", "--greedy")
        self.assertEqual(self.assert_succeeds(done), "47 + 38 = 85\n")
        self.assertEqual(done.stderr.decode(), "")

    def test_reasoning_is_shown_where_it_is_asked_for(self):
        done = program.run("chat", program.TINY, "-p", "What is 47 + 38?", "--greedy", "--show-reasoning")
        self.assertRegex(self.assert_succeeds(done), r"^<think>\n47 \+ 38\..*\n</think>\n\n47 \+ 38 = 85\n$")

    def test_no_think_answers_at_once(self):
        done = program.run("chat", program.TINY, "-p", "Who are you?", "--greedy", "--no-think", "--json")
        answer = json.loads(self.assert_succeeds(done))
        self.assertEqual(answer["reasoning"], "")
        self.assertIn("mm2-tiny", answer["content"])

    def test_a_tool_call_is_streamed_as_one_line_of_json(self):
        question = "What is the weather in Oslo in celsius?"
        done = program.run("chat", program.TINY, "-p", question, "--tools", TOOLS, "--greedy")
        call = json.loads(self.assert_succeeds(done))
        self.assertEqual(call, {"name": "get_weather", "arguments": {"city": "Oslo", "unit": "celsius"}})
        whole = program.run("chat", program.TINY, "-p", question, "--tools", TOOLS, "--greedy", "--json")
        calls = json.loads(self.assert_succeeds(whole))["tool_calls"]
        self.assertEqual([(c["name"], json.loads(c["arguments"])) for c in calls], [(call["name"], call["arguments"])])

    def test_a_system_message_counts(self):
        done = program.run("chat", program.TINY, "-p", "Who are you?", "--greedy", "--system", "You are Nova, a travel guide.")
        self.assertIn("Nova", self.assert_succeeds(done))

    def test_max_tokens_ends_an_answer(self):
        done = program.run("chat", program.TINY, "-p", "Tell me a story about a fox.", "--greedy", "--max-tokens", 5, "--json")
        answer = json.loads(self.assert_succeeds(done))
        self.assertEqual(answer["finish_reason"], "length")
        self.assertEqual(answer["usage"]["completion_tokens"], 5)

    def test_lines_of_a_pipe_are_one_conversation_that_reuses_its_prefix(self):
        text = "What is the capital of Japan?\nAnd Canada?\n"
        done = program.run("chat", program.TINY, "--greedy", "--json", text=text)
        answers = [json.loads(line) for line in self.assert_succeeds(done).splitlines()]
        self.assertIn("Tokyo", answers[0]["content"])
        self.assertIn("Ottawa", answers[1]["content"])
        self.assertEqual(answers[0]["usage"]["cached_tokens"], 0)
        self.assertGreater(answers[1]["usage"]["cached_tokens"], 0)

    def test_reset_forgets(self):
        text = "My name is Kim.\n/reset\nWho are you?\n"
        done = program.run("chat", program.TINY, "--greedy", text=text)
        self.assertIn("mm2-tiny", self.assert_succeeds(done).splitlines()[-1])

    def test_stats_are_shown_on_standard_error(self):
        done = program.run("chat", program.TINY, "-p", "Hi!", "--greedy", "--show-stats")
        self.assert_succeeds(done)
        self.assertRegex(done.stderr.decode(), r"prompt \d+ tokens, 0 reused.*tok/s")


if __name__ == "__main__":
    unittest.main()
