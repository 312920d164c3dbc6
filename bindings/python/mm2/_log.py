"""What the library has to say goes to logging: the component "format" to the logger "mm2.format"."""

from __future__ import annotations

import logging

_LOGGER = logging.getLogger("mm2")
_LOGGER.addHandler(logging.NullHandler())

TRACE = 5
_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG, TRACE)  # MM2_LOG_ERROR = 1, ...


def level() -> int:
    """The MM2_LOG_* that the logger lets through now; 0 if it is silent. Read when an object is made."""
    wanted = _LOGGER.getEffectiveLevel()
    return sum(1 for known in _LEVELS if known >= wanted)


def write(mm2_level: int, component: str, text: str) -> None:
    """Called by mm2._core, from any thread."""
    logging.getLogger(f"mm2.{component}").log(_LEVELS[max(1, min(mm2_level, len(_LEVELS))) - 1], "%s", text)
