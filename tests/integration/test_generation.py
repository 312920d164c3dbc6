"""Claims about generate, score, bench, inspect and verify."""
import json
import math
import os
import tempfile
import unittest

import program


class Generation(program.ProgramTest):
    def test_greedy_tokens_are_the_recorded_ones(self):
        with open(program.data("models", "prompts.json")) as file:
            prompts = json.load(file)["small"]["tight"]
        with open(os.path.join(program.SMALL, "expected", "greedy.json")) as file:
            recorded = json.load(file)
        for record in recorded[:3]:
            ids = ",".join(map(str, prompts[record["prompt"]]))
            done = program.run("generate", program.SMALL, "--ids", ids, "--greedy", "--max-tokens", 48, "--ignore-stop", "--print-ids",
                               "--activations", "f32", "--kv-dtype", "f32")
            got = [int(token) for token in self.assert_succeeds(done).split(",")]
            # Beyond the first choice closer than F32's error, both continuations are right.
            sure = next((i for i, margin in enumerate(record["logit_margin"]) if margin < 1e-3), len(record["ids"]))
            self.assertGreater(sure, 0)
            self.assertEqual(got[:sure], record["ids"][:sure])

    def test_a_text_goes_on(self):
        done = program.run("generate", program.TINY, "--prompt", "The capital of Japan is", "--greedy", "--max-tokens", 4, "--json")
        result = json.loads(self.assert_succeeds(done))
        self.assertTrue(result["text"].startswith(" Tokyo."), result["text"])
        self.assertEqual(len(result["ids"]), 4)
        self.assertEqual(result["finish_reason"], "length")

    def test_the_same_seed_gives_the_same_text(self):
        def text(seed):
            done = program.run("generate", program.TINY, "--prompt", "The", "--temperature", "1.5", "--seed", seed, "--max-tokens", 24)
            return self.assert_succeeds(done)

        self.assertEqual(text(3), text(3))
        self.assertGreater(len({text(seed) for seed in range(4)}), 1)

    def test_score_is_the_mean_of_the_logits_verb(self):
        with tempfile.TemporaryDirectory() as folder:
            path, out = os.path.join(folder, "text"), os.path.join(folder, "out.safetensors")
            with open(path, "w") as file:
                file.write("The capital of Japan is Tokyo. One, two, three.")
            score = json.loads(self.assert_succeeds(program.run("score", program.TINY, "--text-file", path, "--json")))
            with open(path) as file:
                ids, _ = program.json_lines("tokenize", program.TINY, lines=[{"text": file.read()}])
            ids = ids[0]["ids"]
            self.assert_succeeds(program.run("logits", program.TINY, "--ids", ",".join(map(str, ids)), "--out", out))
            (_, width), values = program.read_safetensors(out)["logits"]
            total = 0
            for i, token in enumerate(ids[1:]):
                row = values[i * width:(i + 1) * width]
                total += math.log(sum(math.exp(x - max(row)) for x in row)) + max(row) - row[token]
            self.assertEqual(score["tokens"], len(ids))
            self.assertAlmostEqual(score["mean_nll"], total / (len(ids) - 1), places=5)
            self.assertAlmostEqual(score["perplexity"], math.exp(score["mean_nll"]), places=6)

    def test_a_sliding_window_scores_every_token_once(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "text")
            with open(path, "w") as file:
                file.write("one, two, three, four, five, six, seven, eight, nine, ten. " * 6)
            done = program.run("score", program.TINY, "--text-file", path, "--window", 32, "--stride", 20, "--json")
            score = json.loads(self.assert_succeeds(done))
            self.assertEqual(score["scored"], score["tokens"] - 1)

    def test_bench_has_the_fields_of_the_contract(self):
        done = program.run("bench", program.TINY, "--prompt", "8,16", "--depth", 8, "--repetitions", 2, "--json")
        result = json.loads(self.assert_succeeds(done))
        for field in ("tok_per_s", "ms_per_step", "gb_per_step", "gb_per_s", "probe_gb_per_s", "share"):
            self.assertGreater(result["decode"][field], 0, field)
        self.assertEqual([entry["tokens"] for entry in result["prefill"]], [8, 16])
        for entry in result["prefill"]:
            for field in ("tok_per_s", "gflop_per_s", "peak_gflop_per_s", "share", "experts_touched"):
                self.assertGreater(entry[field], 0, field)
        self.assertEqual(result["layers"], 4)
        self.assertEqual(result["quant"], "BF16")
        self.assertIn("isa", result)
        self.assertIn("threads", result)

    def test_inspect_and_verify_for_a_person_and_for_a_program(self):
        for verb in ("inspect", "verify"):
            report = json.loads(self.assert_succeeds(program.run(verb, program.TINY, "--json")))
            self.assertIsInstance(report, dict)
            self.assertGreater(len(self.assert_succeeds(program.run(verb, program.TINY)).splitlines()), 3)


if __name__ == "__main__":
    unittest.main()
