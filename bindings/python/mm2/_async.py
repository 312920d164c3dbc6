"""A blocking iterator as an asynchronous one: it runs on a thread of its own, and ends with its consumer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Callable, TypeVar

from . import _core
from ._errors import Cancelled

T = TypeVar("T")


async def in_thread(make: Callable[[_core.Cancellation], Iterator[T]]) -> AsyncIterator[T]:
    """The items of make(cancellation). Leaving the loop, or cancelling the task, cancels the step that is running and waits until
    the iterator has cleaned up."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    cancellation = _core.Cancellation()
    done = asyncio.Event()

    def tell(call: Callable[..., object], *arguments: Any) -> None:
        try:
            loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: nobody listens any more
            cancellation.cancel()

    def work() -> None:
        try:
            items = make(cancellation)
            try:
                for item in items:
                    tell(queue.put_nowait, ("item", item))
                    if cancellation.cancelled:
                        break
            finally:
                getattr(items, "close", lambda: None)()
            tell(queue.put_nowait, ("end", None))
        except Cancelled as error:
            tell(queue.put_nowait, ("end", None) if cancellation.cancelled else ("raise", error))
        except BaseException as error:
            tell(queue.put_nowait, ("raise", error))
        finally:
            tell(done.set)

    thread = threading.Thread(target=work, name="mm2-stream", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = await queue.get()
            if kind == "end":
                return
            if kind == "raise":
                raise value
            yield value
    finally:
        cancellation.cancel()
        try:
            await done.wait()
        except asyncio.CancelledError:  # once more, as asyncio.run does at its end: the rest of a layer is not long
            thread.join()
            raise
