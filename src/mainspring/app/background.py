"""One loop in a thread of its own, for blocking calls of programs that have no event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Final

_lock: Final = threading.Lock()
_loops: Final[dict[int, asyncio.AbstractEventLoop]] = {}
"""By process id: after a fork the parent's thread does not exist in the child."""


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, started at the first call in this process. Its thread ends with the process."""
    pid = os.getpid()
    loop = _loops.get(pid)
    if loop is not None:
        return loop
    with _lock:
        loop = _loops.get(pid)
        if loop is None:
            _loops.clear()
            loop = _loops[pid] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="mainspring-sync", daemon=True).start()
    return loop


def is_background(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the loop of this process's background thread."""
    return _loops.get(os.getpid()) is loop
