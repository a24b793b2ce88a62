"""Waiting for locks of connections that are not ours: a user's own, a backup tool. They take no turns."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Final

from mainspring.errors import StoreUnavailable
from mainspring.retries.backoff import exponential
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.policy import Retry

WAITS: Final = exponential(0.001, cap=0.05, factor=1.5)


class Patience:
    """Waits that grow, up to `limit` seconds in all (0: none)."""

    def __init__(self, path: str, limit: float) -> None:
        self._path = path
        self._limit = limit
        self._start = monotonic()
        self._failures: Failures | None = None  # one is made for each batch, and hardly any meets a lock

    def wait(self, error: Exception) -> None:
        """Wait a little. Raises StoreUnavailable, with this error as its cause, when the limit is over."""
        wait = None
        if self._limit > 0:
            if self._failures is None:
                policy = Retry(on=Exception, attempts=None, backoff=WAITS, give_up_after=self._limit)
                self._failures = Failures(Terms(policy, "a lock", inner=True), self._start)
            wait = self._failures.add(error, monotonic())
        if wait is None:
            raise StoreUnavailable(
                f"another program has held a lock on {self._path} for {monotonic() - self._start:.0f} s; "
                "end its transaction, then repeat"
            ) from error
        sleep(wait)
