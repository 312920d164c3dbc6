"""Requests that a server must refuse, each with its status and a part of its sentence. A case is
(name, path, body, status, fragment); bytes are sent as they are, anything else as JSON."""
import json

CHAT, TEXT, ANTHROPIC = "/v1/chat/completions", "/v1/completions", "/v1/messages"
USER = {"role": "user", "content": "Hi!"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
BIG = 10 ** 30


def chat(**members):
    return {"messages": [USER], "max_tokens": 1, **members}


def text(**members):
    return {"prompt": "Hi!", "max_tokens": 1, **members}


def anthropic(**members):
    return {"messages": [USER], "max_tokens": 1, **members}


def nested(depth, opening="[", closing="]"):
    return opening * depth + closing * depth


def not_json():
    """Bodies that no reader of JSON takes."""
    texts = {
        "empty": b"", "only space": b"  \n", "a word": b"hello", "half an object": b'{"messages": [',
        "two objects": b"{}{}", "trailing comma": b'{"a": 1,}', "single quotes": b"{'a': 1}", "a comment": b'{"a": 1 /* x */}',
        "NaN": b'{"temperature": NaN}', "Infinity": b'{"temperature": Infinity}', "a lone minus": b'{"n": -}',
        "leading zeros": b'{"n": 007}', "a number beyond doubles": b'{"temperature": 1e999}', "hexadecimal": b'{"n": 0x10}',
        "broken UTF-8": b'{"model": "\xff\xfe"}', "overlong UTF-8": b'{"model": "\xc0\xaf"}', "surrogate in UTF-8": b'{"model": "\xed\xa0\x80"}',
        "lone surrogate": b'{"model": "\\ud800"}', "a raw newline in a string": b'{"model": "a\nb"}', "a NUL in a string": b'{"model": "a\x00b"}',
        "only a NUL": b"\x00", "a bad escape": b'{"model": "\\x41"}', "an open string": b'{"model": "abc', "UTF-16": '{"n": 1}'.encode("utf-16"),
    }
    for name, body in texts.items():
        yield f"not JSON: {name}", CHAT, body, 400, "the body"
    for name, body in {"array": b"[]", "null": b"null", "string": b'"x"', "number": b"3", "true": b"true"}.items():
        yield f"not an object: {name}", CHAT, body, 400, "not an object"
    yield "no body for completions", TEXT, b"", 400, "the body is empty"
    yield "no body for messages", ANTHROPIC, b"", 400, "the body is empty"
    yield "no body for tokenize", "/tokenize", b"", 400, "the body is empty"


def too_deep_or_wide():
    for depth in (65, 1000, 100_000, 1_000_000):
        yield f"nested arrays, {depth}", CHAT, nested(depth).encode(), 400, "nested deeper than 64"
    yield "nested objects", CHAT, (b'{"a":' * 100_000), 400, "nested deeper than 64"
    yield "nested in a tool", CHAT, json.dumps(chat(tools=[TOOL])).replace('"properties": {}', f'"properties": {nested(80_000)}').encode(), 400, "nested deeper"
    yield "100,000 members", CHAT, json.dumps({f"m{i}": i for i in range(100_000)}).encode(), 400, "more than 1024 members"
    yield "a schema of 5,000 properties", CHAT, chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {
        "properties": {f"p{i}": {} for i in range(5000)}}}}]), 400, "more than 1024 members"
    small = {"type": "function", "function": {"name": "f"}}
    yield "100,000 tools", CHAT, chat(tools=[small] * 100_000), 400, "tools has 100000 entries; at most 512"
    yield "100,000 messages", CHAT, {"messages": [USER] * 100_000}, 400, "messages has 100000 entries; at most 4096"
    yield "a body of 9 MB", CHAT, b'{"messages": "' + b"x" * 9_000_000 + b'"}', 413, "larger than 8388608 bytes"
    yield "100,000 stop strings", CHAT, chat(stop=["x"] * 100_000), 400, "stop has 100000 entries; at most 16"
    yield "10,000 prompts", TEXT, text(prompt=["x"] * 10_000), 400, "prompt has 10000 entries; at most 64"
    yield "a million prompt ids", TEXT, text(prompt=[1] * 1_000_000), 400, "the context holds 4096"
    yield "a prompt of 2 MB", TEXT, text(prompt="fox " * 500_000), 400, "the context holds 4096"
    yield "a message of 2 MB", CHAT, chat(messages=[{"role": "user", "content": "fox " * 500_000}]), 400, "the context holds 4096"


