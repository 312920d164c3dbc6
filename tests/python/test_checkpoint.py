"""Looking at checkpoints."""
import os
import tempfile
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

    def test_checkpoints_are_made_and_stopped_work_is_resumed(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "w4")
            report = mm2.checkpoint.quantize(TINY, out, format="auto_round", errors=True)
            self.assertEqual(report["matrices"], 208)
            self.assertTrue(mm2.checkpoint.verify(out, deep=True, hash=True)["ok"])

            class Enough(Exception):
                pass

            def stop(progress):
                raise Enough

            stopped = os.path.join(folder, "stopped")
            with self.assertRaises(Enough):
                mm2.checkpoint.convert(TINY, stopped, to="fp8", progress=stop)
            self.assertFalse(os.path.exists(stopped))
            mm2.checkpoint.resume(stopped)
            self.assertTrue(mm2.checkpoint.verify(stopped, hash=True)["ok"])
            with self.assertRaises(mm2.CheckFailed) as raised:
                mm2.checkpoint.doctor(TINY, tp=16)
            self.assertGreater(raised.exception.report["errors"], 0)

    def test_unknown_options_and_verbs_are_refused(self):
        with self.assertRaises(ValueError):
            mm2.checkpoint.inspect(TINY, colour="red")
        with self.assertRaises(FileNotFoundError):
            mm2.checkpoint.run("levitate")
        with self.assertRaises(FileNotFoundError):
            mm2.checkpoint.inspect("/no/such/folder")


if __name__ == "__main__":
    unittest.main()
