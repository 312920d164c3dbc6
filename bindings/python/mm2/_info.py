"""What this library is, and what this machine offers."""

from __future__ import annotations

import json
from typing import Any

from . import _core


def version() -> str:
    return _core._version()


def abi_version() -> int:
    return _core._abi_version()


def build_info() -> dict[str, Any]:
    info: dict[str, Any] = json.loads(_core._build_info())
    return info


def system_info() -> dict[str, Any]:
    info: dict[str, Any] = json.loads(_core._system_info())
    return info
