"""Where the drivers get time, sleep and chance from: looked up at each use, so that a test can replace them.

Async drivers take time and sleep from their event loop instead, which may be one in virtual time.
"""

from __future__ import annotations

import time

monotonic = time.monotonic
sleep = time.sleep


def random() -> float:
    """A number in [0, 1), for jitter."""
    from random import random as draw  # noqa: PLC0415  # a slow import that a program without jitter never needs

    return draw()
