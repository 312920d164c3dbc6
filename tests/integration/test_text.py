"""Claims about tokenize, detokenize, render and parse."""
import base64
import json
import unittest

import program

ANSWER = ('Two and two.\n</think>\n\nLet me see.\n<minimax:tool_call>\n<invoke name="add">\n<parameter name="a">2</parameter>\n'
          '<parameter name="b">2</parameter>\n</invoke>\n</minimax:tool_call>')
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {
    "a": {"type": "integer"}, "b": {"type": "integer"}}}}}]


class Text(program.ProgramTest):
    def test_ids_and_text_are_inverse(self):
        texts = ["Hello there", "", "a\u0000b", "naïve 東京 🦊", "]~b]user\nHi[e~[\n"]
        ids, code = program.json_lines("tokenize", program.TINY, lines=[{"text": text} for text in texts])
        self.assertEqual(code, program.OK)
        back, code = program.json_lines("detokenize", program.TINY, lines=ids)
        self.assertEqual([answer["text"] for answer in back], texts)

    def test_a_bad_line_is_answered_by_an_error_and_the_next_line_runs(self):
        lines = [{"text": "one"}, "{not json", {"txt": "wrong field"}, {"bytes_b64": "!"}, "", {"text": "two"}]
        answers, code = program.json_lines("tokenize", program.TINY, lines=lines)
        self.assertEqual(code, program.OK)
        self.assertEqual(["ids" in answer for answer in answers], [True, False, False, False, False, True])
        for answer in answers[1:5]:
            self.assertEqual(set(answer["error"]), {"code", "message"})
        answers, _ = program.json_lines("detokenize", program.TINY, lines=[{"ids": [1 << 20]}, {"ids": [1.5]}, {"ids": [65]}])
        self.assertEqual(["text" in answer for answer in answers], [False, False, True])
        self.assertIn("1048576", answers[0]["error"]["message"])

    def test_bytes_may_be_anything(self):
        raw = "é".encode()
        answers, _ = program.json_lines("tokenize", program.TINY, lines=[{"bytes_b64": base64.b64encode(raw).decode()}, {"text": "é"}])
        self.assertEqual(answers[0], answers[1])

    def test_pieces_of_a_stream_join_to_the_text(self):
        text = "東京 🦊 naïve"
        ids, _ = program.json_lines("tokenize", program.TINY, lines=[{"text": text}])
        answers, _ = program.json_lines("detokenize", program.TINY, lines=[{"ids": ids[0]["ids"], "stream": True}])
        self.assertEqual(len(answers[0]["pieces"]), len(ids[0]["ids"]) + 1)
        self.assertEqual("".join(answers[0]["pieces"]), text)

    def test_special_tokens_can_be_skipped(self):
        ids, _ = program.json_lines("tokenize", program.TINY, lines=[{"text": "Hi[e~["}])
        answers, _ = program.json_lines("detokenize", program.TINY, lines=[{**ids[0], "skip_special": True}])
        self.assertEqual(answers[0]["text"], "Hi")

    def test_a_conversation_renders_to_text_and_ids(self):
        request = {"messages": [{"role": "user", "content": "Hi [e~[ there"}], "add_generation_prompt": True}
        answers, code = program.json_lines("render", program.TINY, lines=[request, {"messages": 5}, request])
        self.assertEqual(code, program.OK)
        self.assertIn("]~b]user\nHi [e~[ there[e~[\n", answers[0]["text"])
        self.assertTrue(answers[0]["text"].endswith("]~b]ai\n<think>\n"))
        self.assertIn("error", answers[1])
        self.assertEqual(answers[0], answers[2])
        # The user's "[e~[" is text; only the template's own ends of turn are the token.
        whole, _ = program.json_lines("tokenize", program.TINY, lines=[{"text": "[e~["}, {"text": answers[0]["text"]}])
        end = whole[0]["ids"][0]
        self.assertEqual(answers[0]["ids"].count(end), whole[1]["ids"].count(end) - 1)

    def test_people_may_type_a_message_instead_of_json(self):
        done = program.run("render", program.TINY, text="Who are you?")
        self.assertIn("]~b]user\nWho are you?", self.assert_succeeds(done))

    def test_the_golden_cases_of_jinja_print_or_fail_as_in_jinja2(self):
        with open(program.data("chat", "jinja", "cases.jsonl"), encoding="utf-8") as file:
            lines = [line.rstrip("\n") for line in file]
        answers, code = program.json_lines("jinja", lines=lines)
        self.assertEqual(code, program.OK)
        self.assertEqual(len(answers), len(lines))
        for case, answer in zip(map(json.loads, lines), answers):
            if case["level"] != "must":
                continue
            expect = case["expect"]
            if "output" in expect:
                self.assertEqual(answer.get("text"), expect["output"], case["id"])
            else:
                self.assertEqual(answer["error"]["code"], expect["error"]["class"], case["id"])
                if expect["error"]["class"] == "TemplateError":
                    self.assertEqual(answer["error"]["message"], expect["error"]["message"], case["id"])

    def test_a_message_of_raise_exception_is_whole_however_long(self):
        words = "x" * 5000
        answers, _ = program.json_lines("jinja", lines=[
            {"template": "{{ raise_exception(m) }}", "context": {"m": words}},
            {"template": "{{ raise_exception('ValueError: no') }}"}, {"template": "{% if %}"}, {"template": "{{ x.y }}"},
            {"template": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"}])
        self.assertEqual(answers[0]["error"], {"code": "TemplateError", "message": words})
        self.assertEqual(answers[1]["error"], {"code": "TemplateError", "message": "ValueError: no"})
        self.assertEqual(answers[2]["error"], {"code": "TemplateSyntaxError", "message": "Expected an expression, got 'end of statement block'"})
        self.assertEqual(answers[3]["error"], {"code": "UndefinedError", "message": "'x' is undefined"})
        self.assertEqual(answers[4]["error"]["code"], "MM2_E_BUDGET")

    def test_numbers_of_a_context_keep_all_their_digits(self):
        line = '{"context": {"n": 123456789012345678901234567890, "s": "\\"context\\": {", "f": 1e5}, "template": "{{ n + 1 }} {{ f }} {{ s }}"}'
        answers, _ = program.json_lines("jinja", lines=[line])
        self.assertEqual(answers[0], {"text": '123456789012345678901234567891 100000.0 "context": {'})

    def test_a_template_may_come_from_a_file_or_from_standard_input(self):
        done = program.run("jinja", "--now", "2026-05-06T07:08:09", text="{{ strftime_now('%H:%M on %d %b') }}")
        self.assertEqual(self.assert_succeeds(done), "07:08 on 06 May\n")
        template = program.data("chat", "templates", "minimax_m2.7_official_reconstructed.jinja")
        context = {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": True}
        answers, _ = program.json_lines("jinja", "--template-file", template, lines=[{"context": context}])
        self.assertTrue(answers[0]["text"].endswith("]~b]user\nHi[e~[\n]~b]ai\n<think>\n"))
        self.assert_fails(program.run("jinja", text="{{ a.b }}"), program.INVALID_INPUT, "UndefinedError: 'a' is undefined")
        self.assert_fails(program.run("jinja", "--now", "noon", text="x"), program.INVALID_INPUT, "2026-01-02T03:04:05")

    def test_what_is_wrong_with_a_line_is_told_in_words(self):
        lines = ["{no", "[]", "{}", {"output": 5}, {"output": "x", "starts_in_think": 1}, {"output": "x", "mode": "other"},
                 {"output": "x", "chunks": [1]}, {"output": "x", "chunks": {"every": 0}}]
        answers, code = program.json_lines("parse", lines=lines)
        self.assertEqual(code, program.OK)
        for answer, words in zip(answers, ["no JSON: parse error at line 1", "[] is no JSON object", '"output" is missing',
                                           '"output" is 5', '"starts_in_think" is 1', "'other'", "chunks[0] is 1", "at least 1"]):
            self.assertIn(words, answer["error"]["message"])
            self.assertNotIn("json.exception", answer["error"]["message"])

    def test_every_name_of_a_mode_means_the_same(self):
        for names, reasoning in ((["minimax_m2", "minimax-m2", "minimax"], "a"), (["minimax_m2_append_think", "minimax-append-think"], "")):
            answers, _ = program.json_lines("parse", lines=[{"output": "a</think>b", "starts_in_think": True, "mode": name} for name in names])
            self.assertEqual([answer["reasoning"] for answer in answers], [reasoning] * len(names))

    def test_an_output_is_parsed_the_same_however_it_is_cut(self):
        base = {"output": ANSWER, "tools": TOOLS, "starts_in_think": True}
        variants = [base, {**base, "chunks": {"every": 1}}, {**base, "chunks": {"every": 7}}, {**base, "chunks": list(ANSWER)}]
        answers, code = program.json_lines("parse", lines=variants)
        self.assertEqual(code, program.OK)
        for answer in answers:
            self.assertEqual(answer["reasoning"], "Two and two.")
            self.assertEqual(answer["content"], "Let me see.")
            self.assertEqual(len(answer["tool_calls"]), 1)
            self.assertEqual(answer["tool_calls"][0]["name"], "add")
            self.assertEqual(json.loads(answer["tool_calls"][0]["arguments"]), {"a": 2, "b": 2})
            self.assertFalse(answer["incomplete"])
        self.assertGreater(answers[1]["deltas"], answers[0]["deltas"])

    def test_the_required_cases_of_the_codec(self):
        with open(program.data("chat", "toolcall_cases.json")) as file:
            cases = [case for case in json.load(file)["cases"] if case["level"] == "must"]
        lines = [{"output": case["output"], "tools": case.get("tools", []), "starts_in_think": case.get("starts_in_think", False),
                  "chunks": {"every": 3}} for case in cases]
        answers, _ = program.json_lines("parse", lines=lines)
        self.assertEqual(len(answers), len(cases))

        def comparable(answer):
            return (answer.get("reasoning") or "", answer.get("content") or "", bool(answer.get("incomplete", False)),
                    [(call["name"], json.loads(call["arguments"]) if isinstance(call["arguments"], str) else call["arguments"])
                     for call in answer.get("tool_calls") or []])

        wrong = [case["id"] for case, answer in zip(cases, answers)
                 if "error" in answer or comparable(answer) not in
                 [comparable(wanted) for wanted in [case["expect"], *case.get("also_accept", [])]]]
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
