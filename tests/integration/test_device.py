"""Claims about --device: the plug-in that is named or found, the same logits, and one sentence where there is no device.

The plug-ins are doubles of tests/support: the generic kernels of the CPU behind the device table, and where it is built the kernels of
CUDA on an emulator. The real one is asked where it was built; without a driver it says so.
"""
import json
import os
import re
import shutil
import tempfile
import unittest

import program

FAKE = os.environ["MM2_FAKE_DEVICE"]
EMULATED = os.environ.get("MM2_EMULATED_DEVICE", "")
REAL = os.environ.get("MM2_CUDA_PLUGIN", "")
ON_FAKE = ("--device", "cuda", "--device-plugin", FAKE, "--device-kernels", "simple")


class Device(program.ProgramTest):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def logits(self, name, *arguments):
        out = os.path.join(self.folder, name)
        done = program.run("logits", program.TINY, "--ids", "5,900,17,33,4,8,1000", "--out", out, *arguments)
        self.assert_succeeds(done)
        with open(out, "rb") as file:
            return file.read()

    def test_logits_are_those_of_the_cpu(self):
        cpu = self.logits("cpu.safetensors")
        self.assertEqual(self.logits("fake.safetensors", *ON_FAKE), cpu)
        self.assertEqual(self.logits("chunks.safetensors", *ON_FAKE, "--chunk", "3"), cpu)

    @unittest.skipUnless(EMULATED, "the emulated plug-in is not built")
    def test_logits_of_the_emulated_kernels_are_those_of_the_cpu(self):
        on_emulated = ("--device", "cuda:0", "--device-plugin", EMULATED, "--device-kernels", "simple")
        self.assertEqual(self.logits("emulated.safetensors", *on_emulated), self.logits("cpu.safetensors"))

    def test_generates_the_tokens_of_the_cpu(self):
        def ids(*arguments):
            done = program.run("generate", program.TINY, "--prompt", "The library", "--max-tokens", "8", "--greedy", "--json", *arguments)
            return json.loads(self.assert_succeeds(done))["ids"]

        self.assertEqual(ids(*ON_FAKE), ids())

    def test_estimate_tells_the_bytes_of_the_device_apart(self):
        done = program.run("estimate", program.TINY, "--json", *ON_FAKE)
        estimate = json.loads(self.assert_succeeds(done))
        self.assertGreater(estimate["device"]["weights"], 0)
        self.assertGreater(estimate["device"]["kv"], 0)
        self.assertEqual(estimate["host"]["weights"], 0)
        self.assertEqual(estimate["host"]["kv"], 0)

    def test_a_plug_in_that_is_not_there_in_the_words_of_the_loader(self):
        done = program.run("logits", program.TINY, "--ids", "1", "--out", "x", "--device", "cuda", "--device-plugin", "/nowhere/plugin.so")
        self.assert_fails(done, program.INVALID_INPUT, "there is no CUDA plug-in", "/nowhere/plugin.so", "cannot open shared object file")

    def test_a_device_that_is_not_there(self):
        done = program.run("logits", program.TINY, "--ids", "1", "--out", "x", "--device", "cuda:7", "--device-plugin", FAKE)
        self.assert_fails(done, program.INVALID_INPUT, "device_index is 7, this machine has 1 device: 0")

    def test_devices_that_have_no_such_name(self):
        for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "cuda1"):
            self.assert_fails(program.run("logits", program.TINY, "--ids", "1", "--device", name), program.USAGE, name)

    def test_doctor_lists_what_the_loader_finds(self):
        shutil.copy(FAKE, os.path.join(self.folder, "libmm2_cuda.so"))
        found = dict(os.environ, LD_LIBRARY_PATH=self.folder + ":" + os.environ.get("LD_LIBRARY_PATH", ""))
        done = program.run("doctor", "--json", env=found)
        cuda = json.loads(self.assert_succeeds(done))["cuda"]
        if cuda["plugin"] and cuda["plugin"].startswith(self.folder):  # one beside the library comes first
            self.assertTrue(cuda["available"])
            self.assertEqual([d["name"] for d in cuda["devices"]], ["Fake 0"])
            text = self.assert_succeeds(program.run("doctor", env=found))
            self.assertRegex(text, r"CUDA +available: .*libmm2_cuda.so")
            self.assertRegex(text, r"cuda:0 +Fake 0, compute capability 9.0")
        else:
            self.assertIsNotNone(cuda["plugin"])

    def test_doctor_says_why_there_is_none(self):
        cuda = json.loads(self.assert_succeeds(program.run("doctor", "--json")))["cuda"]
        self.assertEqual(cuda["available"], bool(cuda["devices"]))
        self.assertIn("libmm2_cuda.so", cuda["detail"])

    @unittest.skipUnless(REAL, "the plug-in is not built")
    def test_the_real_plug_in_without_a_driver_says_that_there_is_no_device(self):
        if os.path.exists("/proc/driver/nvidia/version"):
            self.skipTest("this machine has a driver")
        done = program.run("logits", program.TINY, "--ids", "1", "--out", "x", "--device", "cuda", "--device-plugin", REAL)
        self.assert_fails(done, program.INVALID_INPUT, "loading " + program.TINY)
        self.assertTrue(re.search("driver|device", done.stderr.decode().split(program.TINY)[-1]), done.stderr)
        done = program.run("estimate", program.TINY, "--json", "--device", "cuda", "--device-plugin", REAL)
        self.assertGreater(json.loads(self.assert_succeeds(done))["device"]["weights"], 0)


if __name__ == "__main__":
    unittest.main()
