"""Looking at checkpoints and making new ones: the verbs of `mm2`, whose options are keywords here with `_` for `-`.

A verb that writes a folder takes `out`, and `mem`, `max_shard`, `dry_run` beside its own options; nothing is written over, the folder
appears whole, and `resume` continues what was interrupted. docs/checkpoints.md tells what each is for.
"""

from __future__ import annotations

import json
import os
from typing import Any

from . import _core
from ._errors import CheckFailed
from ._model import ProgressCallback, progress_adapter
from ._paths import find_model

Path = str | os.PathLike[str]
Report = dict[str, Any]


def run(verb: str, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """The report of a verb, by name. A check that fails raises CheckFailed, with the report in it."""
    given = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in options.items()}
    status, text, message = _core._run_tool(verb, json.dumps(given), progress_adapter(progress))
    report: Report = json.loads(text)
    if status != 0:
        failed = CheckFailed(message, status)
        failed.report = report
        raise failed
    return report


def inspect(path: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """What is in a checkpoint: configuration, tensors, formats, bytes."""
    return run("inspect", progress=progress, model=find_model(path), **options)


def verify(path: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Checks every file and value; raises CheckFailed with the report where something is wrong."""
    return run("verify", progress=progress, model=find_model(path), **options)


def doctor(path: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """What a checkpoint may suffer from, each finding with effect and remedy; `tp`, `ep`, `engine`, `deep`, `fix` with `out`."""
    return run("doctor", progress=progress, model=find_model(path), **options)


def manifest(path: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Writes manifest.json: a digest of every tensor."""
    return run("manifest", progress=progress, model=find_model(path), **options)


def forensics(a: Path, b: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """How far two checkpoints are apart, weight by weight, and a schedule of t; `out` takes the table."""
    return run("forensics", progress=progress, a=find_model(a), b=find_model(b), **options)


def merge(models: list[Path], out: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Merges checkpoints; the first is the base. `method`, `t`, `t_from`, `only`, `scale_search` ..."""
    return run("merge", progress=progress, models=[find_model(model) for model in models], out=out, **options)


def convert(path: Path, out: Path, *, to: str, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """FP8 into BF16, F16 or F32 and back: `to` is "bf16", "f16", "f32", "fp8", "fp8-ct", "fp8-channel" or "fp8-tensor"."""
    return run("convert", progress=progress, model=find_model(path), out=out, to=to, **options)


def quantize(path: Path, out: Path, *, format: str, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Matrices in 4 or 8 bits: `format` is a layout ("gptq", "auto_round", "awq", "ct_packed", "nvfp4" ...), `algo` how codes are found."""
    return run("quantize", progress=progress, model=find_model(path), out=out, format=format, **options)


def repack(path: Path, out: Path, *, to: str, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """The same codes in another layout, every number as it was."""
    return run("repack", progress=progress, model=find_model(path), out=out, to=to, **options)


def calibrate(path: Path, tokens: Path | None, out: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Runs tokens (JSON lines {"ids": [..]}; None with `tokens_bin`) through the model layer by layer; `collect`: "reap", "imatrix", "act", "kv", "hessian"."""
    if tokens is not None:
        options["tokens"] = tokens
    return run("calibrate", progress=progress, model=find_model(path), out=out, **options)


def prune(path: Path, *, stats: Path, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Leaves out the experts that matter least: `ratio` or `keep`, `method`, `out`, `mask_out`."""
    return run("prune", progress=progress, model=find_model(path), stats=stats, **options)


def match_experts(path: Path, reference: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Which experts of a model a pruned one has kept; raises CheckFailed where that is not certain."""
    return run("match-experts", progress=progress, model=find_model(path), reference=find_model(reference), **options)


def delete_experts(path: Path, out: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Leaves experts out by `deleted_experts_file`, or those that the pruned model `compare_with` has not."""
    return run("delete-experts", progress=progress, model=find_model(path), out=out, **options)


def kv_scales(path: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Scales of an FP8 cache: listed, or with `out` taken over (`import_`, `stats`), raised (`min`), left out (`strip`, `strip_bias`)."""
    if "import_" in options:
        options["import"] = options.pop("import_")
    return run("kv-scales", progress=progress, model=find_model(path), **options)


def to_megatron(path: Path, out: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """The files of Megatron's ranks: `tp`, `pp`, `ep`, `etp`, `vpp`, `names`, `format`."""
    return run("to-megatron", progress=progress, model=find_model(path), out=out, **options)


def from_megatron(path: Path, out: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """One checkpoint of the files of Megatron's ranks, with config.json and tokenizer of `config`."""
    return run("from-megatron", progress=progress, model=path, out=out, **options)


def roundtrip(path: Path, *, chain: list[str], progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Proves that a chain of conversions gives back every byte; raises CheckFailed where it does not."""
    return run("roundtrip", progress=progress, model=find_model(path), chain=chain, **options)


def shard_plan(path: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """What each device would hold, and what engines would refuse."""
    return run("shard-plan", progress=progress, model=find_model(path), **options)


def reshard(path: Path, out: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """The same checkpoint in shards of another size."""
    return run("reshard", progress=progress, model=find_model(path), out=out, **options)


def resume(out: Path, *, progress: ProgressCallback | None = None, **options: Any) -> Report:
    """Continues what was interrupted while writing `out`."""
    return run("resume", progress=progress, out=out, **options)
