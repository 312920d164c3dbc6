"""Claims about /v1/messages, made with the official anthropic client."""
import unittest

import serving

try:
    import anthropic
except ImportError:
    raise unittest.SkipTest("CLIENT MISSING: the anthropic package is not installed (cmake/install-dependencies.sh clients)")

WEATHER = {"name": "get_weather", "description": "Get the current weather in a city.",
           "input_schema": serving.WEATHER["function"]["parameters"]}


class Anthropic(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server("--max-num-seqs", 4)
        cls.client = anthropic.Anthropic(base_url=cls.server.url, api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        assert cls.server.end() == 0

    def ask(self, question, **options):
        options = {"max_tokens": 300, "extra_body": {"temperature": 0}, **options}
        return {"model": serving.NAME, "messages": [{"role": "user", "content": question}], **options}

    def test_a_message(self):
        message = self.client.messages.create(**self.ask("What is 47 + 38?"))
        self.assertEqual([block.type for block in message.content], ["thinking", "text"])
        self.assertIn("Ones: 7 + 8 = 15", message.content[0].thinking)
        self.assertEqual(message.content[1].text, "47 + 38 = 85")
        self.assertEqual((message.role, message.stop_reason, message.stop_sequence), ("assistant", "end_turn", None))
        self.assertGreater(message.usage.output_tokens, 10)

    def test_thinking_can_be_switched_off(self):
        message = self.client.messages.create(**self.ask("Who are you?", thinking={"type": "disabled"}))
        self.assertEqual([block.type for block in message.content], ["text"])

    def test_a_system_message(self):
        message = self.client.messages.create(**self.ask("Who are you?", system="You are Nova, a travel guide."))
        self.assertIn("Nova", message.content[-1].text)

    def test_a_stream_joins_to_the_same_message(self):
        whole = self.client.messages.create(**self.ask("What is the weather in Rome and London?", tools=[WEATHER]))
        with self.client.messages.stream(**self.ask("What is the weather in Rome and London?", tools=[WEATHER])) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_message()
        self.assertEqual([b.model_dump(exclude={"id"}) for b in final.content], [b.model_dump(exclude={"id"}) for b in whole.content])
        self.assertEqual((kinds[0], kinds[-1]), ("message_start", "message_stop"))
        self.assertEqual(final.stop_reason, "tool_use")

    def test_tools(self):
        question = {"role": "user", "content": "What is the weather in Paris?"}
        first = self.client.messages.create(**self.ask("What is the weather in Paris?", tools=[WEATHER]))
        self.assertEqual(first.stop_reason, "tool_use")
        call = first.content[-1]
        self.assertEqual((call.type, call.name, call.input), ("tool_use", "get_weather", {"city": "Paris"}))
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "21\u00b0C, sunny"}]}
        second = self.client.messages.create(
            model=serving.NAME, max_tokens=200, tools=[WEATHER], extra_body={"temperature": 0},
            messages=[question, {"role": "assistant", "content": [b.model_dump() for b in first.content]}, result])
        self.assertIn("sunny", second.content[-1].text)

    def test_stop_sequences_and_max_tokens(self):
        message = self.client.messages.create(**self.ask("What is 47 + 38?", stop_sequences=[" = 8"]))
        self.assertEqual((message.content[-1].text, message.stop_reason, message.stop_sequence), ("47 + 38", "stop_sequence", " = 8"))
        message = self.client.messages.create(**self.ask("What is 47 + 38?", max_tokens=5))
        self.assertEqual((message.stop_reason, message.usage.output_tokens), ("max_tokens", 5))

    def test_tokens_are_counted(self):
        counted = self.client.messages.count_tokens(model=serving.NAME, messages=[{"role": "user", "content": "Hi!"}])
        usage = self.client.messages.create(**self.ask("Hi!")).usage
        self.assertEqual(counted.input_tokens, usage.input_tokens + usage.cache_read_input_tokens)

    def test_closing_a_stream_frees_its_sequence(self):
        with self.client.messages.stream(**self.ask("Tell me a story about a fox.")) as stream:
            next(iter(stream))
        self.server.wait_until_idle()

    def test_errors(self):
        with self.assertRaises(anthropic.NotFoundError):
            self.client.messages.create(**{**self.ask("Hi!"), "model": "claude"})
        with self.assertRaisesRegex(anthropic.BadRequestError, "tool_choice 'any' is not supported"):
            self.client.messages.create(**self.ask("Hi!", tools=[WEATHER], tool_choice={"type": "any"}))
        with self.assertRaisesRegex(anthropic.BadRequestError, "'image'; this model reads text"):
            image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
            self.client.messages.create(model=serving.NAME, max_tokens=5, messages=[{"role": "user", "content": [image]}])


if __name__ == "__main__":
    unittest.main()
