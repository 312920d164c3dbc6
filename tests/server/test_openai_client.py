"""Claims about the server, made with the official openai client."""
import json
import unittest

import serving

try:
    import openai
except ImportError:
    raise unittest.SkipTest("CLIENT MISSING: the openai package is not installed (cmake/install-dependencies.sh clients)")


class OpenAI(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server("--max-num-seqs", 8)
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        assert cls.server.end() == 0

    def create(self, question, **options):
        options = {"temperature": 0, **options}
        return self.client.chat.completions.create(
            model=serving.NAME, messages=[{"role": "user", "content": question}], **options)

    def test_models_are_listed(self):
        self.assertEqual([m.id for m in self.client.models.list()], [serving.NAME])
        self.assertEqual(self.client.models.retrieve(serving.NAME).id, serving.NAME)
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.models.retrieve("gpt-4")
        self.assertEqual(caught.exception.code, "model_not_found")

    def test_a_chat(self):
        answer = self.create("What is 47 + 38?")
        choice = answer.choices[0]
        self.assertEqual(choice.message.content, "47 + 38 = 85")
        self.assertEqual(choice.message.role, "assistant")
        self.assertEqual(choice.finish_reason, "stop")
        self.assertGreater(answer.usage.completion_tokens, answer.usage.completion_tokens_details.reasoning_tokens)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_reasoning_has_a_field_of_its_own(self):
        message = self.create("What is 47 + 38?").choices[0].message
        self.assertIn("Ones: 7 + 8 = 15", message.reasoning_content)
        self.assertNotIn("think>", message.content)

    def test_reasoning_can_be_left_in_the_text(self):
        message = self.create("What is 47 + 38?", extra_body={"reasoning_split": False}).choices[0].message
        self.assertRegex(message.content, r"(?s)^<think>.*Ones.*</think>\n\n47 \+ 38 = 85$")
        self.assertFalse(hasattr(message, "reasoning_content"))

    def test_reasoning_can_be_switched_off(self):
        answer = self.create("Who are you?", extra_body={"chat_template_kwargs": {"enable_thinking": False}})
        self.assertFalse(hasattr(answer.choices[0].message, "reasoning_content"))
        self.assertIn("mm2-tiny", answer.choices[0].message.content)
        self.assertEqual(answer.usage.completion_tokens_details.reasoning_tokens, 0)

    def test_a_stream_joins_to_the_same_answer(self):
        whole = self.create("Tell me a short story about a fox named Lila.")
        content, reasoning, finish, roles = "", "", [], []
        stream = self.create("Tell me a short story about a fox named Lila.", stream=True, stream_options={"include_usage": True})
        n_chunks = 0
        for chunk in stream:
            n_chunks += 1
            if not chunk.choices:
                usage = chunk.usage
                continue
            self.assertIsNone(chunk.usage)
            delta = chunk.choices[0].delta
            roles += [delta.role] if delta.role else []
            content += delta.content or ""
            reasoning += getattr(delta, "reasoning_content", None) or ""
            finish += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []
        self.assertEqual((content, reasoning), (whole.choices[0].message.content, whole.choices[0].message.reasoning_content))
        self.assertEqual((roles, finish), (["assistant"], ["stop"]))
        self.assertEqual(usage.completion_tokens, whole.usage.completion_tokens)
        self.assertGreater(n_chunks, 10)

    def test_usage_comes_only_when_asked(self):
        self.assertTrue(all(chunk.usage is None for chunk in self.create("Hi!", stream=True)))

    def test_a_single_tool_call(self):
        choice = self.create("What is the weather in Paris?", tools=[serving.WEATHER]).choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assertIsNone(choice.message.content)
        (call,) = choice.message.tool_calls
        self.assertEqual((call.type, call.function.name), ("function", "get_weather"))
        self.assertEqual(json.loads(call.function.arguments), {"city": "Paris"})

    def test_parallel_tool_calls(self):
        choice = self.create("What is the weather in Rome and London?", tools=[serving.WEATHER]).choices[0]
        calls = choice.message.tool_calls
        self.assertEqual([json.loads(c.function.arguments)["city"] for c in calls], ["Rome", "London"])
        self.assertEqual(len({c.id for c in calls}), 2)
        one = self.create("What is the weather in Rome and London?", tools=[serving.WEATHER], parallel_tool_calls=False)
        self.assertEqual(len(one.choices[0].message.tool_calls), 1)

    def test_streamed_tool_calls_arrive_in_pieces_and_join(self):
        calls, pieces, finish = {}, 0, None
        for chunk in self.create("What is the weather in Rome and London?", tools=[serving.WEATHER], stream=True):
            for delta in chunk.choices[0].delta.tool_calls or []:
                if delta.id:
                    self.assertNotIn(delta.index, calls)
                    self.assertEqual(delta.function.arguments, "")
                    calls[delta.index] = [delta.function.name, ""]
                else:
                    pieces += 1
                    calls[delta.index][1] += delta.function.arguments
            finish = chunk.choices[0].finish_reason or finish
        self.assertEqual(finish, "tool_calls")
        self.assertEqual([(n, json.loads(a)["city"]) for n, a in calls.values()], [("get_weather", "Rome"), ("get_weather", "London")])
        self.assertGreater(pieces, 4)

    def test_a_tool_result_is_answered(self):
        question = {"role": "user", "content": "What is the weather in Paris?"}
        first = self.client.chat.completions.create(model=serving.NAME, messages=[question], tools=[serving.WEATHER], temperature=0)
        message = first.choices[0].message
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "21\u00b0C, sunny"}
        second = self.client.chat.completions.create(
            model=serving.NAME, messages=[question, message.model_dump(), result], tools=[serving.WEATHER], temperature=0)
        self.assertIn("sunny", second.choices[0].message.content)
        self.assertIn("21", second.choices[0].message.content)

    def test_tool_choice_none_calls_nothing(self):
        choice = self.create("What is the weather in Paris?", tools=[serving.WEATHER], tool_choice="none").choices[0]
        self.assertIsNone(choice.message.tool_calls)
        self.assertEqual(choice.finish_reason, "stop")

    def test_tool_choice_required_is_refused_by_name(self):
        with self.assertRaisesRegex(openai.BadRequestError, "tool_choice 'required' is not supported"):
            self.create("Hi!", tools=[serving.WEATHER], tool_choice="required")

    def test_log_probabilities(self):
        choice = self.create("What is 47 + 38?", logprobs=True, top_logprobs=3).choices[0]
        entries = choice.logprobs.content
        self.assertEqual(len(entries), self.create("What is 47 + 38?").usage.completion_tokens)
        for entry in entries:
            self.assertLessEqual(entry.logprob, 0)
            self.assertEqual(len(entry.top_logprobs), 3)
            # Greedy: what was picked is the most likely one.
            self.assertEqual(entry.token, entry.top_logprobs[0].token)
            self.assertEqual(bytes(entry.bytes).decode(), entry.token)

    def test_streamed_log_probabilities_are_the_same(self):
        whole = self.create("What is 47 + 38?", logprobs=True, top_logprobs=2).choices[0].logprobs.content
        streamed = []
        for chunk in self.create("What is 47 + 38?", logprobs=True, top_logprobs=2, stream=True):
            if chunk.choices[0].logprobs:
                streamed += chunk.choices[0].logprobs.content
        self.assertEqual(streamed, whole)

    def test_stop_strings_end_the_content(self):
        whole = self.create("What is 47 + 38?")
        stopped = self.create("What is 47 + 38?", stop=[" = 8", "never"])
        self.assertEqual(stopped.choices[0].message.content, "47 + 38")
        self.assertEqual(stopped.choices[0].finish_reason, "stop")
        self.assertLess(stopped.usage.completion_tokens, whole.usage.completion_tokens)
        # Reasoning holds the same words and is not cut.
        self.assertEqual(stopped.choices[0].message.reasoning_content, whole.choices[0].message.reasoning_content)
        streamed = "".join(c.choices[0].delta.content or "" for c in self.create("What is 47 + 38?", stop=" = 8", stream=True))
        self.assertEqual(streamed, "47 + 38")

    def test_max_tokens(self):
        for name in ("max_tokens", "max_completion_tokens"):
            answer = self.create("Tell me a story about a fox.", **{name: 7})
            self.assertEqual((answer.choices[0].finish_reason, answer.usage.completion_tokens), ("length", 7))

    def test_the_same_seed_gives_the_same_answer(self):
        def ask(seed):
            return self.create("Tell me a story about a fox.", temperature=1.5, seed=seed).choices[0].message.content
        self.assertEqual(ask(3), ask(3))
        self.assertGreater(len({ask(seed) for seed in range(5)}), 1)

    def test_several_answers(self):
        answer = self.create("Tell me a story about a fox.", n=4, temperature=1.5, seed=1)
        texts = [c.message.content for c in answer.choices]
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2, 3])
        self.assertGreater(len(set(texts)), 1)
        streamed = ["", "", "", ""]
        for chunk in self.create("Tell me a story about a fox.", n=4, temperature=1.5, seed=1, stream=True):
            streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        self.assertEqual(streamed, texts)

    def test_logit_bias_forbids_a_token(self):
        ids = self.server.post("/tokenize", {"prompt": "85"})[1]["tokens"]
        answer = self.create("What is 47 + 38?", logit_bias={str(i): -100 for i in ids})
        self.assertNotIn("85", answer.choices[0].message.content)

    def test_sampling_that_only_vllm_knows(self):
        one = self.create("What is 47 + 38?", temperature=1.5, seed=4, extra_body={"top_k": 1})
        self.assertEqual(one.choices[0].message.content, "47 + 38 = 85")
        likely = self.create("What is 47 + 38?", temperature=1.5, seed=4, extra_body={"min_p": 1})
        self.assertEqual(likely.choices[0].message.content, "47 + 38 = 85")

    def test_closing_a_stream_frees_its_sequence(self):
        stream = self.create("Tell me a story about a fox.", stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        stats = self.server.wait_until_idle()
        self.assertEqual(stats["engine"]["kv"]["free_blocks"], stats["engine"]["kv"]["total_blocks"])

    def test_errors_have_types_the_client_knows(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Hi!"}])
        self.assertEqual(caught.exception.code, "model_not_found")
        with self.assertRaisesRegex(openai.BadRequestError, "temperature is 9.0, but must be a number from 0") as caught:
            self.create("Hi!", temperature=9.0)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaisesRegex(openai.BadRequestError, r"the context holds 4096"):
            self.create("fox " * 9000)
        with self.assertRaisesRegex(openai.BadRequestError, "response_format 'json_object' is not supported"):
            self.create("Hi!", response_format={"type": "json_object"})

    def test_completions(self):
        answer = self.client.completions.create(model=serving.NAME, prompt="The capital of Japan is", max_tokens=6, temperature=0)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        streamed = self.client.completions.create(model=serving.NAME, prompt="The capital of Japan is", max_tokens=6, temperature=0, stream=True)
        self.assertEqual("".join(c.choices[0].text for c in streamed), answer.choices[0].text)
        ids = self.server.post("/tokenize", {"prompt": "The capital of Japan is"})[1]["tokens"]
        both = self.client.completions.create(model=serving.NAME, prompt=[ids, ids], max_tokens=6, temperature=0, echo=True)
        self.assertEqual([c.text for c in both.choices], ["The capital of Japan is" + answer.choices[0].text] * 2)
        probable = self.client.completions.create(model=serving.NAME, prompt="1, 2, 3,", max_tokens=4, temperature=0, logprobs=2)
        logprobs = probable.choices[0].logprobs
        self.assertEqual("".join(logprobs.tokens), probable.choices[0].text)
        self.assertEqual([len(t) for t in logprobs.top_logprobs], [2, 2, 2, 2])


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    async def test_many_streams_at_once(self):
        import asyncio
        with serving.Server("--max-num-seqs", 8) as server:
            async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
                async def ask(a, b):
                    text = ""
                    stream = await client.chat.completions.create(**serving.chat(f"What is {a} + {b}?"), stream=True)
                    async for chunk in stream:
                        text += chunk.choices[0].delta.content or ""
                    return text
                sums = [(a, a + 3) for a in range(20, 44)]
                answers = await asyncio.gather(*(ask(a, b) for a, b in sums))
                right = sum(text == f"{a} + {b} = {a + b}" for (a, b), text in zip(sums, answers))
                self.assertGreaterEqual(right, 22)


if __name__ == "__main__":
    unittest.main()