def numbers():
    """Members that are numbers: out of range, and of another type."""
    ranges = {"n": (-1, 0, 10 ** 6, BIG, 1.5, "2", [1], True), "max_tokens": (-1, 0, BIG, -BIG, 1.5, "x", {}, False),
              "max_completion_tokens": (-5, 0, 2.5), "temperature": (-0.1, 2.1, 1e300, "hot", [], True),
              "top_p": (-0.1, 1.1, "x"), "top_k": (-1, 1.5, BIG, "x"), "min_p": (-0.5, 2, "x"), "seed": (-1, 1.5, 2 ** 63, "x"),
              "frequency_penalty": (-2.1, 2.1, "x"), "presence_penalty": (-9, 9), "repetition_penalty": (-1, 0, 11, "x"),
              "top_logprobs": (-1, 21, 1000, "x")}
    for member, values in ranges.items():
        for value in values:
            body = chat(**{member: value})
            if member == "top_logprobs":
                body["logprobs"] = True
            yield f"{member} {json.dumps(value)[:40]}", CHAT, body, 400, f"{member} is "
    for member, value in (("n", -1), ("logprobs", 21), ("logprobs", -1), ("logprobs", True), ("best_of", 0), ("max_tokens", -1)):
        yield f"completions {member} {value}", TEXT, text(**{member: value}), 400, f"{member} is "
    for member, value in (("temperature", 1.5), ("max_tokens", -1), ("top_k", -2), ("max_tokens", "many")):
        yield f"messages {member} {value}", ANTHROPIC, anthropic(**{member: value}), 400, f"{member} is "
    yield "more than the context", CHAT, chat(max_tokens=5000), 400, "5000 more were asked for"
    yield "exactly one too many", TEXT, text(prompt=[1] * 4000, max_tokens=97), 400, "4097, but the context holds 4096"
    yield "n times prompts", TEXT, text(prompt=["a"] * 64, n=64), 400, "4096 answers were asked for"


def types():
    wrong = {"messages": (3, "x", {}, True), "model": (3, [], {}), "stream": (1, "yes"), "tools": ({}, "x", 3), "stop": (3, {}, [3], [""], ""),
             "logit_bias": ([], "x", 3), "logprobs": (3, "x"), "stream_options": ([], 3), "response_format": ("json", []),
             "chat_template_kwargs": ([], "x"), "parallel_tool_calls": ("x", 1), "ignore_eos": (1,), "reasoning_split": ("x",), "cache_salt": (3,)}
    for member, values in wrong.items():
        for value in values:
            yield f"{member} as {json.dumps(value)}", CHAT, chat(**{member: value}), 400, member
    yield "no messages", CHAT, {"max_tokens": 1}, 400, "messages is missing"
    yield "null messages", CHAT, {"messages": None}, 400, "messages is missing"
    yield "empty messages", CHAT, {"messages": []}, 400, "messages is empty"
    yield "no prompt", TEXT, {"max_tokens": 1}, 400, "prompt is missing"
    yield "an empty prompt", TEXT, text(prompt=""), 400, "the prompt is empty"
    yield "a prompt of nothing", TEXT, text(prompt=[]), 400, "the prompt is empty"
    yield "a prompt that is an object", TEXT, text(prompt={}), 400, "prompt is an object"
    for bad in (-1, 1664, BIG, 1.5, "x", None, [1]):
        yield f"a prompt id {bad}", TEXT, text(prompt=[1, bad]), 400, "prompt holds"
    yield "mixed prompts", TEXT, text(prompt=["a", 1]), 400, "prompt[1] is 1"
    yield "logit_bias of no token", CHAT, chat(logit_bias={"999999": 1}), 400, "token ids from 0 to 1663"
    yield "logit_bias of a word", CHAT, chat(logit_bias={"fox": 1}), 400, "token ids from 0"
    yield "logit_bias of -1", CHAT, chat(logit_bias={"-1": 1}), 400, "token ids from 0"
    yield "logit_bias of 1e9", CHAT, chat(logit_bias={"1": 1e9}), 400, "a number from -100 to 100"
    yield "logit_bias of a token twice", CHAT, chat(logit_bias={"1": 1, "01": 1}), 400, "once for each token"
    yield "top_logprobs alone", CHAT, chat(top_logprobs=2), 400, "logprobs is not true"
    yield "stream_options without stream", CHAT, chat(stream_options={"include_usage": True}), 400, "stream is not true"
    yield "an unknown stream option", CHAT, chat(stream=True, stream_options={"x": 1}), 400, "stream_options.x"
    yield "an unknown member", CHAT, chat(temprature=1), 400, "there is no member temprature"
    yield "a long unknown member", CHAT, chat(**{"x" * 5000: 1}), 400, "there is no member xxx"
    yield "an unknown model", CHAT, chat(model="gpt-4"), 404, "'gpt-4' is not served here"
    yield "a model with a NUL", CHAT, chat(model="mm2-tiny\0"), 404, "is not served here; 'mm2-tiny' is"
    yield "a very long model", CHAT, chat(model="x" * 100_000), 404, "is not served here"
    yield "stop strings of 300 bytes", CHAT, chat(stop="x" * 300), 400, "1 to 256 bytes"


