"""Tokenizer, chat template, parser, sampler."""
import unittest

import mm2
import numpy as np
from support import SUM, TINY, TOOLS, WEATHER, prompt, tiny


class Tokenizers(unittest.TestCase):
    def test_text_comes_back_from_its_ids(self):
        tokenizer = mm2.Tokenizer(TINY)
        for text in ("", "Hello", "na\u00efve \u4f60\u597d \U0001f600\n\t", "a" * 10000):
            self.assertEqual(tokenizer.decode(tokenizer.encode(text)), text)
        self.assertEqual(tokenizer.encode(b"\xff"), tokenizer.encode("\ufffd"))

    def test_special_tokens_come_only_when_asked_for(self):
        tokenizer = tiny().tokenizer
        stop = next(iter(tiny().stop_ids))
        spelling = tokenizer.decode([stop])
        self.assertEqual(tokenizer.encode(spelling, special=True), [stop])
        self.assertNotIn(stop, tokenizer.encode(spelling))
        self.assertEqual(tokenizer.decode([stop], skip_special=True), "")
        self.assertTrue(tokenizer.is_stop(stop))

    def test_pieces_of_a_stream_join_to_the_text(self):
        tokenizer, text = tiny().tokenizer, "\U0001f600 na\u00efve \u4f60\u597d"
        stream = tokenizer.stream()
        pieces = [stream.push(i) for i in tokenizer.encode(text)] + [stream.flush()]
        self.assertEqual("".join(pieces), text)

    def test_wrong_arguments_are_type_and_value_errors(self):
        for wrong in (None, 5, ["a"]):
            with self.assertRaises(TypeError):
                tiny().tokenizer.encode(wrong)
        with self.assertRaises(ValueError):
            tiny().tokenizer.encode("\ud800")
        with self.assertRaises(ValueError):
            tiny().tokenizer.decode([1 << 30])


class Templates(unittest.TestCase):
    def test_renders_text_and_ids_of_one_prompt(self):
        made = tiny().chat_template.render(SUM, tiny().tokenizer, tools=TOOLS)
        self.assertEqual(tiny().tokenizer.encode(made.text, special=True), made.ids)
        self.assertTrue(made.starts_in_think)
        self.assertEqual(tiny().apply_chat_template(SUM, tools=TOOLS), made.ids)
        self.assertEqual(tiny().chat_template.render(SUM).ids, [])

    def test_thinking_can_be_switched_off(self):
        made = tiny().chat_template.render(SUM, tiny().tokenizer, enable_thinking=False)
        self.assertFalse(made.starts_in_think)
        self.assertEqual(tiny().tokenizer.encode(made.text, special=True), made.ids)

    def test_arguments_of_calls_may_be_text_as_in_the_openai_api(self):
        def conversation(arguments):
            call = {"type": "function", "function": {"name": "get_weather", "arguments": arguments}}
            return WEATHER + [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "18 degrees"}]

        render = tiny().chat_template.render
        self.assertEqual(render(conversation('{"city": "Paris"}')), render(conversation({"city": "Paris"})))

    def test_any_other_template_is_interpreted(self):
        template = mm2.ChatTemplate.parse("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}")
        self.assertEqual(template.render(SUM).text, "[user] What is 47 + 38?\n")
        self.assertEqual(template.describe()["renderer"], "interpreter")
        with self.assertRaises(mm2.FormatError):
            mm2.ChatTemplate.parse("{% for %}")

    def test_a_request_that_does_not_fit_is_a_value_error(self):
        for wrong in ([{"role": "tool", "content": "of no call"}], [["no", "mapping"]]):
            with self.assertRaises((ValueError, TypeError, AttributeError), msg=wrong):
                tiny().chat_template.render(wrong)


