"""The operations of a layer, each alone, on numpy arrays or DLPack tensors (torch, jax): for experiments and comparisons.

    from mm2 import kernels
    w = kernels.pack(weight)                 # [n_out, n_in], float32, float16, or bfloat16
    y = kernels.linear(x, w)                 # x: [n_tokens, n_in], float32

Arrays are float32 with rows one after the other; they are read where they lie, without a copy. Results are numpy arrays, or torch
tensors where x is one; `out` (any such array) takes them instead. numpy has no bfloat16: its bits as uint16 count as that.
An experiment: these functions may change with any version.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _kernels
from ._kernels import Matrix
from ._model import ISAS, choice

Array = Any  # numpy or DLPack

_SCHEMES = {"plain": 0, "integer": 1, "fp8": 2, "fp4": 3}
_NUMBERS = {"f32": 0, "bf16": 1, "f16": 2, "e4m3": 4, "e8m0": 6}
_KV_NUMBERS = {"f32": 0, "bf16": 1, "fp8": 4}
_ACTIVATIONS = {"auto": 0, "bf16": 1, "f32": 2, "int8": 3}


class Kernels(_kernels.Kernels):
    """One instruction set with a team of threads. Operations on it run one at a time; the functions of this module use the best set."""

    def __init__(self, isa: str = "auto", n_threads: int = 0) -> None:
        super().__init__(choice("isa", isa, ISAS), n_threads)

    def describe(self) -> dict[str, Any]:
        """The instruction set in use, those that this machine can run, and the names of the operations."""
        description: dict[str, Any] = json.loads(self._describe())
        return description

    def pack(
        self,
        codes: Array,
        *,
        scheme: str = "plain",
        number: str = "f32",
        bits: int = 0,
        patch: tuple[int, int] = (0, 0),
        scales: Array | None = None,
        zeros: Array | None = None,
    ) -> Matrix:
        """Weights [n_out, n_in] as these kernels keep them.

        scheme "plain": numbers. Otherwise one uint8 for each code, a float32 scale (each exact in `number`) for every patch, repeated
        in all its rows: scales [n_out, patches of a row]; "integer" takes bits (4 or 8) and zeros; "fp8" is E4M3, "fp4" E2M1.
        """
        return self._pack(codes, choice("scheme", scheme, _SCHEMES), choice("number", number, _NUMBERS), bits, patch, scales, zeros)

    def embed(self, table: Array, tokens: Array, *, out: Array | None = None) -> Array:
        """Rows `tokens` (int32) of a table of numbers."""
        return self._fill(table, out, (len(tokens), table.shape[1]), lambda y: self._embed(table, tokens, y))

    def rms_norm(self, x: Array, weight: Array, eps: float = 1e-6, *, out: Array | None = None) -> Array:
        """x / sqrt(mean(x^2) + eps) * weight"""
        return self._fill(x, out, x.shape, lambda y: self._rms_norm(x, weight, eps, y))

    def linear(
        self, x: Array, w: Matrix, add: Array | None = None, *, activations: str = "auto", out: Array | None = None
    ) -> Array:
        """x w^T (+ add). activations: x enters as "bf16", which is the default, "f32" or "int8" (mm2/engine.h)."""
        entering = choice("activations", activations, _ACTIVATIONS)
        return self._fill(x, out, (x.shape[0], w.shape[0]), lambda y: self._linear(x, w, add, entering, y))

    def rope_table(self, positions: Array, rotary_dim: int, theta: float, *, out: Array | None = None) -> Array:
        """Cosines, then sines, for each position (int32)."""
        return self._fill(positions, out, (len(positions), rotary_dim), lambda y: self._rope_table(positions, theta, y))

    def qkv(
        self,
        x: Array,
        q: Matrix,
        k: Matrix,
        v: Matrix,
        q_norm: Array,
        k_norm: Array,
        rope: Array,
        head_dim: int,
        eps: float = 1e-6,
        *,
        activations: str = "auto",
    ) -> tuple[Array, Array, Array]:
        """Projections, norms over the whole width of q and of k, rotation: q [n_tokens, n_heads, head_dim], k and v likewise."""
        n = x.shape[0]
        q_out = np.empty((n, q.shape[0] // head_dim, head_dim), np.float32)
        kv_out = np.empty((n, 2, k.shape[0] // head_dim, head_dim), np.float32)
        entering = choice("activations", activations, _ACTIVATIONS)
        self._qkv(x, q, k, v, q_norm, k_norm, rope, eps, entering, q_out, kv_out)
        return _like(x, q_out), _like(x, np.ascontiguousarray(kv_out[:, 0])), _like(x, np.ascontiguousarray(kv_out[:, 1]))

    def attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        kv_dtype: str = "bf16",
        k_scales: Array | None = None,
        v_scales: Array | None = None,
        activations: str = "auto",
        out: Array | None = None,
    ) -> Array:
        """Causal attention of queries [n_tokens, n_heads, head_dim] at the last positions of k and v [n_positions, n_kv_heads, head_dim].

        kv_dtype: "f32", "bf16" or "fp8", to which keys and values are rounded first, as in a KV cache. "fp8" is E4M3 of x / scale; scales
        are [n_kv_heads], 1 where none are given.
        """
        number, entering = choice("kv_dtype", kv_dtype, _KV_NUMBERS), choice("activations", activations, _ACTIVATIONS)
        return self._fill(q, out, q.shape, lambda y: self._attention(q, k, v, number, k_scales, v_scales, entering, y))

    def router(self, x: Array, gate: Matrix, bias: Array, top_k: int) -> tuple[Array, Array]:
        """Expert ids (int32, ascending) and weights, [n_tokens, top_k]: by sigmoid + bias, weighed by sigmoid alone."""
        ids, weights = np.empty((x.shape[0], top_k), np.int32), np.empty((x.shape[0], top_k), np.float32)
        self._router(x, gate, bias, ids, weights)
        return _like(x, ids), _like(x, weights)

    def experts(
        self,
        x: Array,
        gate: Sequence[Matrix],
        up: Sequence[Matrix],
        down: Sequence[Matrix],
        ids: Array,
        weights: Array,
        *,
        activations: str = "auto",
        out: Array | None = None,
    ) -> Array:
        """The sum over each token's experts of weight * down(silu(gate x) * (up x)); out is added to, where given."""
        entering = choice("activations", activations, _ACTIVATIONS)
        fill = functools.partial(self._experts, x, list(gate), list(up), list(down), ids, weights, entering)
        return self._fill(x, out, x.shape, fill, zeroed=True)

    def swiglu(self, x: Array, gate: Matrix, up: Matrix, down: Matrix, *, activations: str = "auto", out: Array | None = None) -> Array:
        """down(silu(gate x) * (up x)): one expert that every token goes to."""
        ids, weights = np.zeros((x.shape[0], 1), np.int32), np.ones((x.shape[0], 1), np.float32)
        return self.experts(x, [gate], [up], [down], ids, weights, activations=activations, out=out)

    @staticmethod
    def _fill(like: Array, out: Array | None, shape: Sequence[int], run: Any, zeroed: bool = False) -> Array:
        if out is not None:
            run(out)
            return out
        made = (np.zeros if zeroed else np.empty)(tuple(shape), np.float32)
        run(made)
        return _like(like, made)


def _like(x: Array, made: np.ndarray[Any, Any]) -> Array:
    """The array, as torch has it where x is torch's: the same memory."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return torch.from_numpy(made)
    return made


@functools.lru_cache(maxsize=None)
def default() -> Kernels:
    """What the functions of this module use: the best instruction set, every core."""
    return Kernels()


def describe() -> dict[str, Any]:
    return default().describe()


def _of_default(name: str) -> Any:
    method = getattr(Kernels, name)

    @functools.wraps(method)
    def run(*arguments: Any, **options: Any) -> Any:
        return method(default(), *arguments, **options)

    return run


pack = _of_default("pack")
embed = _of_default("embed")
rms_norm = _of_default("rms_norm")
linear = _of_default("linear")
rope_table = _of_default("rope_table")
qkv = _of_default("qkv")
attention = _of_default("attention")
router = _of_default("router")
experts = _of_default("experts")
swiglu = _of_default("swiglu")
