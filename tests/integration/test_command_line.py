"""Claims about the command line itself."""
import json
import os
import subprocess
import tempfile
import unittest

import program

VERBS = ["chat", "generate", "logits", "score", "bench", "estimate", "tokenize", "detokenize", "render", "parse", "inspect",
         "verify", "tensor", "calibrate", "prune", "quantize", "convert", "repack", "kv-scales", "synth", "reshard", "manifest", "resume", "doctor", "version"]


class CommandLine(program.ProgramTest):
    def test_help_lists_every_verb_and_every_verb_shows_an_example(self):
        listing = self.assert_succeeds(program.run("--help"))
        for verb in VERBS:
            self.assertIn(verb, listing)
            text = self.assert_succeeds(program.run(verb, "--help"))
            self.assertRegex(text, r"Example:\n\s+.*mm2 " + verb)

    def test_an_unknown_verb_is_a_usage_error(self):
        self.assert_fails(program.run("transmogrify"), program.USAGE, "transmogrify")

    def test_no_verb_is_a_usage_error(self):
        self.assert_fails(program.run(), program.USAGE, "verb")

    def test_an_unknown_option_is_a_usage_error(self):
        self.assert_fails(program.run("version", "--loudly"), program.USAGE, "--loudly")

    def test_a_missing_required_option_is_a_usage_error(self):
        self.assert_fails(program.run("logits", program.TINY, "--ids", "1"), program.USAGE, "--out")

    def test_an_unknown_name_is_refused_with_the_known_ones(self):
        done = program.run("generate", program.TINY, "--ids", "1", "--kv-dtype", "f12")
        self.assert_fails(done, program.USAGE, "f12", "fp8")

    def test_a_model_of_random_weights_that_does_not_exist_is_refused_by_name(self):
        self.assert_fails(program.run("bench", "--synthetic", "m3"), program.USAGE, "m3")
        self.assert_fails(program.run("bench", "--synthetic", "m2", "--quant", "q5"), program.USAGE, "q5")
        self.assert_fails(program.run("bench", program.TINY, "--layers", "2"), program.USAGE, "--synthetic")
        self.assert_fails(program.run("bench"), program.USAGE, "MODEL")

    def test_version_tells_product_and_abi(self):
        build = json.loads(self.assert_succeeds(program.run("version", "--json")))
        self.assertRegex(build["version"], r"^\d+\.\d+\.\d+")
        self.assertIn("abi", build)
        self.assertIn(build["version"], self.assert_succeeds(program.run("version")))

    def test_doctor_measures_this_machine(self):
        machine = json.loads(self.assert_succeeds(program.run("doctor", "--json")))
        self.assertGreater(machine["probe"]["read_gb_per_s"], 0)
        self.assertGreater(machine["probe"]["peak_gflop_per_s"], 0)
        self.assertIn("isa", machine)

    def test_a_repo_id_is_found_in_the_local_hub_cache(self):
        with tempfile.TemporaryDirectory() as cache:
            repo = os.path.join(cache, "models--someone--tiny")
            os.makedirs(os.path.join(repo, "snapshots"))
            os.makedirs(os.path.join(repo, "refs"))
            os.symlink(program.TINY, os.path.join(repo, "snapshots", "abc123"))
            with open(os.path.join(repo, "refs", "main"), "w") as file:
                file.write("abc123")
            text = "Hello"
            os.symlink(cache, os.path.join(cache, "hub"))
            for variables in ({"HF_HUB_CACHE": cache}, {"HF_HUB_CACHE": "", "HF_HOME": cache}):
                done = program.run("tokenize", "someone/tiny", text=text, env={**os.environ, **variables})
                self.assertEqual(self.assert_succeeds(done), self.assert_succeeds(program.run("tokenize", program.TINY, text=text)))
            done = program.run("tokenize", "someone/else", env={**os.environ, "HF_HUB_CACHE": cache})
            self.assert_fails(done, program.INVALID_INPUT, "someone/else", "models--someone--else")

    def test_estimate_tells_bytes_per_part(self):
        few = json.loads(self.assert_succeeds(program.run("estimate", program.TINY, "--kv-tokens", 1024, "--json")))
        many = json.loads(self.assert_succeeds(program.run("estimate", program.TINY, "--kv-tokens", 2048, "--json")))
        self.assertGreater(few["host"]["weights"], 8_000_000)
        self.assertEqual(many["host"]["kv"], 2 * few["host"]["kv"])

    def test_standard_output_that_is_full_is_no_success(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([program.PROGRAM, "version"], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assert_fails(done, program.RESOURCES, "standard output")


if __name__ == "__main__":
    unittest.main()