class Parsers(unittest.TestCase):
    TEXT = ('Think.</think>Hello <minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
            "</invoke>\n</minimax:tool_call>")

    def events(self, pieces):
        parser = mm2.OutputParser(starts_in_think=True, tools=TOOLS)
        return [e for piece in pieces for e in parser.push(piece)] + parser.finish()

    def joined(self, events):
        builder = mm2.AnswerBuilder()
        for event in events:
            builder.add(event)
        return builder.answer()

    def test_any_cut_gives_the_same_answer(self):
        whole = self.joined(self.events([self.TEXT]))
        self.assertEqual(whole.reasoning, "Think.")
        self.assertEqual(whole.content.strip(), "Hello")
        self.assertEqual(whole.tool_calls, [mm2.ToolCall("get_weather", {"city": "Paris"})])
        self.assertEqual(whole.finish_reason, "tool_calls")
        for n in (1, 2, 7):
            pieces = [self.TEXT[i:i + n] for i in range(0, len(self.TEXT), n)]
            self.assertEqual(self.joined(self.events(pieces)), whole)

    def test_bytes_may_be_cut_inside_a_character(self):
        raw = "</think>na\u00efve".encode()
        events = self.events([raw[i:i + 1] for i in range(len(raw))])
        self.assertEqual("".join(e.text for e in events if e.type == "text"), "na\u00efve")

    def test_ids_give_the_same_answer_as_their_text(self):
        tokenizer = tiny().tokenizer
        text = self.TEXT.replace("Hello", "na\u00efve \u4e16\u754c \U0001f98a")
        ids = tokenizer.encode(text, special=True)
        whole = self.joined(self.events([text]))
        for pieces in ([ids], [[i] for i in ids], ids, [np.array(ids[:7], np.int32), tuple(ids[7:]), []]):
            parser = mm2.OutputParser(starts_in_think=True, tools=TOOLS)
            events = [e for piece in pieces for e in parser.push_ids(tokenizer, piece)] + parser.finish()
            self.assertEqual(self.joined(events), whole)
        parser = mm2.OutputParser()
        for wrong in ([1 << 20], [-1], 1 << 40, ["a"], "text", 1.5):
            with self.assertRaises((ValueError, TypeError), msg=wrong):
                parser.push_ids(tokenizer, wrong)
        with self.assertRaises(TypeError):
            parser.push_ids(None, ids)

    def test_a_call_that_breaks_off_is_dropped(self):
        events = self.events([self.TEXT[:-40]])
        self.assertTrue(events[-1].incomplete)
        self.assertEqual(self.joined(events).tool_calls, [])

    def test_an_unknown_mode_is_refused(self):
        with self.assertRaisesRegex(ValueError, "minimax_m2"):
            mm2.OutputParser(mode="minimax_m9")


class Samplers(unittest.TestCase):
    def setUp(self):
        self.logits = np.linspace(-3, 3, 1664, dtype=np.float32)

    def test_without_options_the_greatest_wins(self):
        self.assertEqual(mm2.Sampler(1664).sample(self.logits), 1663)
        self.assertEqual(mm2.Sampler(1664, n_tokens=100).sample(self.logits), 99)

    def test_a_seed_gives_the_same_tokens(self):
        def draw(seed):
            sampler = mm2.Sampler(1664, temperature=1.0, seed=seed)
            return [sampler.sample(self.logits) for _ in range(20)]

        self.assertEqual(draw(7), draw(7))
        self.assertNotEqual(draw(7), draw(8))

    def test_a_copy_goes_on_where_the_original_is(self):
        sampler = mm2.Sampler(1664, temperature=1.0, seed=3)
        sampler.sample(self.logits)
        copy = sampler.copy()
        self.assertEqual([sampler.sample(self.logits) for _ in range(5)], [copy.sample(self.logits) for _ in range(5)])

    def test_log_probabilities_are_those_of_the_logits(self):
        sampler = mm2.Sampler(1664, n_logprobs=3)
        token, logprob, top = sampler.sample_logprobs(self.logits)
        expected = self.logits.astype(np.float64) - np.log(np.exp(self.logits.astype(np.float64)).sum())
        self.assertEqual([t for t, _ in top], [1663, 1662, 1661])
        self.assertAlmostEqual(logprob, expected[1663], places=5)
        self.assertEqual(token, 1663)

    def test_bias_and_penalties_and_an_editor_change_the_choice(self):
        self.assertEqual(mm2.Sampler(1664, logit_bias={5: 100.0}).sample(self.logits), 5)
        sampler = mm2.Sampler(1664, presence_penalty=10.0)
        sampler.accept(1663)
        self.assertEqual(sampler.sample(self.logits), 1662)

        def only_nine(row):
            row[:] = -np.inf
            row[9] = 0

        before = self.logits.copy()
        self.assertEqual(mm2.Sampler(1664, edit_logits=only_nine).sample(self.logits), 9)
        np.testing.assert_array_equal(self.logits, before)

    def test_what_an_editor_raises_comes_out(self):
        def fail(row):
            raise KeyError("no")

        with self.assertRaises(KeyError):
            mm2.Sampler(1664, edit_logits=fail).sample(self.logits)

    def test_a_sampler_is_not_entered_twice(self):
        sampler = mm2.Sampler(1664, edit_logits=lambda row: sampler.sample(self.logits))
        with self.assertRaisesRegex(ValueError, "in use"):
            sampler.sample(self.logits)

    def test_wrong_options_and_logits_are_refused_by_name(self):
        for wrong in ({"temperature": -1}, {"top_p": 2}, {"n_logprobs": -1}, {"seed": -1}, {"logprobs": "half"}):
            with self.assertRaises(ValueError, msg=wrong):
                mm2.Sampler(1664, **wrong)
        for wrong in ({"heat": 1}, {"top_k": 1.5}, {"temperature": "hot"}):
            with self.assertRaises(TypeError, msg=wrong):
                mm2.Sampler(1664, **wrong)
        with self.assertRaises(ValueError):
            mm2.Sampler(1664).sample(np.zeros(10, np.float32))
        with self.assertRaises(mm2.NumericError):
            mm2.Sampler(1664).sample(np.full(1664, np.nan, np.float32))
        with self.assertRaises(ValueError):
            mm2.Sampler(1664).accept(-1)


if __name__ == "__main__":
    unittest.main()
