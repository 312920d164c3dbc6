"""Claims about failures: exit codes and one line that names what is wrong."""
import json
import os
import resource
import shutil
import signal
import tempfile
import unittest

import program


def limit_file_size():
    """In the child: files may grow to 4 KB; a write beyond fails instead of killing the process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


class Errors(program.ProgramTest):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.out = os.path.join(self.folder, "logits.safetensors")

    def logits(self, model, *arguments, **options):
        return program.run("logits", model, "--out", self.out, *arguments, **options)

    def test_a_folder_that_is_no_checkpoint(self):
        self.assert_fails(self.logits(self.folder, "--ids", "1"), program.INVALID_INPUT, self.folder, "model.safetensors")

    def test_a_model_that_does_not_exist(self):
        self.assert_fails(self.logits("no-such-folder", "--ids", "1"), program.INVALID_INPUT, "no-such-folder")

    def test_a_missing_shard_is_named(self):
        done = self.logits(program.data("broken", "24_missing_shard"), "--ids", "1")
        self.assert_fails(done, program.INVALID_INPUT, "model-00001-of-00002.safetensors")

    def test_a_missing_tensor_is_named(self):
        done = self.logits(program.data("broken", "38_missing_tensor"), "--ids", "1")
        self.assert_fails(done, program.INVALID_INPUT, "experts.1.w2")

    def test_an_id_beyond_the_vocabulary(self):
        done = self.logits(program.TINY, "--ids", "1,1664")
        self.assert_fails(done, program.INVALID_INPUT, "1664")
        self.assertEqual(os.listdir(self.folder), [])

    def test_ids_that_are_no_numbers(self):
        self.assert_fails(self.logits(program.TINY, "--ids", "1,two"), program.USAGE, "two")

    def test_a_prompt_longer_than_the_pool(self):
        ids = ",".join(["5"] * 300)
        done = program.run("generate", program.TINY, "--ids", ids, "--kv-tokens", 128)
        self.assert_fails(done, program.RESOURCES, "300", "128", "--kv-tokens")

    def test_a_prompt_longer_than_the_model(self):
        ids = ",".join(["5"] * 5000)
        done = program.run("generate", program.TINY, "--ids", ids)
        self.assert_fails(done, program.INVALID_INPUT, "5000", "4096")

    def test_a_full_disk_leaves_nothing_behind(self):
        done = self.logits(program.TINY, "--ids", "1,2,3,4", preexec_fn=limit_file_size)
        self.assert_fails(done, program.RESOURCES, self.out)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_full_disk_keeps_the_file_that_was_there(self):
        with open(self.out, "w") as file:
            file.write("before")
        done = self.logits(program.TINY, "--ids", "1,2,3,4", preexec_fn=limit_file_size)
        self.assert_fails(done, program.RESOURCES)
        with open(self.out) as file:
            self.assertEqual(file.read(), "before")

    def test_a_folder_that_cannot_be_written_to(self):
        done = program.run("logits", program.TINY, "--ids", "1", "--out", os.path.join(self.folder, "none", "x.safetensors"))
        self.assert_fails(done, program.RESOURCES, "No such file")

    def test_tools_that_are_no_json(self):
        path = os.path.join(self.folder, "tools.json")
        with open(path, "w") as file:
            file.write("[{]")
        self.assert_fails(program.run("chat", program.TINY, "-p", "Hi", "--tools", path), program.INVALID_INPUT, "tools.json")

    def test_every_broken_file_is_refused_by_verify(self):
        with open(program.data("broken", "cases.json")) as file:
            cases = json.load(file)["cases"]
        for case in cases:
            with self.subTest(case["path"]):
                done = program.run("verify", program.data("broken", case["path"]), "--deep", "--json")
                if case["expect"] == "ok":
                    self.assertEqual(done.returncode, program.OK, done.stderr.decode())
                else:
                    self.assertIn(done.returncode, (program.INVALID_INPUT, program.CHECK_FAILED), done.stderr.decode())
                    self.assertEqual(len(done.stderr.decode().splitlines()), 1, done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