def messages():
    def one(message):
        return chat(messages=[message])
    cases = {
        "that is a string": ("Hi!", "messages[0] is a string, not an object"), "that is null": (None, "messages[0] is null"),
        "without a role": ({"content": "x"}, "messages[0].role is missing"), "of role root": ({"role": "root", "content": "x"}, "messages[0].role is 'root'"),
        "of a numeric role": ({"role": 3, "content": "x"}, "messages[0].role is 3"), "without content": ({"role": "user"}, "messages[0].content is missing"),
        "with null content": ({"role": "user", "content": None}, "messages[0].content is missing"),
        "with a number": ({"role": "user", "content": 3}, "messages[0].content is 3"), "with an object": ({"role": "user", "content": {}}, "messages[0].content is an object"),
        "with a part of no type": ({"role": "user", "content": [{}]}, "messages[0].content[0].type is missing"),
        "with an image": ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "'image_url'; this model reads and writes text only"),
        "with audio": ({"role": "user", "content": [{"type": "input_audio"}]}, "'input_audio'; this model"),
        "with a text part without text": ({"role": "user", "content": [{"type": "text"}]}, "content[0].text is missing"),
        "with an extra member": ({"role": "user", "content": "x", "evil": 1}, "messages[0].evil"),
        "of an assistant who says nothing": ({"role": "assistant"}, "there are no tool_calls either"),
        "with a call without function": ({"role": "assistant", "tool_calls": [{"type": "function"}]}, "tool_calls[0].function is missing"),
        "with a call that is a string": ({"role": "assistant", "tool_calls": ["x"]}, "tool_calls[0] is a string"),
        "with a call of another type": ({"role": "assistant", "tool_calls": [{"type": "code", "function": {"name": "f"}}]}, "type must be 'function'"),
        "with arguments that are no JSON": ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{x"}}]}, "arguments is not JSON"),
        "with arguments that are a list": ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}, "must hold a JSON object"),
        "with arguments that are deep": ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": nested(9999)}}]}, "nested deeper"),
        "with numeric arguments": ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 3}}]}, "arguments is 3"),
        "with function_call": ({"role": "assistant", "content": "x", "function_call": {"name": "f"}}, "use tool_calls"),
        "of a tool that nobody called": ({"role": "tool", "content": "x", "tool_call_id": "1"}, "no previous assistant message with a tool call"),
        "with a numeric call id": ({"role": "tool", "content": "x", "tool_call_id": 3}, "tool_call_id is 3"),
    }
    for name, (message, fragment) in cases.items():
        yield f"a message {name}", CHAT, one(message), 400, fragment


def tools():
    def one(tool):
        return chat(tools=[tool])

    def function(**members):
        return one({"type": "function", "function": members})
    yield "a tool that is a string", CHAT, one("f"), 400, "tools[0] is a string"
    yield "a tool without type", CHAT, one({"function": {"name": "f"}}), 400, "tools[0].type is missing"
    yield "a tool of another type", CHAT, one({"type": "retrieval"}), 400, "must be 'function'"
    yield "a tool without function", CHAT, one({"type": "function"}), 400, "tools[0].function is missing"
    yield "a tool without a name", CHAT, function(), 400, "function.name is missing"
    yield "a tool with an empty name", CHAT, function(name=""), 400, "must be 1 to 128 letters"
    yield "a tool with a name of markup", CHAT, function(name='"><invoke'), 400, "must be 1 to 128 letters"
    yield "a tool with a name of 1 MB", CHAT, function(name="x" * 1_000_000), 400, "must be 1 to 128 letters"
    yield "a tool with numeric parameters", CHAT, function(name="f", parameters=3), 400, "parameters is 3"
    yield "a tool with a list of parameters", CHAT, function(name="f", parameters=[]), 400, "parameters is an array"
    yield "a tool with a numeric description", CHAT, function(name="f", description=3), 400, "description is 3"
    yield "a strict tool", CHAT, function(name="f", strict=True), 400, "strict is not supported"
    yield "a tool with an extra member", CHAT, function(name="f", x=1), 400, "tools[0].function.x"
    yield "tool_choice required", CHAT, chat(tools=[TOOL], tool_choice="required"), 400, "tool_choice 'required' is not supported"
    yield "tool_choice by name", CHAT, chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}}), 400, "a named function is not supported"
    yield "tool_choice 3", CHAT, chat(tool_choice=3), 400, "tool_choice"
    yield "an Anthropic tool without a schema", ANTHROPIC, anthropic(tools=[{"name": "f"}]), 400, "input_schema is missing"
    yield "an Anthropic server tool", ANTHROPIC, anthropic(tools=[{"type": "web_search_20250305", "name": "web_search"}]), 400, "tools that a server runs"


