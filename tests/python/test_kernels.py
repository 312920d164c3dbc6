"""Every operation alone: against plain numpy in FP64, and one answer from every instruction set."""
import unittest

import mm2
import numpy as np
from mm2 import kernels
from support import tiny

try:
    import torch
except ImportError:
    torch = None

ISAS = [name for name in kernels.describe()["isas"] if name != "reference"]
RANDOM = np.random.default_rng(5)
EPS = 2.0**-24  # half the distance of two floats just above 1


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def to_bf16(x):
    """The bits of the nearest bfloat16, ties to even."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def e4m3(x):
    """The nearest number of E4M3, ties to the even code, the largest for what is beyond it."""
    code = np.arange(127)
    exponent, fraction = code >> 3, code & 7
    values = np.where(exponent == 0, fraction * 2.0**-9, (1 + fraction / 8) * 2.0 ** (exponent - 7.0))
    above = np.clip(np.searchsorted(values, np.abs(x)), 1, 126)
    low, high = np.abs(x) - values[above - 1], values[above] - np.abs(x)
    down = (low < high) | ((low == high) & (above % 2 == 1))
    return np.copysign(np.where(down, values[above - 1], values[above]), x)


class Operations(unittest.TestCase):
    def on_every_isa(self, run):
        """The result, the same bits from every instruction set with one thread and with two."""
        results = [run(kernels.Kernels(isa, threads)) for isa in ISAS for threads in (1, 2)]
        for other in results[1:]:
            for a, b in zip(np.atleast_1d(results[0]), np.atleast_1d(other)):
                np.testing.assert_array_equal(a, b)
        return results[0]

    def test_rms_norm_divides_by_the_root_of_the_mean_square(self):
        x, w = normal(3, 200), normal(200)
        y = self.on_every_isa(lambda k: k.rms_norm(x, w, 1e-6))
        wide = x.astype(np.float64)
        exact = wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + 1e-6) * w
        np.testing.assert_array_less(np.abs(y - exact), np.abs(exact) * 120 * EPS + 1e-30)

    def test_linear_is_within_its_roundings_of_the_exact_product(self):
        x, w, add = normal(5, 96), normal(70, 96), normal(5, 70)
        # A chain of products and sums errs by at most one rounding each, of the sum of sizes.
        bound = 2 * (96 + 2) * EPS * (np.abs(x).astype(np.float64) @ np.abs(w).T.astype(np.float64) + np.abs(add))
        y = self.on_every_isa(lambda k: k.linear(x, k.pack(w), add, activations="f32"))
        np.testing.assert_array_less(np.abs(y - (x.astype(np.float64) @ w.T.astype(np.float64) + add)), bound)
        bits = to_bf16(w)
        y = self.on_every_isa(lambda k: k.linear(x, k.pack(bits)))
        exact = from_bf16(to_bf16(x)).astype(np.float64) @ from_bf16(bits).T.astype(np.float64)
        np.testing.assert_array_less(np.abs(y - exact), bound)

    def test_linear_multiplies_codes_of_every_scheme(self):
        x, codes = from_bf16(to_bf16(normal(3, 128))), RANDOM.integers(0, 256, (64, 128)).astype(np.uint8)
        scales = 2.0 ** RANDOM.integers(-3, 3, (64, 2)).astype(np.float32)
        zeros = RANDOM.integers(0, 16, (64, 2)).astype(np.uint8)
        e2m1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
        wide = np.repeat(scales.astype(np.float64), 64, axis=1)
        four = codes % 16
        cases = [
            (codes, {"scheme": "integer", "bits": 8}, (codes - 128.0) * wide),
            (four, {"scheme": "integer", "bits": 4}, (four - 8.0) * wide),
            (four, {"scheme": "integer", "bits": 4, "zeros": zeros}, (four - np.repeat(zeros, 64, axis=1).astype(float)) * wide),
        ]
        for given, options, values in cases:
            y = self.on_every_isa(lambda k: k.linear(x, k.pack(given, patch=(1, 64), scales=scales, **options)))
            bound = 4 * 130 * EPS * (np.abs(x.astype(np.float64)) @ (np.abs(values) + 16 * wide).T)
            np.testing.assert_array_less(np.abs(y - x.astype(np.float64) @ values.T), bound, options)
        small = 2.0 ** RANDOM.integers(-3, 3, (64, 4)).astype(np.float32)
        y = self.on_every_isa(
            lambda k: k.linear(x, k.pack(four, scheme="fp4", number="e8m0", patch=(1, 32), scales=small)))
        values = e2m1[four] * np.repeat(small.astype(np.float64), 32, axis=1)
        np.testing.assert_array_less(np.abs(y - x.astype(np.float64) @ values.T),
                                     4 * 130 * EPS * (np.abs(x.astype(np.float64)) @ np.abs(values).T) + 1e-30)

    def test_rope_table_holds_cosines_and_sines(self):
        at = np.array([0, 1, 77, 4000], np.int32)
        table = self.on_every_isa(lambda k: k.rope_table(at, 8, 10000.0))
        angles = at[:, None] * 10000.0 ** (-np.arange(4) / 4)
        np.testing.assert_allclose(table, np.concatenate([np.cos(angles), np.sin(angles)], axis=1), atol=2 * EPS, rtol=0)

    def test_embed_copies_rows(self):
        table, tokens = normal(10, 6), np.array([3, 0, 9], np.int32)
        np.testing.assert_array_equal(kernels.embed(table, tokens), table[tokens])
        np.testing.assert_array_equal(kernels.embed(to_bf16(table), tokens), from_bf16(to_bf16(table))[tokens])

    def test_router_selects_with_the_bias_and_weighs_without(self):
        x, gate, bias = normal(9, 40), normal(16, 40), normal(16)
        both = self.on_every_isa(lambda k: np.stack([a.astype(np.float64) for a in k.router(x, k.pack(gate), bias, 4)]))
        score = 1 / (1 + np.exp(-(x.astype(np.float64) @ gate.T.astype(np.float64))))
        ids = np.sort(np.argsort(-(score + bias), axis=1)[:, :4], axis=1)
        np.testing.assert_array_equal(both[0].astype(int), ids)
        chosen = np.take_along_axis(score, ids, axis=1)
        np.testing.assert_allclose(both[1], chosen / chosen.sum(axis=1, keepdims=True), rtol=1e-5)

    def test_experts_are_gated_sums_in_place(self):
        x, h = normal(4, 32), normal(4, 32)
        gates, ups, downs = ([normal(24, 32) for _ in range(3)], [normal(24, 32) for _ in range(3)], [normal(32, 24) for _ in range(3)])
        ids = np.array([[0, 1], [0, 2], [1, 2], [0, 1]], np.int32)
        weights = np.abs(normal(4, 2))

        def run(k):
            to = h.copy()
            packed = [[k.pack(m) for m in matrices] for matrices in (gates, ups, downs)]
            self.assertIs(k.experts(x, *packed, ids, weights, activations="f32", out=to), to)
            return to

        exact = h.astype(np.float64)
        for t in range(4):
            for i, weight in zip(ids[t], weights[t]):
                gate, up, down = (m[i].astype(np.float64) for m in (gates, ups, downs))
                a = gate @ x[t]
                exact[t] += weight * (down @ (a / (1 + np.exp(-a)) * (up @ x[t])))
        np.testing.assert_allclose(self.on_every_isa(run), exact, rtol=1e-4, atol=1e-3)

    def test_swiglu_is_one_expert_for_all(self):
        x, gate, up, down = normal(3, 32), normal(24, 32), normal(24, 32), normal(32, 24)
        y = kernels.swiglu(x, kernels.pack(gate), kernels.pack(up), kernels.pack(down), activations="f32")
        a = x.astype(np.float64) @ gate.T
        np.testing.assert_allclose(y, (a / (1 + np.exp(-a)) * (x @ up.T)) @ down.T, rtol=1e-4, atol=1e-4)

    def test_attention_is_a_causal_softmax(self):
        n_tokens, n_positions = 5, 130
        q, k, v = normal(n_tokens, 6, 16), normal(n_positions, 2, 16), normal(n_positions, 2, 16)
        y = self.on_every_isa(lambda one: one.attention(q, k, v, kv_dtype="f32", activations="f32"))
        for t in range(n_tokens):
            end = n_positions - n_tokens + t + 1
            for head in range(6):
                score = k[:end, head // 3].astype(np.float64) @ q[t, head] / 4
                share = np.exp(score - score.max())
                np.testing.assert_allclose(y[t, head], share / share.sum() @ v[:end, head // 3], atol=1e-5)

    def test_attention_reads_a_cache_of_scaled_fp8(self):
        n_positions = 70
        q, k, v = normal(2, 4, 32), normal(n_positions, 2, 32), normal(n_positions, 2, 32) * 40
        k_scales, v_scales = np.array([0.5, 0.3], np.float32), np.array([0.07, 3.0], np.float32)
        options = {"kv_dtype": "fp8", "activations": "f32", "k_scales": k_scales, "v_scales": v_scales}
        y = self.on_every_isa(lambda one: one.attention(q, k, v, **options))
        stored_k = e4m3((k / k_scales[:, None]).astype(np.float32)) * k_scales[:, None].astype(np.float64)
        stored_v = e4m3((v / v_scales[:, None]).astype(np.float32)) * v_scales[:, None].astype(np.float64)
        self.assertLess(np.abs(stored_v[:, 0]).max(), 448 * 0.0701, "some are beyond the largest number")
        for t in range(2):
            end = n_positions - 1 + t
            for head in range(4):
                score = stored_k[:end, head // 2] @ q[t, head].astype(np.float64) / np.sqrt(32)
                share = np.exp(score - score.max())
                np.testing.assert_allclose(y[t, head], share / share.sum() @ stored_v[:end, head // 2], rtol=1e-4, atol=1e-3)
        reference = kernels.Kernels("reference", 1).attention(q, k, v, **options)
        np.testing.assert_allclose(y, reference, rtol=1e-4, atol=1e-3)
        for kind, wrong in (
            (ValueError, {**options, "kv_dtype": "bf16"}),
            (ValueError, {**options, "k_scales": np.ones(3, np.float32)}),
            (ValueError, {**options, "v_scales": np.array([1, -1], np.float32)}),
            (ValueError, {**options, "v_scales": np.array([1, np.nan], np.float32)}),
            (TypeError, {**options, "v_scales": np.ones(2)}),
        ):
            with self.assertRaises(kind, msg=wrong):
                kernels.attention(q, k, v, **wrong)

    def test_qkv_projects_normalises_and_rotates(self):
        x, q, k, v = normal(3, 48), normal(64, 48), normal(32, 48), normal(32, 48)
        q_norm, k_norm, at = normal(64), normal(32), np.array([5, 6, 7], np.int32)

        def run(one):
            rope = one.rope_table(at, 8, 10000.0)
            parts = one.qkv(x, one.pack(q), one.pack(k), one.pack(v), q_norm, k_norm, rope, 16, 1e-6, activations="f32")
            return np.concatenate([part.reshape(3, -1) for part in parts], axis=1)

        def normed(w, norm):
            y = x.astype(np.float64) @ w.T
            y = (y / np.sqrt((y**2).mean(axis=1, keepdims=True) + 1e-6) * norm).reshape(3, -1, 16)
            angles = at[:, None] * 10000.0 ** (-np.arange(4) / 4)
            cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
            a, b = y[:, :, :4].copy(), y[:, :, 4:8].copy()
            y[:, :, :4], y[:, :, 4:8] = a * cos - b * sin, b * cos + a * sin
            return y.reshape(3, -1)

        exact = np.concatenate([normed(q, q_norm), normed(k, k_norm), x.astype(np.float64) @ v.T], axis=1)
        np.testing.assert_allclose(self.on_every_isa(run), exact, atol=1e-4)


class Arrays(unittest.TestCase):
    def test_out_is_written_where_it_lies(self):
        x, w, out = normal(2, 8), normal(8), np.full((2, 8), np.nan, np.float32)
        self.assertIs(kernels.rms_norm(x, w, out=out), out)
        np.testing.assert_array_equal(out, kernels.rms_norm(x, w))

    def test_what_does_not_fit_is_refused_by_name(self):
        x, w = normal(2, 8), normal(8)
        frozen = np.zeros((2, 8), np.float32)
        frozen.flags.writeable = False
        for kind, wrong in (
            (TypeError, lambda: kernels.rms_norm(x.astype(np.float64), w)),
            (ValueError, lambda: kernels.rms_norm(x[:, ::2], w[:4])),
            (ValueError, lambda: kernels.rms_norm(x, w[:7])),
            (ValueError, lambda: kernels.rms_norm(x, w, out=frozen)),
            (ValueError, lambda: kernels.rms_norm(x, w, out=np.zeros((2, 7), np.float32))),
            (ValueError, lambda: kernels.rms_norm(x, w, -1.0)),
            (TypeError, lambda: kernels.linear(x, w)),
            (ValueError, lambda: kernels.linear(x, kernels.pack(normal(4, 9)))),
            (ValueError, lambda: kernels.embed(normal(4, 4), np.array([4], np.int32))),
            (ValueError, lambda: kernels.Kernels("avx1024")),
            (mm2.Unsupported, lambda: kernels.Kernels("reference_f64")),
            (mm2.InvalidArgument, lambda: kernels.pack(np.full((2, 32), 16, np.uint8), scheme="integer", bits=4, patch=(1, 32),
                                                       scales=np.ones((2, 1), np.float32))),
        ):
            with self.assertRaises(kind):
                wrong()

    def test_fields_of_records_are_refused_and_not_read_as_if_they_were_next_to_each_other(self):
        x, records = normal(2, 8), np.zeros(8, [("gain", "<f4"), ("tag", "u1")])
        records["gain"] = normal(8)
        askew = np.frombuffer(bytes(33), np.uint8)[1:].view(np.float32)
        for wrong in (records["gain"], askew):  # numpy itself says of both that they are not aligned
            with self.assertRaises((TypeError, ValueError)):
                kernels.rms_norm(x, wrong)

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_torch_goes_in_and_out_without_a_copy(self):
        x, w = torch.randn(3, 16), torch.randn(5, 16).to(torch.bfloat16)
        packed = kernels.pack(w)
        y = kernels.linear(x, packed)
        self.assertIsInstance(y, torch.Tensor)
        torch.testing.assert_close(y, x.to(torch.bfloat16).float() @ w.float().T)
        out = torch.empty(3, 5)
        address = out.data_ptr()
        self.assertIs(kernels.linear(x, packed, out=out), out)
        self.assertEqual(out.data_ptr(), address)
        self.assertTrue(torch.equal(out, y))
        logits_like = torch.from_dlpack(tiny().engine().step([mm2.Rows(0, [1])]))
        self.assertEqual(tuple(logits_like.shape), (1, 1664))


if __name__ == "__main__":
    unittest.main()
