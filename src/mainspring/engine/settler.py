"""Writing down how attempts ended: collected, sent in batches, answered; never an error in a task's face."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from mainspring.clock import moment
from mainspring.engine.attempt import policy_of
from mainspring.engine.buffer import Entry
from mainspring.engine.context import Context, Surroundings, ids_of
from mainspring.engine.events import JobEnded, LeaseLost
from mainspring.engine.gather import Gather
from mainspring.engine.outcomes import failure_of
from mainspring.engine.patient import SURELY
from mainspring.engine.refusals import Refusals
from mainspring.engine.transaction import Committed
from mainspring.errors import StoreClosed
from mainspring.events import Hub
from mainspring.model.conclude import Completed, Failed, Outcome, Released, completed, conclude
from mainspring.model.record import Answer, JobRecord, Settlement
from mainspring.retries.hints import asked_wait
from mainspring.retries.policy import Retry
from mainspring.store.base import Jobs

log = logging.getLogger("mainspring.engine")

WAITING_LIMIT: Final = 10_000
"""Settlements that may wait for a store that is down, before nothing starts any more (RULES M13)."""

SPREAD: Final = 1.0
"""Seconds over which jobs that a stopping worker interrupts come back."""

AGAIN_SOON: Final = 0.1
"""Seconds between two tries of a worker that stops and has something to write yet."""

_COMES_AGAIN: Final = frozenset({"retry", "repeat", "snooze", "sleep", "release"})


class Settler:
    """Takes outcomes without waiting, and sends them as settlements.

    `leases` are those the worker believes to have; an answered settlement removes its own. `on_due` hears in how many
    seconds a job comes again, `on_room` that settlements were written, `unclear` that an answer did not come.
    """

    def __init__(
        self,
        store: Jobs,
        *,
        leases: dict[str, int],
        around: Surroundings,
        hub: Hub,
        now: Callable[[], float],
        random: Callable[[], float],
        on_due: Callable[[float], None],
        on_room: Callable[[], None],
        unclear: Callable[[], None],
    ) -> None:
        self._leases = leases
        self._around = around
        self._hub = hub
        self._now = now
        self._random = random
        self._on_due = on_due
        self._on_room = on_room
        self._gather: Gather[Settlement, Answer] = Gather(
            store.settle,
            what="settle",
            retry=SURELY,
            answered=self._answered,
            refused=self._refused,
            unclear=unclear,
        )
        self.put = self._gather.put
        self._refusals = Refusals(self.put, random)
        self._tasks: dict[str, str] = {}
        self.ended = 0
        """Attempts whose end was answered, those that come again left out."""
        self.handed_back = 0
        """Jobs that were released."""
        self.lost = 0
        """Settlements that were given up."""

    def __len__(self) -> int:
        return len(self._gather) + len(self._refusals)

    @property
    def full(self) -> bool:
        """Whether so many settlements wait that nothing more should start."""
        return len(self._gather) + len(self._refusals) >= WAITING_LIMIT  # asked for each claim

    def settle(self, context: Context, entry: Entry, outcome: Outcome, ran: float | None) -> None:
        """An attempt ended so, after it `ran` so many seconds (None: it was never started)."""
        job = context.job
        if self._hub.wanted(JobEnded):
            self._tasks[job.id] = job.task
        if type(outcome) is Completed:  # most of them, and no policy is asked about it
            self.put(completed(job, outcome, ran))
            return
        if isinstance(outcome, Committed) and outcome.settlement is not None:
            self._answered([outcome.settlement], [outcome.answer])
            return
        elapsed = 0.0 if job.begun is None else max(self._now() + self._around.offset - job.begun, 0.0)
        if isinstance(outcome, Released) and ran is not None and not outcome.after:
            outcome = Released(self._random() * SPREAD)
        try:
            policy = policy_of(entry.lane.plan, job)
            if policy is not None and policy.wait_hint is not None and isinstance(outcome, Failed):
                outcome = replace(outcome, wait_hint=_own_hint(job, outcome.error, policy))
            settlement = conclude(job, outcome, policy, elapsed=elapsed, ran=ran, random=self._random)
        except Exception as error:  # a predicate or backoff of the user's own
            log.exception("job %s of %s: its retry policy failed, so it ends dead", job.id, job.task)
            reason = "its retry policy failed"
            settlement = Settlement(
                job=job.id, lease=job.lease, kind="dead", ran=ran, error=failure_of(error), reason=reason
            )
        if settlement.error is not None:
            tell_failure(job, settlement)
        self.put(settlement)

    async def flush(self) -> None:
        """Return when nothing waits or is in flight."""
        await self._gather.flush()
        while self._refusals:
            self._refusals.put_all()
            await self._gather.flush()
            await asyncio.sleep(AGAIN_SOON)

    async def abandon(self) -> int:
        """Stop sending; how many settlements are given up."""
        return self._refusals.close() + await self._gather.abandon()

    def hand_back(self, entries: Sequence[Entry]) -> None:
        """Release jobs that were never started; they are ready for others at once."""
        wanted = self._hub.wanted(JobEnded)
        for entry in entries:
            if wanted:
                self._tasks[entry.job.id] = entry.job.task
            self.put(Settlement(job=entry.job.id, lease=entry.job.lease, kind="release"))

    def _answered(self, settlements: list[Settlement], answers: Sequence[Answer]) -> None:
        leases = self._leases
        soonest: float | None = None
        again = released = 0
        for settlement in settlements:
            if leases.get(settlement.job) == settlement.lease:
                del leases[settlement.job]
            self._refusals.answered(settlement)
            if settlement.kind in _COMES_AGAIN:
                soonest = settlement.after if soonest is None else min(soonest, settlement.after)
                again += 1
                released += settlement.kind == "release"
        self.ended += len(settlements) - again
        self.handed_back += released
        if soonest is not None:
            self._on_due(soonest)
        if answers.count("accepted") != len(answers):
            self._tell_lost(settlements, answers)
        if self._tasks or self._hub.wanted(JobEnded):
            self._tell_ended(settlements, answers)
        self._on_room()

    def _tell_ended(self, settlements: list[Settlement], answers: Sequence[Answer]) -> None:
        for settlement, answer in zip(settlements, answers, strict=True):
            task = self._tasks.pop(settlement.job, "")
            if answer == "accepted":
                self._hub.emit(JobEnded(settlement.job, task, settlement.kind, settlement.ran))

    def _tell_lost(self, settlements: list[Settlement], answers: Sequence[Answer]) -> None:
        for settlement, answer in zip(settlements, answers, strict=True):
            if answer == "accepted" or settlement.kind == "release":
                continue
            log.warning(
                "job %s: the lease of an attempt was lost, its %s is not taken (%s)",
                settlement.job, settlement.kind, answer,
            )  # fmt: skip
            if self._hub.wanted(LeaseLost):
                self._hub.emit(LeaseLost(settlement.job, settlement.lease))

    def _refused(self, settlement: Settlement, error: Exception) -> None:
        """The store takes this one not, and it may be for its content: then the job ends dead (RULES C10)."""
        if self._refusals.again(settlement, error):
            log.warning("job %s: the store did not take its settlement, which is sent again: %r", settlement.job, error)
            return
        if isinstance(error, StoreClosed) or settlement.kind == "release" or settlement.reason == REFUSED:
            self._give_up(settlement, error)
            return
        log.error("job %s: the store refused its settlement, so it ends dead: %r", settlement.job, error)
        dead = Settlement(
            job=settlement.job,
            lease=settlement.lease,
            kind="dead",
            ran=settlement.ran,
            error=failure_of(error),
            reason=REFUSED,
        )
        self.put(dead)

    def _give_up(self, settlement: Settlement, error: Exception) -> None:
        """Nothing can be written about this job. Its lease is forgotten, so that comparing leases hands it back."""
        if self._leases.get(settlement.job) == settlement.lease:
            del self._leases[settlement.job]
        self._tasks.pop(settlement.job, None)
        if settlement.kind == "release":
            log.warning("job %s: it could not be handed back: %r", settlement.job, error)
        else:
            self.lost += 1
            log.error("job %s: how its attempt ended could not be written; it runs again: %r", settlement.job, error)


REFUSED: Final = "the store refused what its attempt said"


def _own_hint(job: JobRecord, error: BaseException, policy: Retry) -> float | None:
    """What the policy's own `wait_hint` says; when it fails, the backoff decides."""
    try:
        return asked_wait(error, policy.wait_hint)
    except Exception:
        log.exception("job %s of %s: the wait_hint of its policy failed; its backoff decides", job.id, job.task)
        return None


