"""The golden data of text, through the program: every line, every cut. Counts are part of the claims."""
import json
import os
import random
import shutil
import tempfile
import unittest

import program

FAMILY = ["minimax_m2_official_reconstructed", "minimax_m2.1_official_reconstructed", "minimax_m2.5_official_reconstructed",
          "minimax_m2.7_official_reconstructed"]
OTHERS = ["llamacpp_fork_anemll_MiniMax-M2_enable_thinking", "llamacpp_fork_pwilkin_MiniMax-M2", "llamacpp_unsloth-MiniMax-M2",
          "modelopt_MiniMax-M2.7_train_generation_tags", "vmlx_minimaxM2Minimal_enable_thinking"]
CONTROL = ["]~!b[", "]~b]", "[e~[", "<think>", "</think>", "<minimax:tool_call>", "</minimax:tool_call>"]
NOT_EQUAL = {"sandbox-039", "strmeth-040"}  # `should` lines; docs/chat-format.md gives the reason


def records(*parts):
    with open(program.data(*parts), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def renderings(template):
    folder = ("chat", "jinja") if "unsloth" in template else ("chat", "renderings")
    return {record["conversation"]: record for record in records(*folder, template + ".jsonl")}


def template_file(template):
    return program.data("chat", "templates", template + ".jinja")


def cuts_of(output):
    """Whole, pieces of 1, 2, 3 and 7 bytes, one cut at every byte, 100 times cut at random."""
    raw = output.encode()
    yield None
    for every in (1, 2, 3, 7):
        yield {"every": every}
    # A line of JSON holds characters, so these cuts fall between them; cuts within are made by "every": 1.
    for at in range(1, len(output)):
        yield [output[:at], output[at:]]
    choose = random.Random(len(raw))
    for _ in range(100):
        pieces, at = [], 0
        while at < len(output):
            size = choose.randint(1, 40)
            pieces.append(output[at:at + size])
            at += size
        yield pieces


def meaning(answer):
    return (answer.get("reasoning") or "", answer.get("content") or "", bool(answer.get("incomplete")),
            [(call["name"], json.loads(call["arguments"]) if isinstance(call["arguments"], str) else call["arguments"])
             for call in answer.get("tool_calls") or []])


class Codec(unittest.TestCase):
    def test_the_130_cases_whole_and_at_every_cut(self):
        with open(program.data("chat", "toolcall_cases.json"), encoding="utf-8") as file:
            cases = json.load(file)["cases"]
        lines, owners = [], []
        for case in cases:
            given = {"output": case["output"], "tools": case.get("tools", []), "starts_in_think": case.get("starts_in_think", False)}
            for cut in cuts_of(case["output"]):
                lines.append(given if cut is None else {**given, "chunks": cut})
                owners.append(case)
        answers, code = program.json_lines("parse", lines=lines)
        self.assertEqual((code, len(answers)), (program.OK, len(lines)))
        whole, right, different = {}, 0, 0
        for case, line, answer in zip(owners, lines, answers):
            shown = {key: value for key, value in answer.items() if key != "deltas"}
            if "chunks" not in line:
                whole[case["id"]] = shown
                right += meaning(answer) == meaning(case["expect"])
            different += shown != whole[case["id"]]
        self.assertEqual((len(cases), len(lines), right, different), (130, 35305, 130, 0))


class Templates(unittest.TestCase):
    def compare(self, expected, answer, name):
        if "output" in expected:
            self.assertEqual(answer.get("text"), expected["output"], name)
        else:
            self.assertIn("error", answer, name)
            if expected["error"]["class"] == "TemplateError":
                self.assertEqual(answer["error"]["message"], expected["error"]["message"], name)

    def test_every_golden_program_of_jinja(self):
        cases = records("chat", "jinja", "cases.jsonl")
        answers, _ = program.json_lines("jinja", lines=[{"template": case["template"], "context": case["context"]} for case in cases])
        self.assertEqual((len(cases), len(answers)), (1598, 1598))
        different = set()
        for case, answer in zip(cases, answers):
            try:
                self.compare(case["expect"], answer, case["id"])
            except AssertionError:
                self.assertEqual(case["level"], "should", case["id"])
                different.add(case["id"])
        self.assertEqual(different, NOT_EQUAL)

    def test_the_nine_templates_over_131_conversations_in_the_interpreter(self):
        conversations = records("chat", "conversations.jsonl")
        compared = 0
        for template in FAMILY + OTHERS:
            answers, _ = program.json_lines("jinja", "--template-file", template_file(template),
                                            lines=[{"context": conversation["context"]} for conversation in conversations])
            expected = renderings(template)
            for conversation, answer in zip(conversations, answers):
                self.compare(expected[conversation["id"]], answer, f"{template} {conversation['id']}")
                compared += 1
        self.assertEqual(compared, 9 * 131)

    def test_the_official_four_rendered_with_ids(self):
        conversations = records("chat", "conversations.jsonl")
        golden_ids = {record["conversation"]: record["ids"] for record in records("text", "prompt_ids_m2.7.jsonl")}
        texts, equal_ids, spelled_by_user = 0, 0, 0
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(program.data("text", "model_4096", "tokenizer.json"), folder)
            for template in FAMILY:
                shutil.copy(template_file(template), os.path.join(folder, "chat_template.jinja"))
                lines = []
                for conversation in conversations:
                    context = dict(conversation["context"])
                    request = {key: context.pop(key) for key in ("messages", "tools", "add_generation_prompt") if key in context}
                    lines.append({**request, "kwargs": context})
                answers, _ = program.json_lines("render", folder, lines=lines)
                prompts = [answer["text"] for answer in answers if "text" in answer]
                as_hugging_face, _ = program.json_lines("tokenize", folder, lines=[{"text": text} for text in prompts])
                back, _ = program.json_lines("detokenize", folder, lines=[{"ids": a["ids"]} for a in answers if "ids" in a])
                self.assertEqual([answer["text"] for answer in back], prompts)
                hf_ids = iter(as_hugging_face)
                expected = renderings(template)
                for conversation, answer in zip(conversations, answers):
                    name = f"{template} {conversation['id']}"
                    self.compare(expected[conversation["id"]], answer, name)
                    texts += 1
                    if "ids" not in answer:
                        continue
                    wanted = next(hf_ids)["ids"]
                    # A control token that a user spelled stays text here; Hugging Face makes a token of it.
                    if "2.7" in template:
                        self.assertEqual(wanted, golden_ids[conversation["id"]], name)
                    if answer["ids"] == wanted:
                        equal_ids += 1
                    else:
                        spelled_by_user += 1
                        self.assertTrue(any(token in json.dumps(conversation["context"]) for token in CONTROL), name)
        self.assertEqual(texts, 4 * 131)
        self.assertGreater(equal_ids, 4 * 100)
        self.assertGreater(spelled_by_user, 0)


class Tokenizer(unittest.TestCase):
    def model(self, folder, file):
        target = os.path.join(folder, file[:-len(".json")])  # a path that ends in .json is a file
        os.mkdir(target)
        shutil.copy(program.data("text", "model_4096", file), os.path.join(target, "tokenizer.json"))
        return target

    def test_every_line_of_the_golden_ids(self):
        compared = 0
        with tempfile.TemporaryDirectory() as folder:
            for file, goldens in (("tokenizer.json", "ids.jsonl"), ("tokenizer_old_spelling.json", "ids.jsonl"),
                                  ("tokenizer_normalized_added.json", "ids_normalized_added.jsonl")):
                model, lines = self.model(folder, file), records("text", goldens)
                answers, _ = program.json_lines("tokenize", model, lines=[{"text": line["text"]} for line in lines])
                back, _ = program.json_lines("detokenize", model, lines=[{"ids": line["ids"]} for line in lines])
                skipped, _ = program.json_lines("detokenize", model, lines=[{"ids": line["ids"], "skip_special": True} for line in lines])
                for line, answer, text, plain in zip(lines, answers, back, skipped):
                    self.assertEqual(answer.get("ids"), line["ids"], line["id"])
                    decoded = line.get("decoded", line["text"])
                    if "decoded" in line or goldens == "ids.jsonl":
                        self.assertEqual(text["text"], decoded, line["id"])
                        self.assertEqual(plain["text"], line.get("decoded_skip_special", decoded), line["id"])
                    compared += 1
        self.assertEqual(compared, 2 * 7894 + 917)

    def test_every_line_of_the_golden_texts_whole_and_as_a_stream(self):
        with tempfile.TemporaryDirectory() as folder:
            model = self.model(folder, "tokenizer.json")
            whole, streams = records("text", "decode.jsonl"), records("text", "stream.jsonl")
            for skip in (False, True):
                suffix = "_skip_special" if skip else ""
                answers, _ = program.json_lines("detokenize", model, lines=[{"ids": line["ids"], "skip_special": skip} for line in whole])
                for line, answer in zip(whole, answers):
                    self.assertEqual(answer["text"], line.get("decoded" + suffix, line["decoded"]), line["id"])
                answers, _ = program.json_lines("detokenize", model,
                                                lines=[{"ids": line["ids"], "skip_special": skip, "stream": True} for line in streams])
                for line, answer in zip(streams, answers):
                    wanted = [*line.get("pieces" + suffix, line["pieces"]), line.get("flush" + suffix, line["flush"])]
                    self.assertEqual(answer["pieces"], wanted, line["id"])
            self.assertEqual((len(whole), len(streams)), (628, 628))


if __name__ == "__main__":
    unittest.main()
