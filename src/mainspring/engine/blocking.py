"""Asking a loop from blocking code, in another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import wait as wait_for
from typing import Any, Final, TypeVar

from mainspring.errors import AppClosed

T = TypeVar("T")

STILL_THERE: Final = 1.0
"""Seconds between two looks of a blocking call at whether the loop it waits for still lives."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def result_of(verb: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop) -> T:
    """What the verb returns or raises in that loop, which must not be that of this thread. Raises AppClosed when it ends."""
    coroutine = verb()
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError as error:  # the loop has just been closed
        coroutine.close()
        raise AppClosed("the event loop of this app has ended") from error
    try:
        while not future.done():
            wait_for([future], STILL_THERE)
            if loop.is_closed() and not future.done():
                raise AppClosed("the event loop of this app ended before it could answer")
    except BaseException:
        future.cancel()
        raise
    try:
        return future.result()
    except CancelledError:
        raise AppClosed("the event loop of this app ended before it could answer") from None
