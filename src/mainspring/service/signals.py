"""SIGINT and SIGTERM for the length of a block; before and after it, whoever had them has them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from mainspring.errors import SupervisorError

STOPPING = (signal.SIGINT, signal.SIGTERM)

Before = Callable[[int, FrameType | None], object] | int | None


@contextmanager
def caught(told: Callable[[signal.Signals], None]) -> Generator[None, None, None]:
    """Call `told(signal)` on the running loop for each signal that asks the process to stop.

    Raises SupervisorError outside the main thread: Python delivers signals there only.
    """
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in STOPPING}
    taken: list[signal.Signals] = []
    try:
        for each in STOPPING:
            _take(loop, each, told)
            taken.append(each)
        yield
    finally:
        for each in taken:
            _give_back(loop, each, before[each])


def _take(loop: asyncio.AbstractEventLoop, each: signal.Signals, told: Callable[[signal.Signals], None]) -> None:
    try:
        loop.add_signal_handler(each, told, each)
    except NotImplementedError:  # Windows: its loops have no signals

        def pass_on(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(told, each)

        signal.signal(each, pass_on)
    except (ValueError, RuntimeError) as error:
        raise SupervisorError("signals reach the main thread only; stop the supervisor in another way here") from error


def _give_back(loop: asyncio.AbstractEventLoop, each: signal.Signals, before: Before) -> None:
    try:
        loop.remove_signal_handler(each)
    except NotImplementedError:
        pass  # Windows, see above
    if before is not None:  # None: it was not set from Python, and cannot be from here
        signal.signal(each, before)
