"""Claims about the verbs that write checkpoints: whole or not at all, resumable after a kill, the same bytes whatever the machine does."""
import atexit
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import program

# Kills for each writing verb; MM2_KILLS=200 for a long run.
KILLS = int(os.environ.get("MM2_KILLS", "6"))
TINY_BF16 = program.data("models", "bf16_single")

# A mask for a model of three layers of sixteen experts.
MASK = os.path.join(tempfile.mkdtemp(), "mask.json")
atexit.register(shutil.rmtree, os.path.dirname(MASK))
with open(MASK, "w") as mask_file:
    json.dump({str(layer): [layer, 5, 9, 15] for layer in range(3)}, mask_file)

# Every verb that writes a checkpoint: its command line without -o. A new verb is a new line.
WRITING = {
    "merge-plain": ["merge", program.data("models", "bf16_single"), program.data("tools", "pair", "model_b"), "--t", "0.3"],
    "reshard": ["reshard", program.TINY, "--max-shard", "1M"],
    "quantize": ["quantize", program.TINY, "--format", "nvfp4", "--errors", "--ignore", "model.layers.0.*"],
    "convert": ["convert", program.data("models", "fp8"), "--to", "bf16"],
    "repack": ["repack", program.data("models", "gptq"), "--to", "ct_packed"],
    "merge": ["merge", TINY_BF16, program.data("tools", "pair", "model_b"), "--t", "0.3", "--out-dtype", "fp8block"],
    "delete-experts": ["delete-experts", program.data("models", "bf16_single"), "--deleted-experts-file", MASK, "--num-original-experts", 16,
                       "--num-retained-experts", 12],
    "to-megatron": ["to-megatron", program.data("models", "bf16"), "--tp", 2, "--ep", 2],
    "kv-scales": ["kv-scales", program.data("models", "nvfp4_modelopt"), "--min", "0.01"],
    "doctor --fix": ["doctor", program.data("models", "ct_nvfp4"), "--fix"],
}
# Verbs that read what another one wrote: that command, then the verb's. Words in capitals are files of the test.
CHAINED = {
    "prune": (["calibrate", program.TINY, "TOKENS", "-o", "STATS"], ["prune", program.TINY, "--stats", "STATS", "--ratio", "0.25"]),
    "from-megatron": (["to-megatron", program.data("models", "bf16"), "--tp", 2, "--ep", 2, "-o", "RANKS"],
                      ["from-megatron", "RANKS", "--config", program.data("models", "bf16"), "--tp", 2, "--ep", 2]),
}


def content(folder):
    """{name: digest} of a folder's files, or of the one file that it is."""
    if os.path.isfile(folder):
        with open(folder, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    found = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "expected"]  # what the tests' models bring with them
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    return found


def with_out(command, out):
    """delete-experts has the seed's command line: the output is its second name."""
    return [*command[:2], out, *command[2:]] if command[0] == "delete-experts" else [*command, "-o", out]


