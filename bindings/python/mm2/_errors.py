"""Exceptions: one class for each code of mm2/status.h, all of them below Error.

Where Python has a natural class for the same thing, ours is that too: a missing file is a FileNotFoundError, an argument out
of range a ValueError.
"""

from __future__ import annotations


class Error(Exception):
    """A call that failed. code: MM2_* of mm2/status.h; native_code: errno or a driver's number, in domain."""

    code: int = 0

    def __init__(self, message: str = "", code: int | None = None, domain: int = 0, native_code: int = 0) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.domain = domain
        self.native_code = native_code


class KVExhausted(Error):
    """No free KV blocks for this step. Nothing has changed: free or preempt a sequence, or try again later."""

    code = 1


class Cancelled(Error):
    """An interrupt ended the call. Nothing has changed."""

    code = 2


class InvalidArgument(Error, ValueError):
    """The message names the argument and the allowed range."""

    code = -1


class OutOfMemory(Error, MemoryError):
    code = -2


class IOFailure(Error, OSError):
    """errno is what the system said."""

    code = -3


class FormatError(Error, ValueError):
    """A file or text breaks its format: the message names file, tensor, field and numbers."""

    code = -4


class Unsupported(Error, NotImplementedError):
    """Well-formed, but not implemented."""

    code = -5


class NotFound(Error, FileNotFoundError):
    """A file, tensor, sequence or verb that does not exist."""

    code = -6


class BudgetExceeded(Error):
    """A template used up its steps, bytes or depth."""

    code = -7


class NumericError(Error, ArithmeticError):
    """Values that are not finite, or no token left to choose from."""

    code = -8


class Busy(Error):
    """The object is in use by another thread."""

    code = -9


class CheckFailed(Error):
    """A check that was asked for ran and failed; report is what it found."""

    code = -10
    report: dict[str, object]


class DeviceError(Error):
    """A device error that the engine survives."""

    code = -20


class DeviceLost(DeviceError):
    """Sticky: from now on the engine answers queries only."""

    code = -21


class Forked(Error):
    """Used in a child of fork()."""

    code = -22


class InternalError(Error, RuntimeError):
    """A bug in mm2."""

    code = -99


class StaleLogits(Error, RuntimeError):
    """Logits of a step that is over. See Engine.step, keep."""


_BY_CODE: dict[int, type[Error]] = {
    kind.code: kind
    for kind in (
        KVExhausted, Cancelled, InvalidArgument, OutOfMemory, IOFailure, FormatError, Unsupported, NotFound, BudgetExceeded,
        NumericError, Busy, CheckFailed, DeviceError, DeviceLost, Forked, InternalError,
    )
}
_DOMAIN_ERRNO = 1


def from_status(code: int, message: str, domain: int, native_code: int) -> Error:
    """The exception of a code; called by mm2._core."""
    error = _BY_CODE.get(code, Error)(message, code, domain, native_code)
    if isinstance(error, OSError) and domain == _DOMAIN_ERRNO:
        error.errno = native_code
    return error
