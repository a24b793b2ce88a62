"""Waiting for locks of connections that are not ours: a user's own, a backup tool. They take no turns."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Final

from mainspring.errors import StoreUnavailable

FIRST_WAIT: Final = 0.001
LONGEST_WAIT: Final = 0.05
GROWTH: Final = 1.5


class Patience:
    """Waits that grow, up to `limit` seconds in all."""

    def __init__(self, path: str, limit: float) -> None:
        self._path = path
        self._limit = limit
        self._start = monotonic()
        self._wait = FIRST_WAIT

    def wait(self, error: Exception) -> None:
        """Wait a little. Raises StoreUnavailable, with this error as its cause, when the limit is over."""
        waited = monotonic() - self._start
        if waited >= self._limit:
            raise StoreUnavailable(
                f"another program has held a lock on {self._path} for {waited:.0f} s; end its transaction, then repeat"
            ) from error
        sleep(self._wait)
        self._wait = min(self._wait * GROWTH, LONGEST_WAIT)
