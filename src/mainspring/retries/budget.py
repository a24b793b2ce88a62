"""Retry budgets: at most a share of all calls may be retries, so that retries cannot multiply an overload.

Source: B. Beyer and others (ed.), "Site Reliability Engineering", chapters 21 and 22: a client-wide retry budget.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, NoReturn, Protocol

from mainspring.errors import InvalidPolicy
from mainspring.retries.backoff import checked_count

# A full budget counts in whole units of this, so that no rounding of a share adds up over many calls.
_UNIT: Final = 1_000_000_000


class Budget(Protocol):
    """What a policy asks before each retry. Called from many threads and tasks at once; must not block."""

    def called(self) -> None:
        """A call begins, with its first attempt."""
        ...

    def spend(self) -> bool:
        """Take one retry out of the budget; False: there is none, the call gives up with its error."""
        ...


class RetryBudget:
    """Retries for at most `share` of the calls, and `burst` besides: a bucket of tokens, without a clock.

    Each call puts `share` of a token in, each retry takes one, and the bucket holds at most `burst`; it is full at
    first. So in any sequence there are at most `burst + share * calls` retries. One budget belongs to one other side:
    make it once and give it to every policy for that side. It counts in this process only.

    `share`: above 0, at most 1. `burst`: a whole number, 1 or more. Raises InvalidPolicy for anything else.

    >>> budget = RetryBudget(share=0.5, burst=2)
    >>> [budget.spend() for _ in range(3)]
    [True, True, False]
    >>> budget.called()
    >>> budget.called()
    >>> budget.spend(), budget.spend()
    (True, False)
    """

    __slots__ = ("_left", "_lock", "burst", "share")

    def __init__(self, share: float = 0.1, burst: int = 10) -> None:
        self.share: Final = _checked_share(share)
        self.burst: Final = checked_count("burst", burst)
        self._left = self.burst * _UNIT
        self._lock = Lock()

    @property
    def left(self) -> float:
        """How many retries could be made now; for a dashboard."""
        return self._left / _UNIT

    def called(self) -> None:
        """A call begins: put `share` of a retry in."""
        full = self.burst * _UNIT
        if self._left < full:  # read without the lock: whoever misses a retry of this very moment loses one share
            with self._lock:
                self._left = min(self._left + int(self.share * _UNIT), full)

    def spend(self) -> bool:
        """Take one retry out; False when there is less than one."""
        with self._lock:
            if self._left < _UNIT:
                return False
            self._left -= _UNIT
            return True

    def __repr__(self) -> str:
        return f"RetryBudget(share={self.share:g}, burst={self.burst})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RetryBudget counts for one process, and is never copied: make one in each process")


def _checked_share(share: object) -> float:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise InvalidPolicy(f"share of a retry budget must be above 0, and at most 1 (all calls); not {share!r}")
    return float(share)
