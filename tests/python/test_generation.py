"""generate, stream, chat, and the same for asyncio."""
import asyncio
import unittest

import mm2
from support import SUM, TOOLS, WEATHER, all_free, prompt, tiny

GREEDY = {"temperature": 0}


class Generating(unittest.TestCase):
    def setUp(self):
        self.engine = tiny().engine()

    def tearDown(self):
        self.assertTrue(all_free(self.engine))

    def test_continues_a_prompt(self):
        made = self.engine.generate("The capital of Japan is", max_tokens=3, **GREEDY)
        self.assertEqual((made.text, made.finish_reason), (" Tokyo.", "length"))
        self.assertEqual(made.usage, mm2.Usage(len(prompt()), 3))
        self.assertEqual(made.ids, tiny().tokenizer.encode(" Tokyo."))

    def test_is_what_steps_and_argmax_give(self):
        made = self.engine.generate(prompt(), max_tokens=20, **GREEDY)
        logits = self.engine.step([mm2.Rows(0, prompt())])
        ids = []
        for _ in made.ids:
            ids.append(int(logits[0].argmax()))
            logits = self.engine.step([mm2.Rows(0, ids[-1])])
        self.engine.free(0)
        self.assertEqual(made.ids, ids)

    def test_pieces_of_a_prompt_longer_than_a_step_give_the_same(self):
        engine = tiny().engine(max_tokens_per_step=3)
        self.assertEqual(engine.generate(prompt(), max_tokens=9, **GREEDY), self.engine.generate(prompt(), max_tokens=9, **GREEDY))

    def test_a_seed_gives_the_same_text_and_none_another(self):
        texts = [self.engine.generate("I like", max_tokens=20, temperature=2.0, top_p=1, seed=seed).text for seed in (1, 1, 2)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])
        free = {self.engine.generate("I like", max_tokens=20, temperature=2.0, top_p=1).text for _ in range(4)}
        self.assertGreater(len(free), 1)

    def test_stop_strings_end_the_text_and_are_not_in_it(self):
        whole = self.engine.generate("The capital of Japan is", max_tokens=6, **GREEDY).text
        self.assertEqual(whole, " Tokyo. The capital of")
        for stop, wanted in ((". The", " Tokyo"), (["of", "kyo"], " To"), ("xyz", whole), ("capital of J", whole)):
            made = self.engine.generate("The capital of Japan is", max_tokens=6, stop=stop, **GREEDY)
            self.assertEqual(made.text, wanted, stop)
            self.assertEqual(made.finish_reason, "length" if wanted == whole else "stop")

    def test_logprobs_come_with_tokens(self):
        made = self.engine.generate(prompt(), max_tokens=3, n_logprobs=2, **GREEDY)
        self.assertEqual([t.id for t in made.logprobs], made.ids)
        for token in made.logprobs:
            self.assertEqual(token.top[0], (token.id, token.logprob))
            self.assertEqual(len(token.top), 2)

    def test_ends_where_the_context_ends(self):
        engine = tiny().engine(kv_tokens=64, max_seqs=1)
        made = engine.generate(prompt(), temperature=0, logit_bias={1620: float("-inf")})
        self.assertEqual(made.finish_reason, "length")
        self.assertEqual(len(made.ids), 64 - len(prompt()) + 1)

    def test_leaving_a_stream_frees_its_sequence(self):
        for token in self.engine.stream(prompt(), **GREEDY):
            self.assertFalse(all_free(self.engine))
            break
        del token

    def test_what_does_not_fit_is_a_value_error(self):
        for wrong, options in (([], {}), (prompt(), {"max_tokens": 0}), ([1] * 5000, {}), ([99999], {}), (prompt(), {"top_p": 7})):
            with self.assertRaises(ValueError, msg=(wrong[:3], options)):
                self.engine.generate(wrong, **options)
        with self.assertRaises(TypeError):
            self.engine.generate(prompt(), heat=1)


class Chatting(unittest.TestCase):
    def setUp(self):
        self.engine = tiny().engine()

    def tearDown(self):
        self.assertTrue(all_free(self.engine))

    def test_reasons_and_answers(self):
        answer = self.engine.chat(SUM, **GREEDY)
        self.assertIn("85", answer.content)
        self.assertIn("47 + 38", answer.reasoning)
        self.assertEqual(answer.finish_reason, "stop")

    def test_calls_a_tool_and_reads_its_result(self):
        messages = list(WEATHER)
        answer = self.engine.chat(messages, tools=TOOLS, **GREEDY)
        self.assertEqual(answer.tool_calls, [mm2.ToolCall("get_weather", {"city": "Paris"})])
        self.assertEqual(answer.finish_reason, "tool_calls")
        messages += [answer.message, {"role": "tool", "content": '{"temperature": 18}'}]
        self.assertIn("18", self.engine.chat(messages, tools=TOOLS, **GREEDY).content)

    def test_events_join_to_the_answer(self):
        events = list(self.engine.chat_stream(WEATHER, tools=TOOLS, **GREEDY))
        arguments = "".join(e.text for e in events if isinstance(e, mm2.ToolCallArguments))
        self.assertEqual(arguments, '{"city": "Paris"}')
        self.assertIsInstance(events[-1], mm2.Finish)
        self.assertEqual(events[-1].usage.completion_tokens, self.engine.chat(WEATHER, tools=TOOLS, **GREEDY).usage.completion_tokens)

    def test_thinking_can_be_switched_off(self):
        answer = self.engine.chat(SUM, template_kwargs={"enable_thinking": False}, **GREEDY)
        self.assertEqual(answer.reasoning, "")
        self.assertTrue(answer.content)


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.engine = tiny().engine()

    async def test_events_are_those_of_the_blocking_stream(self):
        events = [event async for event in self.engine.achat_stream(SUM, **GREEDY)]
        self.assertEqual(events, list(self.engine.chat_stream(SUM, **GREEDY)))

    async def test_the_loop_goes_on_meanwhile(self):
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await self.engine.achat(SUM, **GREEDY)
        ticking.cancel()
        self.assertGreater(ticks, 10)

    async def test_many_at_once_get_what_each_gets_alone(self):
        alone = self.engine.chat(SUM, **GREEDY)
        self.assertEqual(await asyncio.gather(*(self.engine.achat(SUM, **GREEDY) for _ in range(8))), [alone] * 8)
        self.assertTrue(all_free(self.engine))

    async def test_cancelling_a_task_frees_its_sequence_and_no_other(self):
        started = asyncio.Event()

        async def forever():
            async for _ in self.engine.astream(prompt(), temperature=0, logit_bias={1620: float("-inf")}):
                started.set()

        other = asyncio.create_task(self.engine.achat(SUM, **GREEDY))
        task = asyncio.create_task(forever())
        await started.wait()
        self.assertFalse(all_free(self.engine))
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertIn("85", (await other).content)
        self.assertTrue(all_free(self.engine))

    async def test_leaving_the_loop_early_frees_the_sequence(self):
        stream = self.engine.achat_stream(SUM, **GREEDY)
        async for _ in stream:
            break
        await stream.aclose()
        self.assertTrue(all_free(self.engine))

    async def test_errors_come_out(self):
        with self.assertRaises(ValueError):
            async for _ in self.engine.astream([99999]):
                pass
        with self.assertRaises(TypeError):
            await self.engine.achat(SUM, heat=1)
        self.assertTrue(all_free(self.engine))


if __name__ == "__main__":
    unittest.main()
