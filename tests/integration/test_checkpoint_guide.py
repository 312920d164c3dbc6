"""Every command of docs/checkpoints.md runs as it stands there."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import program


class Guide(unittest.TestCase):
    def test_every_command_runs(self):
        with open(os.path.join(program.SOURCE, "docs", "checkpoints.md"), encoding="utf-8") as file:
            blocks = re.findall(r"^```sh\n(.*?)^```", file.read(), flags=re.M | re.S)
        self.assertGreater(len(blocks), 5)
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.makedirs(os.path.join(folder, "bin"))
        os.symlink(program.PROGRAM, os.path.join(folder, "bin", "mm2"))
        environment = dict(os.environ, PATH=os.path.join(folder, "bin") + ":" + os.environ["PATH"], TINY=program.TINY, MODELS=program.data("models"),
                           PARENT_B=program.data("tools", "pair", "model_b"))
        for block in blocks:
            for line in block.replace("\\\n", " ").splitlines():
                with self.subTest(line):
                    done = subprocess.run(["sh", "-e", "-c", line], cwd=folder, env=environment, capture_output=True)
                    self.assertEqual(done.returncode, 0, done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
