"""Looking at checkpoints without loading them: the verbs of `mm2`."""

from __future__ import annotations

import json
import os
from typing import Any

from . import _core
from ._errors import CheckFailed
from ._model import ProgressCallback, progress_adapter
from ._paths import find_model


def run(verb: str, *, progress: ProgressCallback | None = None, **options: Any) -> dict[str, Any]:
    """The report of a verb, by name. A check that fails raises CheckFailed, with the report in it."""
    given = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in options.items()}
    status, text, message = _core._run_tool(verb, json.dumps(given), progress_adapter(progress))
    report: dict[str, Any] = json.loads(text)
    if status != 0:
        failed = CheckFailed(message, status)
        failed.report = report
        raise failed
    return report


def inspect(path: str | os.PathLike[str], *, progress: ProgressCallback | None = None, **options: Any) -> dict[str, Any]:
    """What is in a checkpoint: configuration, tensors, formats, bytes. Options as of `mm2 inspect`."""
    return run("inspect", progress=progress, model=find_model(path), **options)


def verify(path: str | os.PathLike[str], *, progress: ProgressCallback | None = None, **options: Any) -> dict[str, Any]:
    """Checks every file and value; raises CheckFailed with the report where something is wrong. Options as of `mm2 verify`."""
    return run("verify", progress=progress, model=find_model(path), **options)
