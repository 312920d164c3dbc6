"""Single operations, with a copy of the kernels of its own. mm2.kernels is the way in."""

from collections.abc import Sequence
from typing import Any

_Array = Any  # numpy, or anything with __dlpack__

class Matrix:
    """Packed weights [n_out, n_in]."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nbytes(self) -> int: ...

class Kernels:
    def __init__(self, isa: int = 0, n_threads: int = 0) -> None: ...
    def _describe(self) -> str: ...
    def _pack(
        self, codes: _Array, scheme: int, number: int, bits: int, patch: tuple[int, int], scales: _Array | None, zeros: _Array | None
    ) -> Matrix: ...
    def _embed(self, table: _Array, tokens: _Array, y: _Array) -> None: ...
    def _rms_norm(self, x: _Array, weight: _Array, eps: float, y: _Array) -> None: ...
    def _linear(self, x: _Array, w: Matrix, add: _Array | None, activations: int, y: _Array) -> None: ...
    def _rope_table(self, positions: _Array, theta: float, y: _Array) -> None: ...
    def _qkv(
        self,
        x: _Array,
        q: Matrix,
        k: Matrix,
        v: Matrix,
        q_norm: _Array,
        k_norm: _Array,
        rope: _Array,
        eps: float,
        activations: int,
        q_out: _Array,
        kv_out: _Array,
    ) -> None: ...
    def _attention(
        self, q: _Array, k: _Array, v: _Array, number: int, k_scales: _Array | None, v_scales: _Array | None, activations: int, y: _Array
    ) -> None: ...
    def _router(self, x: _Array, gate: Matrix, bias: _Array, ids: _Array, weights: _Array) -> None: ...
    def _experts(
        self,
        x: _Array,
        gate: Sequence[Matrix],
        up: Sequence[Matrix],
        down: Sequence[Matrix],
        ids: _Array,
        weights: _Array,
        activations: int,
        h: _Array,
    ) -> None: ...