def unsupported():
    members = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}, "functions": [], "function_call": "auto",
               "audio": {}, "prediction": {}, "web_search_options": {}, "verbosity": "low", "best_of": 2, "echo": True, "suffix": "x",
               "chat_template": "{{ 1 }}", "continue_final_message": True, "documents": [], "guided_json": {}, "guided_regex": "(a+)+$",
               "guided_grammar": "x", "structured_outputs": {}, "min_tokens": 5, "stop_token_ids": [1], "bad_words": ["x"], "use_beam_search": True,
               "prompt_logprobs": 1, "truncate_prompt_tokens": 1, "logits_processors": []}
    for member, value in members.items():
        yield f"unsupported: {member}", CHAT, chat(**{member: value}), 400, f"{member} "
    yield "json_object", CHAT, chat(response_format={"type": "json_object"}), 400, "response_format 'json_object' is not supported"
    yield "reasoning_effort high", CHAT, chat(reasoning_effort="high"), 400, "reasoning_effort 'high' is not supported"
    yield "modalities of audio", CHAT, chat(modalities=["text", "audio"]), 400, "modalities may hold"
    yield "service_tier flex", CHAT, chat(service_tier="flex"), 400, "service_tier 'flex'"
    yield "a template variable that is the messages", CHAT, chat(chat_template_kwargs={"messages": []}), 400, "not a variable that requests may set"
    yield "a template variable that tokenizes", CHAT, chat(chat_template_kwargs={"tokenize": True}), 400, "not a variable that requests may set"
    yield "thinking as a string", CHAT, chat(chat_template_kwargs={"enable_thinking": "no"}), 400, "enable_thinking is a string"
    yield "completions with a suffix", TEXT, text(suffix="x"), 400, "suffix is not supported"
    yield "completions with best_of", TEXT, text(best_of=3), 400, "best_of 3 is not supported"
    yield "echo with logprobs", TEXT, text(echo=True, logprobs=1), 400, "echo with logprobs is not supported"


def anthropic_messages():
    yield "messages without max_tokens", ANTHROPIC, {"messages": [USER]}, 400, "max_tokens is missing"
    yield "messages without messages", ANTHROPIC, {"max_tokens": 1}, 400, "messages is missing"
    yield "messages of nothing", ANTHROPIC, anthropic(messages=[]), 400, "messages is empty"
    yield "messages of a system role", ANTHROPIC, anthropic(messages=[{"role": "system", "content": "x"}]), 400, "but must be user or assistant"
    yield "a prefilled answer", ANTHROPIC, anthropic(messages=[USER, {"role": "assistant", "content": "x"}]), 400, "cannot be prefilled"
    yield "a block of no type", ANTHROPIC, anthropic(messages=[{"role": "user", "content": [{}]}]), 400, "type is missing"
    yield "an image block", ANTHROPIC, anthropic(messages=[{"role": "user", "content": [{"type": "image"}]}]), 400, "'image'; this model reads text"
    yield "a numeric system", ANTHROPIC, anthropic(system=3), 400, "system is 3"
    yield "thinking of another type", ANTHROPIC, anthropic(thinking={"type": "maybe"}), 400, "thinking.type is 'maybe'"
    yield "a negative budget", ANTHROPIC, anthropic(thinking={"type": "enabled", "budget_tokens": -1}), 400, "budget_tokens is -1"
    yield "tool_choice any", ANTHROPIC, anthropic(tool_choice={"type": "any"}), 400, "tool_choice 'any' is not supported"
    yield "n for messages", ANTHROPIC, anthropic(n=2), 400, "is not a member of this endpoint"
    yield "a tool_use without input", ANTHROPIC, anthropic(messages=[{"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f"}]}]), 400, "input is missing"
    yield "a tool_result of an image", ANTHROPIC, anthropic(messages=[{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]}]}]), 400, "'image'; this model"


