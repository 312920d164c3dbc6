"""A loaded checkpoint and what belongs to it."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from ._paths import find_model
from ._text import ChatTemplate, Messages, Tokenizer, Tools

if TYPE_CHECKING:
    from ._engine import Engine

ISAS = {"auto": 0, "generic": 1, "avx2": 2, "avx512": 3, "reference": 100, "reference_f64": 101}
DEVICES = {"cpu": 0, "cuda": 1}
_THREE_WAY = {None: 0, False: 1, True: 2}
_STAGES = ("open", "load", "pack", "tool")


class Progress(NamedTuple):
    stage: str  # "open", "load", "pack" or "tool"
    done: int  # bytes
    total: int  # 0 = unknown
    subject: str  # file or tensor


ProgressCallback = Callable[[Progress], object]


class ModelInfo(NamedTuple):
    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    rotary_dim: int
    n_experts: int
    top_k: int
    intermediate: int
    n_vocab: int
    max_positions: int
    rope_theta: float
    n_parameters: int
    weight_bytes: int
    active_bytes_per_token: int
    isa: str
    has_weights: bool
    device: str  # "cpu" or "cuda"


class Memory(NamedTuple):
    """Bytes per part."""

    host_weights: int
    host_kv: int
    host_buffers: int
    device_weights: int
    device_kv: int
    device_buffers: int
    load_peak_host: int
    load_peak_device: int


def choice(name: str, value: Any, choices: Mapping[Any, int]) -> int:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, allowed are {', '.join(map(repr, choices))}")
    return choices[value]


def name_of(number: int, choices: Mapping[str, int]) -> str:
    return next((name for name, known in choices.items() if known == number), str(number))


def parse_device(text: str) -> tuple[int, int]:
    """The kind and the index of "cpu", "cuda" or "cuda:N"."""
    name, colon, index = text.partition(":")
    if name not in DEVICES or (colon and (name == "cpu" or not index.isascii() or not index.isdecimal() or len(index) > 4)):
        raise ValueError(f"device is {text!r}, allowed are 'cpu', 'cuda', 'cuda:N'")
    return DEVICES[name], int(index) if colon else 0


def progress_adapter(callback: ProgressCallback | None) -> Callable[[int, int, int, str], object] | None:
    if callback is None:
        return None
    hear = callback
    return lambda stage, done, total, subject: hear(Progress(_STAGES[stage], done, total, subject))


def tqdm_progress(bar: Any) -> ProgressCallback:
    """A progress callback that moves a tqdm bar: with tqdm(unit="B", unit_scale=True) as bar: load(path, progress=tqdm_progress(bar))."""

    def report(progress: Progress) -> None:
        if bar.total != progress.total or bar.desc != progress.stage:
            bar.reset(total=progress.total or None)
            bar.desc = progress.stage
        bar.update(progress.done - bar.n)

    return report


class Model(_core.Model):
    """An immutable checkpoint; any number of engines on any threads share it. See load()."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        isa: str = "auto",
        n_threads: int = 0,
        metadata_only: bool = False,
        map_weights: bool | None = None,
        packed_cache: str | os.PathLike[str] | None = None,
        progress: ProgressCallback | None = None,
        device: str = "cpu",
        device_plugin: str | os.PathLike[str] | None = None,
    ) -> None:
        kind, index = parse_device(device)
        self.path = find_model(path)
        super().__init__(
            self.path,
            isa=choice("isa", isa, ISAS),
            n_threads=n_threads,
            metadata_only=metadata_only,
            map_weights=choice("map_weights", map_weights, _THREE_WAY),
            packed_cache=None if packed_cache is None else os.fspath(packed_cache),
            progress=progress_adapter(progress),
            device=kind,
            device_index=index,
            device_plugin=None if device_plugin is None else os.fspath(device_plugin),
        )

    @functools.cached_property
    def info(self) -> ModelInfo:
        raw = self._info()
        raw["isa"] = name_of(raw["isa"], ISAS)
        raw["device"] = name_of(raw["device"], DEVICES)
        return ModelInfo(**raw)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.path)

    @functools.cached_property
    def chat_template(self) -> ChatTemplate:
        return ChatTemplate(self.path)

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids at which an answer ends: those of generation_config.json and of the tokenizer."""
        ids = self.describe().get("generation", {}).get("eos_token_ids", [])
        return frozenset(ids) | frozenset(self.tokenizer.describe().get("stop_ids", []))

    def describe(self) -> dict[str, Any]:
        """Configuration, weight formats, defaults for generation and memory."""
        description: dict[str, Any] = json.loads(self._describe())
        return description

    def sampling(self) -> dict[str, float]:
        """What generation_config.json says, as options of Sampler."""
        return self._sampling()

    def apply_chat_template(
        self, messages: Messages, *, tools: Tools | None = None, add_generation_prompt: bool = True, **kwargs: Any
    ) -> list[int]:
        """Token ids of a prompt. kwargs go to the template."""
        return self.chat_template.render(
            messages, self.tokenizer, tools=tools, add_generation_prompt=add_generation_prompt, **kwargs
        ).ids

    def engine(self, **options: Any) -> Engine:
        """An engine on this model; options as of Engine."""
        from ._engine import Engine

        return Engine(self, **options)

    def estimate(self, **options: Any) -> Memory:
        """Bytes that an engine with these options would hold."""
        from ._engine import engine_options

        return Memory(**_core._estimate(self, engine_options(**options)))


def load(
    path: str | os.PathLike[str],
    *,
    isa: str = "auto",
    n_threads: int = 0,
    metadata_only: bool = False,
    map_weights: bool | None = None,
    packed_cache: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
    device: str = "cpu",
    device_plugin: str | os.PathLike[str] | None = None,
) -> Model:
    """Loads a checkpoint.

    path: a folder, or the id of a repository in the local cache of Hugging Face; nothing is downloaded.
    isa: "auto", "generic", "avx2", "avx512"; "reference" and "reference_f64" are slow and for checking.
    map_weights: None: where the file's layout suits the kernels; False: copy; True: fail if the files cannot be mapped.
    packed_cache: a folder for packed weights, which the next load maps.
    progress: called with a Progress; what it raises ends the load and comes out here. So does Ctrl-C.
    device: "cpu", "cuda" or "cuda:N"; system_info()["cuda"] tells what there is.
    device_plugin: the file of the CUDA plug-in; libmm2_cuda.so beside the library unless said.
    """
    return Model(
        path,
        isa=isa,
        n_threads=n_threads,
        metadata_only=metadata_only,
        map_weights=map_weights,
        packed_cache=packed_cache,
        progress=progress,
        device=device,
        device_plugin=device_plugin,
    )
