"""Identifiers: UUIDv7 as text, made by the caller before anything is sent, so that every add can be repeated.

Layout after RFC 9562 §5.7: 48 bits of milliseconds, 12 bits of the fraction of that millisecond, 62 random bits.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

IdSource = Callable[[], str]
"""Anything that makes a new identifier on each call; tests pass a counter."""

_VERSION = 0x7000
_VARIANT = 0x8000_0000_0000_0000
_RANDOM_MASK = 0x3FFF_FFFF_FFFF_FFFF
_STEPS_PER_MS = 4096


class UuidSource:
    """Makes UUIDv7 identifiers that only grow within this source, also when the clock stands or steps back.

    Safe to call from many threads. 122 bits, of which 62 are random: ids of two processes do not meet.

    >>> make = UuidSource()
    >>> make() < make()
    True
    """

    def __init__(
        self,
        time_ns: Callable[[], int] = time.time_ns,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._time_ns = time_ns
        self._entropy = entropy
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        tick = self._time_ns() * _STEPS_PER_MS // 1_000_000
        with self._lock:
            if tick <= self._last:
                tick = self._last + 1
            self._last = tick
        high = (tick // _STEPS_PER_MS) << 16 | _VERSION | (tick % _STEPS_PER_MS)
        low = _VARIANT | (int.from_bytes(self._entropy(8), "big") & _RANDOM_MASK)
        text = (high << 64 | low).to_bytes(16, "big").hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


new_id: IdSource = UuidSource()
"""The source that everything uses unless it is given another."""


def created_at(identifier: str) -> float:
    """When a UUIDv7 was made, in seconds since 1970 (millisecond precision).

    Raises ValueError when the text is no UUIDv7.
    """
    digits = identifier.replace("-", "")
    if len(digits) != 32 or digits[12] != "7":
        raise ValueError(f"{identifier!r} is not a UUIDv7")
    return int(digits[:12], 16) / 1000
