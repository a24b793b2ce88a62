"""Firing schedules: finds what is due, decides by the pure rules, and has the store add the jobs (RULES H13).

What is next is the store's index, so a scheduler has nothing to load when it starts, whatever the number of schedules.
Any number of them work on one store: each slot is fired by the first that comes, and who comes too late stands back,
so that mostly one works and the others take over when it does not.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, assert_never

from mainspring.clock import moment
from mainspring.engine.events import ScheduleFired, ScheduleStopped, SlotsMissed
from mainspring.engine.patient import patiently
from mainspring.engine.schedule_log import Strangers, missed_between, missed_line, stopped_line
from mainspring.engine.stuck import Stuck
from mainspring.engine.triggers import Readings
from mainspring.errors import StoreClosed, StoreError, StoreFull, StoreUnavailable, StoreUnsuitable
from mainspring.events import Hub
from mainspring.ids import IdSource
from mainspring.model.firing import runs_needed
from mainspring.model.schedule import FAILED, Fire, FireAnswer, Overlap, ScheduleRecord, SlotJob
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.store.base import Due, DueSchedule, Schedules

log = logging.getLogger("mainspring.engine")

LIMIT: Final = 1000
"""Schedules in one look, and slots in one call of `fire`."""

APART: Final = 0.002
"""Seconds between two looks: dense schedules are fired in small batches rather than one by one."""

SHORTEST: Final = 0.0001
"""Seconds of the shortest sleep: a timer may ring a little before its time, and nothing would be due yet."""

ROUNDING: Final = 0.000_000_3
"""Seconds by which the clock of a store may be off: it counts whole microseconds."""

SLICE: Final = 0.005
"""Seconds of deciding after which the others on the loop have their turn."""

STEP_BACK: Final = 0.005
FARTHEST_BACK: Final = 0.05
"""Seconds by which a scheduler that comes too late looks later, the first time and in the end: at most, and half at least."""

HINT_WAIT: Final = 60.0
"""Seconds of one wait for hints. Nothing depends on it: who sleeps looks every `poll` seconds."""

MISSED_TOLD_EVERY: Final = 1.0
"""Seconds between two lines in the log about slots that were missed."""

ADDS: Final = frozenset({"fired", "skipped"})
"""The answers to fires whose slot became a job, or would have but for another run."""

OnFired = Callable[[str, str, str, float], None]
"""Told of jobs that were added: queue, task, version, and seconds until they are due."""


def anything(_task: str, _version: str) -> bool:
    """Every task is known."""
    return True


class Planned(NamedTuple):
    """A fire to be asked for, and the schedule that it was decided on."""

    schedule: ScheduleRecord
    fire: Fire


class Look:
    """What one look has brought: fires that were asked for, those that somebody else had made, schedules that went on.

    `next`: when there is something to look at again, by the store's clock; `offset` makes it a time of the loop.
    """

    __slots__ = ("late", "missed", "moved", "next", "offset", "sent", "stopped")

    def __init__(self, offset: float) -> None:
        self.offset = offset
        self.next = math.inf
        self.sent = 0
        self.late = 0
        self.moved = 0
        self.missed: list[Planned] = []
        self.stopped: list[Planned] = []

    def again(self, due: float | None) -> None:
        """There is something to look at then."""
        if due is not None and due < self.next:
            self.next = due


class Scheduler:
    """Fires the schedules of one store, until its loop is cancelled. `wake()` says that one may be due earlier.

    `poll` is how long it sleeps at most, in seconds: so long may a step of the clock go unseen, or a change that
    nobody tells of. `on_fired` is told of jobs that may have been added. `knows(task, version)` says whether such
    jobs can be run here.
    """

    def __init__(
        self,
        store: Schedules,
        *,
        kinds: TriggerKinds,
        ids: IdSource,
        poll: float,
        random: Callable[[], float],
        on_fired: OnFired,
        hub: Hub,
        knows: Callable[[str, str], bool] = anything,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._readings = Readings(kinds, self._loop.time)
        self._ids = ids
        self._poll = poll
        self._random = random
        self._on_fired = on_fired
        self._hub = hub
        self._strangers = Strangers(knows)
        self._stuck = Stuck(self._loop.time)
        self._missed: list[Fire] = []
        self._missed_told = -math.inf
        self._held_to = math.inf
        self._turn = asyncio.Lock()
        self._woken = False
        self._alarm: asyncio.Future[None] | None = None
        self._back = 0.0

    @property
    def aside(self) -> frozenset[str]:
        """The schedules that cannot be fired now: their trigger cannot be read, or fails."""
        return self._readings.aside

    def wake(self) -> None:
        """A schedule may have been put or changed: look soon."""
        self._readings.again()
        self._woken = True
        _ring(self._alarm)

    async def run(self) -> None:
        """Fire what is due, for ever."""
        while True:
            began = self._loop.time()
            look = await patiently(self._look, "schedules")
            until = min(look.next + look.offset + self._back + ROUNDING, self._stuck.next)
            await self._sleep(until, apart=began + APART, fired=look.sent > 0)

    async def run_hints(self) -> None:
        """Pass on the store's hints that there may be something new."""
        while True:
            if await self._store.wait_schedules(HINT_WAIT):
                self.wake()

    async def fire_due(self) -> None:
        """Fire all that is due now, and return; nothing that is to come is waited for."""
        while (await patiently(self._look, "schedules")).moved:  # noqa: ASYNC110  # nothing is waited for
            await asyncio.sleep(0)

    async def hold(self) -> None:
        """Fire no slot from now on that was not due yet, but for those that a change of their schedule makes due at once.

        Who works off what is due would have no end otherwise, where slots come as fast as their jobs run.
        """
        ask = partial(self._store.due_schedules, 1)
        self._held_to = (await patiently(ask, "schedules")).now

    def fires(self, schedule: ScheduleRecord) -> bool:
        """Whether it fires this one now that it is due: neither set aside, nor held back by `hold`."""
        return self._is_wanted(schedule) and schedule.id not in self._readings.aside

    async def _look(self) -> Look:
        # Asked again as a whole when the store fails: what was decided before an outage is not right after it.
        async with self._turn:
            self._woken = False
            due = await self._store.due_schedules(LIMIT, without=self._readings.aside | self._stuck.resting())
            look = Look(self._loop.time() - due.now)
            look.again(due.next_due)
            if self._held_to < math.inf:
                due = due._replace(schedules=[each for each in due.schedules if self._is_wanted(each.schedule)])
            if len(due.schedules) >= LIMIT:
                look.again(due.now)
            await self._fire_all(due, look)
            self._stand(look)
            self._tell_missed(look)
            await self._tell_stopped(look)
            for line in self._strangers.lines():
                log.warning(line)
            return look

    async def _fire_all(self, due: Due, look: Look) -> None:
        batch: list[Planned] = []
        size, since = 0, self._loop.time()
        for seen in due.schedules:
            if self._is_for_others(seen.schedule, due.now):
                look.again(seen.schedule.due)
                continue
            planned = self._plan(seen, min(due.now, self._end_for(seen.schedule)))
            if planned is None:
                continue
            batch.append(planned)
            size += max(len(planned.fire.slots), 1)
            if size >= LIMIT or self._loop.time() - since >= SLICE:
                await self._send(batch, look)
                await asyncio.sleep(0)
                batch, size, since = [], 0, self._loop.time()
        if batch:
            await self._send(batch, look)

    def _is_wanted(self, schedule: ScheduleRecord) -> bool:
        """Whether it is not held back."""
        return schedule.due is None or schedule.due <= self._end_for(schedule)

    def _end_for(self, schedule: ScheduleRecord) -> float:
        """What came due later is held back; `changed` lets the first slot of what a job has put run at once."""
        return max(self._held_to, schedule.changed)

    def _is_for_others(self, schedule: ScheduleRecord, now: float) -> bool:
        """Whether it is left to a scheduler that was faster the last time."""
        return self._back > 0 and schedule.due is not None and schedule.due + self._back > now

    def _plan(self, seen: DueSchedule, now: float) -> Planned | None:
        schedule = seen.schedule
        decision = self._readings.decided(seen, now)
        if decision is None or schedule.due is None:
            return None
        fire = Fire(
            schedule=schedule.id,
            revision=schedule.revision,
            expected=schedule.due,
            slots=self._jobs_of(schedule.definition.overlap, decision.slots),
            missed=decision.missed,
            missed_from=decision.missed_from,
            missed_to=decision.missed_to,
            to=decision.to,
            next=decision.next,
            due=decision.due,
        )
        return Planned(schedule, fire)

    def _jobs_of(self, overlap: Overlap, slots: Sequence[float]) -> tuple[SlotJob, ...]:
        """A job for each slot; a group only where another run may wait for it."""
        new = self._ids
        tied = overlap == "queue" or (overlap == "skip" and len(slots) > 1)
        return tuple([SlotJob(slot, new(), new() if tied else "") for slot in slots])

    async def _send(self, batch: list[Planned], look: Look) -> None:
        answers = await self._answers(batch)
        if answers is None:
            # One of these makes the fire of all fail: find out which, and leave that alone (RULES C10).
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._send(batch[:middle], look)
                await self._send(batch[middle:], look)
            return
        look.sent += len(batch)
        for planned, answer in zip(batch, answers, strict=True):
            self._note(planned, answer, look)
        self._hint([each for each, answer in zip(batch, answers, strict=True) if answer == "fired"])

    async def _answers(self, batch: list[Planned]) -> list[FireAnswer] | None:
        """What the store says; None when something is wrong with one of these, which is set aside if it is alone."""
        try:
            return await self._store.fire([each.fire for each in batch])
        except (StoreUnavailable, StoreFull, StoreUnsuitable, StoreClosed):
            self._hint(batch)  # the answer is lost, but the jobs may have been added
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one schedule
            if len(batch) == 1:
                self._readings.set_aside(batch[0].schedule, error)
            return None

    def _note(self, planned: Planned, answer: FireAnswer, look: Look) -> None:
        fire = planned.fire
        if fire.slots and answer in ADDS:
            self._strangers.note(planned.schedule)
        match answer:
            case "fired" | "skipped" | "moved":
                look.moved += 1
                look.again(fire.due)
                self._stuck.went_on(fire.schedule)
                if fire.missed:
                    look.missed.append(planned)
                if answer == "fired" and self._hub.wanted(ScheduleFired):
                    self._hub.emit(_fired_event(fire))
            case "stale":
                look.late += 1
                look.again(fire.expected)  # it may be due again
                self._stuck.stale(fire)
            case "stopped":
                look.moved += 1
                look.stopped.append(planned)
                self._hub.emit(ScheduleStopped(fire.schedule, FAILED))
            case "paused" | "unknown":
                pass  # not due any more
            case _:
                assert_never(answer)

    def _hint(self, batch: Sequence[Planned]) -> None:
        templates = [each.schedule.definition.template for each in batch if each.fire.slots]
        for queue, task, version, delay in {(each.queue, each.task, each.version, each.delay) for each in templates}:
            self._on_fired(queue, task, version, delay)

    def _stand(self, look: Look) -> None:
        """Stand back from a scheduler that was faster, and come forward when there is none.

        Who wins most of a batch stays, so that one of several that share what is due comes to do it all. How far back
        is chance, at the most as well, so that of two that stand back alike one comes first; and who wins comes forward
        by steps, for the one in front may only have been held up once.
        """
        if look.late * 2 > look.sent:
            self._back = min(2 * self._back + STEP_BACK, FARTHEST_BACK) * (0.5 + self._random() / 2)
        elif look.sent:
            self._back = self._back / 2 if self._back > APART else 0.0

    def _tell_missed(self, look: Look) -> None:
        self._missed += [each.fire for each in look.missed]
        if self._missed and self._loop.time() >= self._missed_told + MISSED_TOLD_EVERY:
            log.warning(missed_line(self._missed))
            self._missed, self._missed_told = [], self._loop.time()
        if look.missed and self._hub.wanted(SlotsMissed):
            for each in look.missed:
                self._hub.emit(_missed_event(each.fire))

    async def _tell_stopped(self, look: Look) -> None:
        for schedule, _ in look.stopped:
            wanted = runs_needed(schedule)
            try:
                runs = await self._store.runs(schedule.id, limit=wanted)
            except StoreError:
                runs = []  # it is paused nevertheless, and that is to be told
            log.warning(stopped_line(schedule, runs))

    async def _sleep(self, until: float, *, apart: float, fired: bool) -> None:
        """Until then, or until woken, or as long as it may sleep; after a fire, or woken, in no case before `apart`."""
        now = self._loop.time()
        until = min(until, now + self._poll)
        await asyncio.sleep(max(apart - now if fired else 0.0, SHORTEST))
        if not self._woken and self._loop.time() < until:
            self._alarm = self._loop.create_future()
            timer = self._loop.call_at(until, _ring, self._alarm)
            try:
                await self._alarm
            finally:
                timer.cancel()
        if self._woken and self._loop.time() < apart:
            await asyncio.sleep(apart - self._loop.time())


def _ring(alarm: asyncio.Future[None] | None) -> None:
    if alarm is not None and not alarm.done():
        alarm.set_result(None)


def _fired_event(fire: Fire) -> ScheduleFired:
    return ScheduleFired(
        fire.schedule, tuple(each.job for each in fire.slots), tuple(moment(each.slot) for each in fire.slots)
    )


def _missed_event(fire: Fire) -> SlotsMissed:
    first, last = missed_between(fire)
    return SlotsMissed(fire.schedule, fire.missed, moment(first), moment(last))