class WritingVerbs(program.ProgramTest):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def commands(self):
        """WRITING and CHAINED, ready to be run."""
        names = {"TOKENS": self.tokens(), "STATS": self.path("stats.safetensors"), "RANKS": self.path("ranks")}
        commands = dict(WRITING)
        for verb, (before, command) in CHAINED.items():
            self.assert_succeeds(program.run(*(names.get(part, part) for part in before), "--progress", "none"))
            commands[verb] = [names.get(part, part) for part in command]
        return commands

    def write(self, command, name, *more):
        self.assert_succeeds(program.run(*with_out(command, self.path(name)), "--progress", "none", *more))
        return content(self.path(name))

    def test_the_same_bytes_for_any_number_of_threads(self):
        for verb, command in self.commands().items():
            with self.subTest(verb):
                self.assertEqual(self.write(command, verb + "1", "--threads", 1), self.write(command, verb + "3", "--threads", 3))

    def test_what_was_written_is_sound_and_as_its_manifest_says(self):
        for verb, command in self.commands().items():
            with self.subTest(verb):
                self.write(command, verb)
                if verb != "to-megatron":  # files of ranks are no checkpoint
                    self.assert_succeeds(program.run("verify", self.path(verb), "--deep", "--hash"))

    def test_a_dry_run_writes_nothing_and_says_how_much_it_would_be(self):
        for verb, command in self.commands().items():
            with self.subTest(verb):
                done = program.run(*with_out(command, self.path("dry")), "--dry-run", "--json")
                report = json.loads(self.assert_succeeds(done))
                self.assertGreater(report.get("repaired", report)["bytes"], 0)
                self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("dry")], [])

    def tokens(self):
        """A file of samples for calibrate."""
        path = self.path("tokens.jsonl")
        with open(path, "w") as file:
            for i in range(12):
                file.write(json.dumps({"ids": [(7 * i + 3 * k) % 1600 for k in range(20 + i)], "count_from": i}) + "\n")
        return path

    def test_killed_at_any_moment_and_resumed_gives_the_same_bytes(self):
        randomness = random.Random(7)
        commands = dict(self.commands(), calibrate=["calibrate", program.TINY, self.tokens(), "--collect", "reap,imatrix,act,kv"])
        for verb, command in commands.items():
            with self.subTest(verb):
                begin = time.monotonic()
                whole = self.write(command, verb)
                duration = time.monotonic() - begin
                n_killed = i = 0
                while n_killed < KILLS and i < 20 * KILLS:
                    i += 1
                    out = self.path(f"{verb}-{i}")
                    running = subprocess.Popen([program.PROGRAM, *map(str, with_out(command, out)), "--progress", "none"],
                                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    time.sleep(randomness.uniform(0, duration))
                    running.send_signal(signal.SIGKILL)
                    if running.wait() == -signal.SIGKILL:
                        n_killed += 1
                    else:  # done before: the first run was a slow one
                        duration *= 0.8
                    if os.path.exists(out + ".journal"):
                        self.assert_succeeds(program.run("resume", out))
                    elif not os.path.exists(out):  # nothing had begun
                        self.assertFalse(os.path.exists(out + ".partial"))
                        self.write(command, f"{verb}-{i}")
                    self.assertEqual(content(out), whole)
                    self.assertFalse(os.path.exists(out + ".partial") or os.path.exists(out + ".journal"))
                    os.remove(out) if os.path.isfile(out) else shutil.rmtree(out)
                self.assertEqual(n_killed, KILLS)

    def test_ctrl_c_says_how_to_go_on(self):
        command = ["calibrate", program.TINY, self.tokens(), "--collect", "hessian", "-o", self.path("stats")]
        randomness = random.Random(3)
        latest = 0.2
        for _ in range(200):  # until one comes between the beginning and the end of the work
            running = subprocess.Popen([program.PROGRAM, *command, "--progress", "none"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(randomness.uniform(0, latest))
            running.send_signal(signal.SIGINT)
            error = running.communicate()[1].decode()
            if running.returncode == program.INTERRUPTED:
                self.assertEqual(len(error.splitlines()), 1, error)
                self.assertIn("mm2 resume " + self.path("stats"), error)
                self.assert_succeeds(program.run("resume", self.path("stats")))
                return
            self.assertIn(running.returncode, (program.OK, -signal.SIGINT), error)
            latest *= 0.9 if running.returncode == program.OK else 1.1
            for name in ("stats", "stats.journal"):
                if os.path.exists(self.path(name)):
                    os.remove(self.path(name))
            shutil.rmtree(self.path("stats.partial"), ignore_errors=True)
        self.fail("no run was interrupted in 200 tries")

    def test_places_that_would_harm_something_are_refused(self):
        for verb, command in WRITING.items():
            with self.subTest(verb):
                model = next(part for part in command[1:] if os.path.isdir(part))
                for out in (model, os.path.join(model, "inside"), self.folder):
                    before = content(model)
                    self.assert_fails(program.run(*with_out(command, out)), 2)
                    self.assertEqual(content(model), before)

    def test_calibrate_counts_what_is_marked_and_says_what_it_needs(self):
        tokens, out = self.tokens(), self.path("stats.safetensors")
        report = json.loads(self.assert_succeeds(program.run("calibrate", program.TINY, tokens, "-o", out, "--json")))
        self.assertEqual(report["tokens"], sum(20 + i for i in range(12)))
        self.assertEqual(report["counted"], 12 * 20)
        self.assert_fails(program.run("calibrate", program.TINY, tokens, "-o", out), 2, "exists")
        self.assert_fails(program.run("calibrate", program.TINY, tokens, "-o", out + "2", "--mem", "1M"), 4, str(report["memory_bytes"]))
        self.assert_fails(program.run("calibrate", program.TINY, tokens, "-o", out + "2", "--collect", "reap,everything"), 2, "collect")
        self.assertFalse(os.path.exists(out + "2.partial"))

    def test_calibrate_takes_ids_as_numbers_or_as_json(self):
        ids = [(7 * i) % 1600 for i in range(50)]
        with open(self.path("ids.bin"), "wb") as file:
            file.write(struct.pack("<50i", *ids))
        with open(self.path("ids.jsonl"), "w") as file:
            for first in range(0, 50, 20):
                file.write(json.dumps({"ids": ids[first:first + 20]}) + "\n")
        self.assert_succeeds(program.run("calibrate", program.TINY, "--tokens-bin", self.path("ids.bin"), "--max-length", 20, "-o", self.path("a")))
        self.assert_succeeds(program.run("calibrate", program.TINY, self.path("ids.jsonl"), "-o", self.path("b")))
        self.assertEqual(content(self.path("a")), content(self.path("b")))
        self.assert_fails(program.run("calibrate", program.TINY, "-o", self.path("c")), 2, "tokens")

    def tensors(self, folder):
        """{name: digest} as verify sees them."""
        done = program.run("verify", folder, "--hash", "--json")
        return json.loads(self.assert_succeeds(done))["hashes"]["tensors"]

    def test_every_four_bit_model_comes_back_from_another_layout_as_it_was(self):
        for model, there, back, options in (
                ("gptq", "ct_packed", "gptq", []), ("gptq", "gptq_v2", "gptq", []), ("gptq", "awq", "gptq", ["--sym", "true"]),
                ("gptq_v2", "auto_round", "gptq_v2", []), ("autoround", "ct_packed", "auto_round", ["--scale-dtype", "F16"]),
                ("awq", "gptq_v2", "awq", []), ("ct_w4a16", "gptq", "ct_packed", ["--scale-dtype", "BF16"]),
                ("gptq_desc_act", "gptq_v2", "gptq", [])):
            with self.subTest(model=model, there=there):
                first, second = self.path(f"{model}-{there}"), self.path(f"{model}-{there}-back")
                self.assert_succeeds(program.run("repack", program.data("models", model), "--to", there, "-o", first))
                self.assert_succeeds(program.run("repack", first, "--to", back, "-o", second, *options))
                original = self.tensors(program.data("models", model))
                again = self.tensors(second)
                differing = sorted(name for name in original if again.get(name) != original[name])
                self.assertEqual(differing, [])

    def test_a_repacked_model_says_the_same(self):
        ids = ",".join(str(3 * i % 500) for i in range(24))

        def logits(model, name):
            self.assert_succeeds(program.run("logits", model, "--ids", ids, "--out", self.path(name), "--reference"))
            return program.read_safetensors(self.path(name))["logits"]

        model = program.data("models", "gptq")
        wanted = logits(model, "a.safetensors")
        for layout in ("gptq_v2", "ct_packed", "auto_round"):
            self.write(["repack", model, "--to", layout], layout)
            self.assertEqual(logits(self.path(layout), layout + ".safetensors"), wanted)

    def test_widening_and_narrowing_again_is_exact(self):
        model = program.data("models", "fp8")
        self.write(["convert", model, "--to", "f32"], "wide")
        self.write(["convert", self.path("wide"), "--to", "fp8"], "narrow")
        original, again = self.tensors(model), self.tensors(self.path("narrow"))
        codes = [name for name in original if name.endswith("_scale_inv")]
        self.assertTrue(codes)
        for name in codes:
            self.assertEqual(again[name], original[name])
            weight = name.replace("_scale_inv", "")
            self.assertEqual(again[weight], original[weight])
        self.assert_fails(program.run("convert", model, "--to", "bf16", "--exact", "-o", self.path("exact")), 3, "would be rounded")
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("exact")], [])

    def test_quantizing_with_statistics_is_better_than_without(self):
        stats = self.path("stats.safetensors")
        self.assert_succeeds(program.run("calibrate", program.TINY, self.tokens(), "--collect", "imatrix,hessian,act", "-o", stats))
        for name, options in (("gptq", ["--algo", "gptq"]), ("opt", ["--format", "auto_round", "--algo", "opt-rtn"]), ("nvfp4", ["--format", "nvfp4"])):
            command = ["quantize", program.TINY, "--stats", stats, *options]
            if "--format" not in command:
                command += ["--format", "gptq"]
            self.write(command, name)
            self.assert_succeeds(program.run("verify", self.path(name), "--deep"))
        self.assert_fails(program.run("quantize", program.TINY, "--format", "gptq", "--algo", "gptq", "-o", self.path("x")), 2, "stats")

    def test_doctor_knows_which_ranks_can_serve_a_model(self):
        model = program.data("models", "fp8")
        report = json.loads(program.run("doctor", model, "--tp", 3, "--json").stdout)
        self.assertTrue(any(f["check"] == "serving" and f["severity"] == "error" for f in report["findings"]), report)
        report = json.loads(self.assert_succeeds(program.run("doctor", model, "--json")))
        self.assertEqual(report["errors"], 0)

    def test_doctor_finds_a_cold_expert_and_its_repair_holds(self):
        sick = self.path("sick")
        shutil.copytree(program.data("models", "nvfp4_modelopt"), sick)
        name = "model.layers.1.block_sparse_moe.experts.3.w1.input_scale"
        listed = json.loads(self.assert_succeeds(program.run("inspect", sick, "--tensor", name, "--json")))["tensors"][0]
        with open(os.path.join(sick, listed["file"]), "r+b") as file:
            file.seek(listed["offset"])
            scale = struct.unpack("<f", file.read(4))[0]
            file.seek(listed["offset"])
            file.write(struct.pack("<f", scale / 16))
        findings = json.loads(self.assert_succeeds(program.run("doctor", sick, "--json")))["findings"]
        cold = [f for f in findings if f["check"] == "cold experts"]
        self.assertEqual(len(cold), 1)
        self.assertIn("layer 1: w1", cold[0]["where"])
        self.assertIn("experts.3.w1", cold[0]["found"])
        self.assert_succeeds(program.run("doctor", sick, "--fix", "-o", self.path("well")))
        findings = json.loads(self.assert_succeeds(program.run("doctor", self.path("well"), "--json")))["findings"]
        self.assertEqual([f for f in findings if f["check"] == "cold experts"], [])
        self.assert_fails(program.run("doctor", sick, "--fix"), 2, "out")

    def test_doctor_reads_every_value_when_asked(self):
        sick = self.path("nan")
        shutil.copytree(TINY_BF16, sick)
        listed = json.loads(self.assert_succeeds(program.run("inspect", sick, "--tensor", "model.norm.weight", "--json")))["tensors"][0]
        with open(os.path.join(sick, listed["file"]), "r+b") as file:
            file.seek(listed["offset"] + 2)
            file.write(b"\xc0\x7f")  # NaN in BF16
        done = program.run("doctor", sick, "--deep", "--json")
        self.assertEqual(done.returncode, 3)
        values = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "values"]
        self.assertEqual([f["where"] for f in values], ["model.norm.weight"])

    def test_pruning_removes_what_statistics_say_and_the_child_runs(self):
        stats = self.path("stats.safetensors")
        self.assert_succeeds(program.run("calibrate", program.TINY, self.tokens(), "-o", stats))
        for method in ("reap", "frequency", "ean_sum", "random"):
            out = self.path(method)
            done = program.run("prune", program.TINY, "--stats", stats, "--method", method, "--ratio", "0.25", "-o", out, "--mask-out", out + ".json", "--json")
            report = json.loads(self.assert_succeeds(done))
            self.assertEqual(report["kept"], 12)
            with open(out + ".json") as file:
                mask = json.load(file)
            self.assertEqual([len(mask[str(layer)]) for layer in range(4)], [4] * 4)
            self.assert_succeeds(program.run("verify", out, "--deep", "--hash"))
            self.assert_succeeds(program.run("generate", out, "--prompt", "The", "--greedy", "--max-tokens", 2))
            again = self.path(method + "-again")
            self.assert_succeeds(program.run("delete-experts", program.TINY, again, "--deleted-experts-file", out + ".json", "--num-original-experts", 16,
                                             "--num-retained-experts", 12))
            self.assertEqual(self.tensors(again), self.tensors(out))
        self.assert_fails(program.run("prune", program.TINY, "--stats", stats, "--keep", 3, "-o", self.path("x")), 2)

    def test_scales_of_the_cache_are_listed_imported_and_stripped(self):
        model = program.data("models", "nvfp4_modelopt")

        def listed(folder):
            return json.loads(self.assert_succeeds(program.run("kv-scales", folder, "--json")))["scales"]

        original = listed(model)
        self.assertEqual(len(original), 2)
        self.write(["kv-scales", model, "--strip"], "bare")
        self.assertEqual(listed(self.path("bare")), [])
        self.write(["kv-scales", self.path("bare"), "--import", model], "again")
        self.assertEqual(listed(self.path("again")), original)
        self.write(["kv-scales", model, "--min", "0.0100000001"], "raised")
        self.assertEqual([row["v_scale"] >= 0.00999 for row in listed(self.path("raised"))], [True, True])
        self.assert_fails(program.run("kv-scales", model, "--import", program.TINY, "-o", self.path("x")), 2)

    def test_synth_plans_the_true_shapes(self):
        done = program.run("synth", "--layers", 62, "-o", self.path("m2"), "--dry-run", "--json", "--mem", "1G")
        report = json.loads(done.stdout.decode() or "{}")
        if not report:  # a disk without room for the whole model says so, with both numbers
            self.assert_fails(done, 4, "are free")
            done = program.run("synth", "--layers", 1, "--experts", 8, "-o", self.path("m2"), "--dry-run", "--json")
            report = json.loads(self.assert_succeeds(done))
            self.assertEqual(report["tensors"], 11 + 8 * 3 * 2 + 4 + 2)
        else:
            # 48,239 weights and 47,864 scales.
            self.assertEqual(report["tensors"], 96103)

    def test_a_recipe_is_read_as_yaml_and_as_json_and_its_faults_have_a_place(self):
        a, b = program.data("models", "bf16_single"), program.data("tools", "pair", "model_b")
        recipe = {"models": [{"model": a}, {"model": b}], "base_model": a, "merge_method": "slerp",
                  "parameters": {"t": [{"filter": "self_attn", "value": [0, 0.5, 1]}, {"value": 0.25}]}}
        yaml = f"""
models:
  - model: {a}
  - model: "{b}"   # quoted, with a remark
base_model: {a}
merge_method: slerp
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 1]
    - value: 2.5e-1
"""
        for name, text in (("r.json", json.dumps(recipe)), ("r.yaml", yaml)):
            with open(self.path(name), "w") as file:
                file.write(text)
        as_yaml = program.run("merge", self.path("r.yaml"), "-o", self.path("y"))
        if b"without yaml-cpp" in as_yaml.stderr:
            self.skipTest("built without yaml-cpp")
        self.assert_succeeds(as_yaml)
        self.assert_succeeds(program.run("merge", self.path("r.json"), "-o", self.path("j")))
        self.assertEqual(content(self.path("y")), content(self.path("j")))
        for fault, words in ((yaml.replace("filter", "filtre"), "filtre"), (yaml + "base_model: x\n", "occurs twice"),
                             (yaml + "  - [\n", "line"), (yaml.replace("2.5e-1", ".nan"), ".nan"), ("- 1", "object")):
            with open(self.path("bad.yaml"), "w") as file:
                file.write(fault)
            self.assert_fails(program.run("merge", self.path("bad.yaml"), "-o", self.path("bad")), 2, words)

    def test_forensics_gives_the_schedule_that_merge_takes(self):
        a, b = program.data("models", "bf16_single"), program.data("tools", "pair", "model_b")
        scan = self.path("scan.json")
        self.assert_succeeds(program.run("forensics", a, b, "--out", scan, "--svg", self.path("t.svg")))
        self.write(["merge", a, b, "--t-from", scan], "merged")
        with open(os.path.join(self.path("merged"), "merge_report.json")) as file:
            merged = {row["name"]: row["t"] for row in json.load(file)["tensors"]}
        with open(scan) as file:
            self.assertEqual(merged, {row["name"]: row["t"] for row in json.load(file)["tensors"]})

    def test_a_manifest_tells_when_a_byte_has_changed(self):
        copy = self.path("copy")
        shutil.copytree(TINY_BF16, copy)
        for algorithm in ("xxh3", "sha256"):
            self.assert_succeeds(program.run("manifest", copy, "--hash", algorithm, "--manifest", self.path(algorithm)))
        self.assert_succeeds(program.run("manifest", copy))
        self.assert_succeeds(program.run("verify", copy, "--hash"))
        with open(os.path.join(copy, "model.safetensors"), "r+b") as file:
            file.seek(-2, os.SEEK_END)
            byte = file.read(1)
            file.seek(-2, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        self.assert_fails(program.run("verify", copy, "--hash"), 3)


if __name__ == "__main__":
    unittest.main()
