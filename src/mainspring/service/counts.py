"""What a service has used up of its policy, in memory and where it outlives the process."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from mainspring.retries.hints import asked_wait
from mainspring.retries.policy import Fallback, Retry, Stop, Wait
from mainspring.service.restarts import FailureRate, Restarts
from mainspring.service.service import Logger, Service

T = TypeVar("T")
log = logging.getLogger("mainspring.service")

STORE_LIMIT: Final = 5.0
"""Seconds that an attempt store has for an answer; a service does not wait longer for it."""

GAVE_UP: Final = "the service gave up after "


def no_error(_error: BaseException) -> bool:
    """The predicate of the policy that retries nothing."""
    return False


NO_RETRY: Final = Retry(on=no_error)


class Counts:
    """The failures of one service, and how fast they come. They last until the next `succeeded`.

    With an attempt store its numbers count: another process may have counted, too. While it does not answer, the
    service goes on with its own.
    """

    def __init__(self, service: Service, baseline: Fallback | None, restarts: Restarts) -> None:
        self._policy = service.retry or NO_RETRY
        self._baseline = baseline
        self._restarts = restarts
        self._kept = Kept(service)
        self._name = service.name
        self._log: Logger = service.logger or log
        self._counters: Mapping[str, int] = {}
        self._began: float | None = None
        self._rate = FailureRate()
        self.degraded = False

    @property
    def counters(self) -> Mapping[str, int]:
        """Failures per rule key since the last success."""
        return self._counters

    async def load(self) -> None:
        """Go on with what an earlier process has counted."""
        self._counters = await self._kept.load()

    def run_begins(self, at: float) -> None:
        """A run begins, at a monotonic time; the first one since the counts began starts `give_up_after`."""
        if self._began is None:
            self._began = at

    async def failed(self, error: Exception, at: float, *, draw: Callable[[], float] = random.random) -> float | None:
        """How long to wait before the next run, in seconds; None when the error is permanent."""
        elapsed = 0.0 if self._began is None else at - self._began
        hint = self._asked_wait(error)

        def decide(counters: Mapping[str, int]) -> Wait | Stop:
            return self._policy.decide(error, counters, elapsed, random=draw, wait_hint=hint, baseline=self._baseline)

        decision = decide(self._counters)
        if decision.rule_key is not None:
            before = await self._kept.add(decision.rule_key)
            if before > self._counters.get(decision.rule_key, 0):  # somebody else has counted
                decision = decide({**self._counters, decision.rule_key: before})
        self._counters = decision.counters
        if isinstance(decision, Stop):
            if decision.gave_up:
                runs = sum(decision.counters.values())
                note_once(error, GAVE_UP, f"{runs} failed run(s) in {elapsed:.3g} s: {decision.reason}")
            return None
        if decision.trouble is not None:
            text = "service %r: its backoff failed; the default decides"
            self._log.error(text, self._name, exc_info=decision.trouble)
        self._rate = self._rate.failed(at, self._restarts)
        self.degraded = decision.degraded
        return max(decision.seconds, self._restarts.least_wait(self._rate))

    async def succeeded(self) -> None:
        """Begin the counts anew. The failure rate goes on: it decays by itself."""
        self._counters = {}
        self._began = None
        await self._kept.reset()

    def _asked_wait(self, error: Exception) -> float | None:
        try:
            return asked_wait(error, self._policy.wait_hint)
        except Exception:  # noqa: BLE001  # code of the user's own
            self._log.exception("service %r: its wait_hint failed; the backoff decides", self._name)
            return None


class Kept:
    """The counts of one service in its attempt store; nothing when it has none."""

    def __init__(self, service: Service) -> None:
        self._owner = service.name
        self._store = service.attempt_store
        self._log: Logger = service.logger or log
        self._failing = False
        self._any = False

    async def load(self) -> Mapping[str, int]:
        """What an earlier process has counted."""
        if self._store is None:
            return {}
        found = await self._answer(partial(self._store.load, self._owner))
        self._any = found is None or bool(found)  # None: perhaps there are some
        return found or {}

    async def add(self, key: str) -> int:
        """Count one failure; how many the store knew before it, 0 when it did not answer."""
        if self._store is None:
            return 0
        self._any = True
        return await self._answer(partial(self._store.add, self._owner, key)) or 0

    async def reset(self) -> None:
        """Forget what may be there; tried again at the next success when the store does not answer."""
        if self._store is not None and self._any:
            await self._answer(partial(self._store.reset, self._owner))
            self._any = self._failing

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            async with asyncio.timeout(STORE_LIMIT):
                answer = await ask()
        except Exception as error:  # noqa: BLE001  # whatever its store raises
            if not self._failing:
                self._log.warning(
                    "service %r: its attempts cannot be kept for now, so it counts in memory: %r", self._owner, error
                )
            self._failing = True
            return None
        if self._failing:
            self._log.info("service %r: its attempts are kept again", self._owner)
        self._failing = False
        return answer


def note_once(error: BaseException, begins: str, rest: str) -> None:
    """Note it on the error in place of an earlier note that begins so: an error object may be raised many times."""
    notes: list[str] = error.__dict__.get("__notes__", [])
    # Straight into the dictionary: an error may be a frozen dataclass, which refuses attributes and add_note().
    error.__dict__["__notes__"] = [*(note for note in notes if not note.startswith(begins)), begins + rest]