def others():
    yield "tokenize without a prompt", "/tokenize", {}, 400, "prompt is missing"
    yield "tokenize of a number", "/tokenize", {"prompt": 3}, 400, "prompt is 3"
    yield "tokenize with an unknown member", "/tokenize", {"prompt": "x", "y": 1}, 400, "there is no member y"
    yield "detokenize without tokens", "/detokenize", {}, 400, "tokens is missing"
    yield "detokenize of a word", "/detokenize", {"tokens": ["x"]}, 400, "tokens holds a string"
    yield "detokenize of -1", "/detokenize", {"tokens": [-1]}, 400, "token ids from 0"
    yield "detokenize beyond the names", "/detokenize", {"tokens": [1660]}, 400, "token ids from 0"
    yield "count_tokens of nothing", "/v1/messages/count_tokens", {"messages": []}, 400, "messages is empty"
    yield "a path that is not there", "/v1/embeddings", {}, 404, "there is nothing at '/v1/embeddings'"
    yield "a path upwards", "/../../etc/passwd", {}, 404, "there is nothing at"
    yield "a POST to a page", "/health", {}, 405, "takes GET, not POST"


def cases():
    for group in (not_json, too_deep_or_wide, numbers, types, messages, tools, unsupported, anthropic_messages, others):
        yield from group()


# (name, bytes on the wire, what the answer must hold; b"" = the connection is closed without one)
def wires():
    post = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    body = b'{"messages": [{"role": "user", "content": "Hi!"}], "max_tokens": 1}'
    return [
        ("no HTTP at all", b"hello\r\n\r\n", b"400"),
        ("binary rubbish", bytes(range(256)) * 8 + b"\r\n\r\n", b"400"),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\n\n", b"400"),
        ("another version", b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", b"400"),
        ("an unknown method", b"BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        ("a wrong method", b"DELETE /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\r\n", b"405"),
        ("an address of 100 kB", b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b""),
        ("an address of 9 kB", b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        ("a header of 100 kB", b"GET /health HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b""),
        ("a header of 10 kB", b"GET /health HTTP/1.1\r\nX: " + b"x" * 10_000 + b"\r\n\r\n", b"400"),
        ("20,000 headers", b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", b""),
        ("a huge Range", b"GET /health HTTP/1.1\r\nHost: localhost\r\nRange: bytes=" + b"0-0," * 2000 + b"0-0\r\n\r\n", b"HTTP/1.1"),
        ("a Range beyond numbers", b"GET /health HTTP/1.1\r\nHost: localhost\r\nRange: bytes=99999999999999999999999-\r\n\r\n", b"416"),
        ("a length that is a word", post + b"Content-Length: many\r\n\r\n", b"400"),
        ("a negative length", post + b"Content-Length: -5\r\n\r\n" + body, b"413"),
        ("a length of 10^18", post + b"Content-Length: 1000000000000000000\r\n\r\n" + body, b"413"),
        ("a length beyond numbers", post + b"Content-Length: 99999999999999999999999\r\n\r\n" + body, b"413"),
        ("a chunk of rubbish", post + b"Transfer-Encoding: chunked\r\n\r\nZZZZ\r\n" + body, b"400"),
        ("a chunk of 10^15", post + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffff\r\n" + b"x" * 40_000_000, b""),
        ("endless chunks", post + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 200, b"413"),
        ("a multipart form", post + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 4\r\n\r\n--x\r", b"415"),
        ("gzip that is none", post + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", b"40"),
        ("another host's name", b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        ("a page of another site", post + b"Origin: https://evil.example\r\nContent-Length: 2\r\n\r\n{}", b"403"),
        ("a page without an origin", post + b"Origin: null\r\nContent-Length: 2\r\n\r\n{}", b"403"),
        ("a forged descriptor", b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nX-Mm2-Descriptor: 1\r\nContent-Length: 2\r\n\r\n{}", b"prompt is missing"),
        ("a smuggled request", post + b"Content-Length: 2\r\n\r\n{}GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"messages is missing"),
    ]
