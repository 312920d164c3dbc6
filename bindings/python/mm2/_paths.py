"""Where a model lies: a folder, or the id of a repository that the local cache of Hugging Face holds."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ._errors import NotFound

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z")


def hub_cache() -> Path:
    if hub := os.environ.get("HF_HUB_CACHE"):
        return Path(hub)
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"


def _snapshot(repo: Path) -> Path | None:
    """The commit that refs/main names, else the only one there is."""
    main = repo / "refs" / "main"
    if main.is_file():
        named = repo / "snapshots" / main.read_text(encoding="utf-8").strip()
        if named.is_dir():
            return named
    found = list((repo / "snapshots").iterdir()) if (repo / "snapshots").is_dir() else []
    return found[0] if len(found) == 1 else None


def find_model(model: str | os.PathLike[str]) -> str:
    """The folder of a model. Nothing is downloaded."""
    path = os.fspath(model)
    if os.path.exists(path) or not _REPO_ID.match(path):
        return path
    repo = hub_cache() / ("models--" + path.replace("/", "--"))
    snapshot = _snapshot(repo)
    if snapshot is None:
        raise NotFound(f"model '{path}' is neither a folder nor in the cache {repo.parent}; nothing is downloaded")
    return str(snapshot)
