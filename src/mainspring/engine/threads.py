"""Sync tasks in threads: our own pool, contextvars taken along.

A thread cannot be stopped from outside. So when a sync function is late, cancelled or told to stop, a flag is set
that it may look at, and its slot and lease stay held until it returns: a retry never runs beside it (API.md D25).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context


class Threads:
    """Runs functions in at most `size` threads, which start when they are needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, fn: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """The function's value, or its error raised. Its contextvars are a copy of the caller's."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._size, thread_name_prefix="mainspring-task")
        context = copy_context()
        loop = asyncio.get_running_loop()
        value, error = await loop.run_in_executor(self._pool, context.run, called, fn, args, kwargs)
        if error is None:
            return value
        try:
            if type(error) is KeyboardInterrupt:  # a real one never comes in a thread, and it would end the program
                raise RuntimeError("the task raised KeyboardInterrupt") from error
            raise error
        finally:
            del error  # else the error's traceback holds this frame, which holds the error

    def close(self) -> None:
        """Take no more; threads that still run are left to end by themselves."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def called(
    fn: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[object, BaseException | None]:
    """The value or the error as values: a future takes neither a StopIteration nor an exit of the interpreter."""
    try:
        return fn(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001  # raised again where it is awaited
        return None, error
