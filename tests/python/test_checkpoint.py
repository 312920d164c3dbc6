"""Looking at checkpoints."""
import os
import unittest

import mm2
from support import SOURCE, TINY

BROKEN = os.path.join(SOURCE, "tests", "data", "broken")


class Checkpoints(unittest.TestCase):
    def test_inspect_tells_what_is_there(self):
        report = mm2.checkpoint.inspect(TINY)
        self.assertEqual(report["kind"], "checkpoint")
        self.assertEqual(report["n_parameters"], 7950144)

    def test_verify_reads_everything_and_tells_of_progress(self):
        seen = []
        self.assertTrue(mm2.checkpoint.verify(TINY, deep=True, progress=seen.append)["ok"])
        self.assertEqual({p.stage for p in seen}, {"tool"})

    def test_unknown_options_and_verbs_are_refused(self):
        with self.assertRaises(ValueError):
            mm2.checkpoint.inspect(TINY, colour="red")
        with self.assertRaises(FileNotFoundError):
            mm2.checkpoint.run("levitate")
        with self.assertRaises(FileNotFoundError):
            mm2.checkpoint.inspect("/no/such/folder")


if __name__ == "__main__":
    unittest.main()