def tell_failure(job: JobRecord, settlement: Settlement) -> None:
    """One line about a failed attempt, and its traceback where DEBUG is logged; its payload is never part of either."""
    failure = settlement.error
    assert failure is not None
    extra = ids_of(job)
    task = job.task if job.schedule is None else f"{job.task}, {_cause(job)}"
    if settlement.kind == "retry":
        if settlement.reason:
            log.error("job %s of %s: %s", job.id, task, settlement.reason, extra=extra)
        log.warning(
            "job %s of %s: attempt %d failed, next in %.3g s: %s: %s",
            job.id, task, job.attempt, settlement.after, failure.type, failure.message, extra=extra,
        )  # fmt: skip
    else:
        log.error(
            "job %s of %s: attempt %d failed, %s (%s): %s: %s",
            job.id, task, job.attempt, settlement.kind, settlement.reason, failure.type, failure.message,
            extra=extra,
        )  # fmt: skip
    if failure.traceback:
        log.debug("job %s of %s: attempt %d:\n%s", job.id, task, job.attempt, failure.traceback, extra=extra)


def _cause(job: JobRecord) -> str:
    """The schedule of a job and its slot, in words."""
    slot = "triggered" if job.slot is None else f"slot {moment(job.slot)}"
    return f"schedule {job.schedule!r}, {slot}"
