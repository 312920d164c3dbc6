"""Models on a device: the plug-in is a double of tests/support, the generic kernels of the CPU behind the device table."""
import os
import unittest

import mm2
import numpy as np
from support import TINY, prompt, tiny

FAKE = os.environ["MM2_FAKE_DEVICE"]
REAL = os.environ.get("MM2_CUDA_PLUGIN", "")


class Device(unittest.TestCase):
    def test_gives_the_logits_of_the_cpu(self):
        model = mm2.load(TINY, device="cuda", device_plugin=FAKE)
        self.assertEqual((model.info.device, model.info.isa), ("cuda", "auto"))
        self.assertEqual(model.describe()["device"]["name"], "Fake 0")
        self.assertEqual(tiny().info.device, "cpu")
        ids = prompt("The library")

        def logits(of, **options):
            engine = of.engine(max_seqs=1, **options)
            self.assertEqual(engine.info.device, of.info.device)
            return np.array(engine.step([mm2.Rows(0, ids, len(ids))]))

        np.testing.assert_array_equal(logits(model, device_kernels="simple"), logits(tiny()))

    def test_tells_its_bytes_apart(self):
        model = mm2.load(TINY, device="cuda:0", device_plugin=FAKE, metadata_only=True)
        memory = model.estimate(max_seqs=1)
        self.assertGreater(memory.device_weights, 0)
        self.assertGreater(memory.device_kv, 0)
        self.assertEqual((memory.host_weights, memory.host_kv), (0, 0))

    def test_names_that_are_no_device(self):
        for name in ("gpu", "cuda:", "cuda:x", "cpu:0", "cuda:\u0661"):
            with self.assertRaisesRegex(ValueError, "allowed are 'cpu', 'cuda', 'cuda:N'"):
                mm2.load(TINY, device=name)
        with self.assertRaisesRegex(mm2.Error, "this machine has 1 device: 0"):
            mm2.load(TINY, device="cuda:3", device_plugin=FAKE)

    def test_a_plug_in_that_is_not_there(self):
        with self.assertRaisesRegex(mm2.NotFound, "there is no CUDA plug-in: searched /nowhere/plugin.so"):
            mm2.load(TINY, device="cuda", device_plugin="/nowhere/plugin.so")

    def test_system_info_tells_what_there_is(self):
        cuda = mm2.system_info()["cuda"]
        self.assertEqual(cuda["available"], bool(cuda["devices"]))
        self.assertIn("libmm2_cuda.so", cuda["detail"])
        self.assertIsInstance(mm2.build_info()["cuda"], bool)

    @unittest.skipUnless(REAL, "the plug-in is not built")
    def test_the_real_plug_in_without_a_driver(self):
        if os.path.exists("/proc/driver/nvidia/version"):
            self.skipTest("this machine has a driver")
        with self.assertRaises(mm2.Unsupported):
            mm2.load(TINY, device="cuda", device_plugin=REAL)


if __name__ == "__main__":
    unittest.main()
