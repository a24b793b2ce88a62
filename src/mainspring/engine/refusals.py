"""Settlements that a store would not take, for a reason that may pass: put again, ever more slowly, then given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from mainspring.engine.patient import WAITS
from mainspring.errors import JobBusy, KeyBusy, StoreError
from mainspring.model.record import Settlement
from mainspring.retries.policy import Retry, Stop

OUTLASTED: Final = 120.0
"""Seconds for which an error that nobody foresaw is taken for trouble of the store, and not for what it was given."""


def may_pass(error: BaseException) -> bool:
    """Whether this error need not be about the settlement: what says that a value is wrong is."""
    return not isinstance(error, (TypeError, ValueError, ArithmeticError, LookupError, StoreError))


AGAIN: Final = Retry(on=may_pass, attempts=None, give_up_after=OUTLASTED, backoff=WAITS)
IN_OTHER_HANDS: Final = Retry(on=(JobBusy, KeyBusy), attempts=None, backoff=WAITS)
"""The job, or the key of a follow-up, is free when somebody's transaction has ended, however long that takes."""


class Refusals:
    """What was refused, each with a timer of its own, so that it holds up nobody else (RULES C10)."""

    def __init__(self, put: Callable[[Settlement], None], random: Callable[[], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._put = put
        self._random = random
        self._known: dict[tuple[str, int], tuple[Mapping[str, int], float]] = {}
        self._waiting: dict[tuple[str, int], tuple[Settlement, asyncio.TimerHandle]] = {}

    def __len__(self) -> int:
        """Settlements that wait to be put again."""
        return len(self._waiting)

    def again(self, settlement: Settlement, error: Exception) -> bool:
        """Put it again later, unless the error will not pass, or has not for too long."""
        key = settlement.job, settlement.lease
        now = self._loop.time()
        counters, began = self._known.get(key, ({}, now))
        policy = IN_OTHER_HANDS if isinstance(error, (JobBusy, KeyBusy)) else AGAIN
        decision = policy.decide(error, counters, now - began, random=self._random)
        if isinstance(decision, Stop):
            self._known.pop(key, None)
            return False
        self._known[key] = decision.counters, began
        self._waiting[key] = settlement, self._loop.call_later(decision.seconds, self._ring, key)
        return True

    def answered(self, settlement: Settlement) -> None:
        """The store has taken it."""
        if self._known:
            self._known.pop((settlement.job, settlement.lease), None)

    def put_all(self) -> None:
        """Put all of them again now."""
        for key in list(self._waiting):
            self._waiting[key][1].cancel()
            self._ring(key)

    def close(self) -> int:
        """Put none of them again; how many there were."""
        left = len(self._waiting)
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        return left

    def _ring(self, key: tuple[str, int]) -> None:
        settlement, _ = self._waiting.pop(key)
        self._put(settlement)
