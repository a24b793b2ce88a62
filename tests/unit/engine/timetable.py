"""What the tests of schedules share: schedules put straight into a store, workers in virtual time, and what has run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from mainspring.codec import encode
from mainspring.engine.context import Context
from mainspring.engine.scheduler import OnFired, Scheduler
from mainspring.engine.settings import WorkerSettings
from mainspring.engine.triggers import pack_trigger
from mainspring.engine.worker import Worker
from mainspring.errors import StoreUnavailable
from mainspring.ids import new_id
from mainspring.model.every import Every
from mainspring.model.planning import paused, planned, resumed
from mainspring.model.record import NewJob
from mainspring.model.schedule import BY_REQUEST, Definition, Run, ScheduleRecord
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.model.triggers import Trigger
from mainspring.store.base import SchedulePut
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import VirtualLoop
from tests.unit.engine.workshop import Lossy, Workshop

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z, where the virtual clock begins


class LossySchedules(Lossy):
    """A memory store that also loses answers about schedules, and refuses fires that hold a poisonous schedule."""

    poison = ""

    async def due_schedules(self, *args: Any, **kwargs: Any) -> Any:
        return await self._lossy("due_schedules", partial(MemoryStore.due_schedules, self, *args, **kwargs))

    async def fire(self, fires: Any) -> Any:
        if any(each.schedule == self.poison for each in fires):
            raise ValueError("this template cannot be added")
        return await self._lossy("fire", partial(MemoryStore.fire, self, fires))

    async def wait_schedules(self, timeout: float) -> bool:
        if self.down:
            raise StoreUnavailable("down")
        return await MemoryStore.wait_schedules(self, timeout)


class Timetable(Workshop):
    """A workshop with schedules. What runs is noted: the schedule, its slot, when, all counted from the start."""

    store: LossySchedules

    def __init__(self) -> None:
        super().__init__()
        self.store = LossySchedules(self.clock)
        self.kinds = TriggerKinds(Lunar, Moody, Backwards)
        self.ran: list[tuple[str, float | None, float]] = []
        self.takes = 0.0
        self.fails = False
        self.task(self._note, context=True)

    async def _note(self, ctx: Context) -> None:
        slot = None if ctx.job.slot is None else ctx.job.slot - START
        self.ran.append((ctx.schedule or "", slot, round(self.clock.now() - START, 6)))
        if self.takes:
            await asyncio.sleep(self.takes)
        if self.fails:
            raise RuntimeError("as it was told")

    @property
    def now(self) -> float:
        """Seconds since the start, by the store's clock."""
        return self.clock.now() - START

    @property
    def slots(self) -> list[float | None]:
        """Of all that ran, in the order in which it did."""
        return [slot for _, slot, _ in self.ran]

    def definition(self, trigger: Trigger, *, task: str = "t", metadata: bytes = b"", **options: Any) -> Definition:
        for name in ("start_at", "end_at"):
            if name in options:
                options[name] += START
        template = NewJob(id="", task=task, metadata=metadata, payload=encode({}))
        return Definition(
            trigger=pack_trigger(trigger, self.kinds), template=template, from_end=trigger.from_end, **options
        )

    async def put(self, identifier: str, trigger: Trigger, **options: Any) -> None:
        """As `app.schedules.put` does it, from any process."""
        definition = self.definition(trigger, **options)
        await self.change(identifier, lambda stored, now: planned(identifier, definition, trigger, now, stored=stored))

    async def pause(self, identifier: str) -> None:
        await self.change(identifier, lambda stored, now: paused(_there(stored), now, BY_REQUEST))

    async def resume(self, identifier: str, trigger: Trigger) -> None:
        await self.change(identifier, lambda stored, now: resumed(_there(stored), trigger, now))

    async def change(
        self, identifier: str, decide: Callable[[ScheduleRecord | None, float], ScheduleRecord], store: Any = None
    ) -> None:
        store = store or self.store
        answers = ["conflict"]
        while answers == ["conflict"]:
            seen = await store.get_schedules([identifier])
            stored = seen.schedules[0] if seen.schedules else None
            answers = await store.put_schedules([SchedulePut(decide(stored, seen.now), stored)])

    async def schedule(self, identifier: str) -> ScheduleRecord:
        return (await self.store.get_schedules([identifier])).schedules[0]

    async def runs(self, identifier: str) -> list[Run]:
        return await self.store.runs(identifier)

    async def ledger(self, identifier: str) -> list[tuple[str, float | None, int]]:
        """The run records: kind, slot since the start, and how many slots it stands for."""
        return [
            (run.kind, None if run.slot is None else round(run.slot - START, 6), run.count)
            for run in await self.runs(identifier)
        ]

    async def advance(self, duration: float) -> None:
        """Let time pass, timer by timer."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await loop.advance(duration)

    async def work(self, duration: float, **settings: Any) -> Worker:
        """A worker for so long."""
        async with self.working(**settings) as worker:
            await self.advance(duration)
        return worker

    def working(self, **settings: Any) -> Worker:
        return Worker(
            self.store,
            self.registry,
            WorkerSettings(**{"poll": 60.0, "lease_time": 3600.0} | settings),
            hub=self.hub,
            clock=self.clock,
            triggers=self.kinds,
            random=lambda: 0.5,
        )

    def scheduler(self, *, random: float = 0.5, poll: float = 1.0, on_fired: OnFired = lambda *_: None) -> Scheduler:
        """One without a worker: what it fires stays ready."""
        return Scheduler(
            self.store,
            kinds=self.kinds,
            ids=new_id,
            poll=poll,
            random=lambda: random,
            on_fired=on_fired,
            hub=self.hub,
        )

    async def each_slot_once(self, identifier: str) -> list[float]:
        """The slots in the ledger, checked: each once, in order, and one job for each."""
        runs = [run for run in await self.runs(identifier) if run.kind == "slot"]
        slots = [run.slot - START for run in runs if run.slot is not None]
        assert slots == sorted(set(slots)), "a slot twice, or out of order"
        jobs = Counter(run.job for run in runs)
        assert len(jobs) == len(runs)
        assert set(jobs.values()) <= {1}
        return slots


def looks(table: Timetable) -> int:
    """How often schedulers have looked."""
    return sum(call.startswith("due_schedules") for call in table.store.calls)


def fires(table: Timetable) -> int:
    """How many calls of `fire` there were."""
    return sum(call.startswith("fire:") for call in table.store.calls)


def _there(stored: ScheduleRecord | None) -> ScheduleRecord:
    assert stored is not None
    return stored


@asynccontextmanager
async def timetable() -> AsyncIterator[Timetable]:
    table = Timetable()
    await table.store.open()
    try:
        yield table
    finally:
        await table.store.close()


@asynccontextmanager
async def scheduling(*schedulers: Scheduler) -> AsyncIterator[list[asyncio.Task[None]]]:
    """These schedulers at work while the block lasts."""
    tasks = [asyncio.create_task(each.run()) for each in schedulers]
    tasks += [asyncio.create_task(each.run_hints()) for each in schedulers]
    try:
        yield tasks
    finally:
        await ended(*tasks)


async def ended(*tasks: asyncio.Task[None]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Lunar(Trigger):
    """An own kind of trigger."""

    kind: ClassVar[str] = "lunar"
    days: float = 28.0

    def next_after(self, t: float, /) -> float | None:
        return Every(self.days * 86_400).next_after(t)


@dataclass(frozen=True, slots=True)
class Moody(Trigger):
    """One that fails, until it is told otherwise."""

    kind: ClassVar[str] = "moody"
    asked: ClassVar[list[float]] = []
    broken: ClassVar[list[bool]] = [False]

    def next_after(self, t: float, /) -> float | None:
        self.asked.append(t)
        if self.broken[0]:
            raise RuntimeError("not today")
        return Every(60.0).next_after(t)


@dataclass(frozen=True, slots=True)
class Backwards(Trigger):
    """One whose slots do not grow after the first."""

    kind: ClassVar[str] = "backwards"

    def next_after(self, t: float, /) -> float | None:
        return t + 10 if t <= START else START
