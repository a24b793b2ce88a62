"""`app.schedules`: putting, changing and looking at schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, Unpack, cast, get_args

from msgspec.structs import replace

from mainspring.app.bound import BoundTask
from mainspring.app.connection import Connection, Opened
from mainspring.app.job import Job
from mainspring.app.jobs import JobsFace
from mainspring.app.options import moment_of
from mainspring.app.schedule import Schedule, ScheduleRun
from mainspring.app.schedule_options import ScheduleOptions, ScheduleSpec, checked_trigger, packed, schedule_id
from mainspring.app.schedule_writes import OPEN, Decide, asked, there, written
from mainspring.engine.context import CURRENT
from mainspring.engine.triggers import trigger_of
from mainspring.errors import InvalidOption, JobNotFound, ScheduleExists
from mainspring.model.planning import paused, planned, resumed
from mainspring.model.schedule import BY_REQUEST, Run, RunState, ScheduleRecord, ScheduleState, SlotJob, readable
from mainspring.model.states import STATES
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.model.triggers import Slot, Trigger, slot_after
from mainspring.store.base import Filter, RunNow, Store

if TYPE_CHECKING:
    from mainspring.app.plan import Declarations
    from mainspring.app.schedules_sync import SchedulesSync

CHUNK: Final = 1000
MOST: Final = 2**63 - 1
"""The largest number that every store can hold."""

MOST_FIRES: Final = 10_000
"""Slots that are worked out at a time."""

ScheduleList = list[Schedule]
RunList = list[ScheduleRun]
RunOrder = Literal["number", "started", "ended", "duration"]

RUN_STATES: Final = (*STATES, "missed", "skipped", "removed")
SCHEDULE_STATES: Final = get_args(ScheduleState)


class SchedulesFace:
    """The schedules of an app: stored triggers that add jobs. Every verb as `app.schedules.sync.verb()`, blocking.

    Any process of the fleet may put and change them; the workers that run, whichever they are, add the jobs. Every verb
    waits up to 10 s for a store that cannot be reached, and then raises StoreUnavailable.
    """

    def __init__(
        self,
        connection: Connection,
        kinds: TriggerKinds,
        jobs: JobsFace,
        declared: Callable[[], Declarations],
    ) -> None:
        self._connection = connection
        self._kinds = kinds
        self._jobs = jobs
        self._declared = declared

    # --- changing

    async def put(
        self,
        id: str,  # noqa: A002  # the word of the face
        trigger: Trigger,
        work: BoundTask[object],
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """Create a schedule of this id, or change it to be this; nothing is written when it is this already.

        At each slot of `trigger` a job of `work` is added, a task with its options and arguments; its metadata are
        also the schedule's. What is not said in `options` has its default, also when it was otherwise before. Runs,
        missed and skipped slots, the history and a pause are kept. A new trigger counts from now; a slot that was due
        before and that nobody has run yet is still run.

        `id`: at most 255 bytes. Raises InvalidOption, InvalidTrigger, ScheduleBusy when others change it all the time.

            await app.schedules.put("eu-nightly", Daily(time(3), tz="Europe/Berlin"), rebuild.bind("eu"), keep=30)
        """
        spec = ScheduleSpec(id, trigger, work, **options)
        return await self._change(spec.id, partial(decided, spec, self._kinds))

    async def put_many(self, specs: Iterable[ScheduleSpec]) -> ScheduleList:
        """`put` many, 1,000 in one commit; returns them in order. When one is refused, those 1,000 are not written.

        Raises InvalidOption for an id that is given twice, and as `put` does.

            await app.schedules.put_many(ScheduleSpec(f"poll:{n}", Every(60), poll.bind(n)) for n in range(10_000))
        """
        given: set[str] = set()
        rows: list[Schedule] = []
        each = specs_of(specs)
        while chunk := list(islice(each, CHUNK)):
            decisions: dict[str, Decide] = {}
            for spec in chunk:
                if spec.id in given:
                    raise InvalidOption(f"schedule {spec.id!r} is given twice")
                given.add(spec.id)
                decisions[spec.id] = partial(decided, spec, self._kinds)
            done = await self._write(decisions)
            rows += [self._of(done[spec.id]) for spec in chunk]
        return rows

    async def add(
        self,
        id: str | None,  # noqa: A002  # the word of the face
        trigger: Trigger,
        work: BoundTask[object],
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """Create a schedule, as `put`, but only when there is none of this id. None as id makes a new UUIDv7.

        Raises ScheduleExists, and as `put` does.
        """
        spec = ScheduleSpec(self._connection.ids() if id is None else id, trigger, work, **options)
        ours: ScheduleRecord | None = None

        def decide(row: ScheduleRecord | None, now: float) -> ScheduleRecord:
            nonlocal ours
            if row is None or row.dropped is not None:
                ours = decided(spec, self._kinds, row, now)
                return ours
            # It may be what we wrote, when the answer to that was lost and it has fired meanwhile (RULES C3).
            if ours is not None and (row.created, row.definition) == (ours.created, ours.definition):
                return row
            raise ScheduleExists(spec.id, f"there is a schedule {spec.id!r} already; put changes it")

        return await self._change(spec.id, decide)

    async def replace(self, id: str, trigger: Trigger) -> Schedule:  # noqa: A002  # as above
        """Give it another trigger, as `put` would; all else stays: job, options, history, a pause.

        A declared one has its declared trigger again when a worker starts. Raises ScheduleNotFound, InvalidTrigger,
        ScheduleUnreadable.
        """
        data = packed(checked_trigger(trigger), self._kinds)

        def decide(row: ScheduleRecord | None, now: float) -> ScheduleRecord:
            row = there(id, row)
            definition = replace(readable(row).definition, trigger=data, from_end=trigger.from_end)
            return planned(id, definition, trigger, now, stored=row, declared_by=row.declared_by)

        return await self._change(id, decide)

    async def pause(self, id: str) -> Schedule:  # noqa: A002  # as above
        """Let no slot fire until `resume`; those that pass meanwhile are gone. Its running job goes on.

        Pausing twice is fine. Raises ScheduleNotFound, ScheduleUnreadable.
        """
        return await self._change(id, lambda row, now: paused(there(id, row), now, BY_REQUEST))

    async def resume(self, id: str) -> Schedule:  # noqa: A002  # as above
        """Go on with the first slot after now, whoever or whatever has paused it.

        Raises ScheduleNotFound, ScheduleUnreadable.
        """

        def decide(row: ScheduleRecord | None, now: float) -> ScheduleRecord:
            row = there(id, row)
            return resumed(row, trigger_of(readable(row).definition, self._kinds), now)

        return await self._change(id, decide)

    async def trigger(self, id: str) -> Job[object] | None:  # noqa: A002  # as above
        """Add a job of it now, beside its slots, also while it is paused or has finished; returns the job's handle.

        None when `overlap` leaves it out since another run goes on. It does not count as a run of `max_runs`.
        Raises ScheduleNotFound, ScheduleUnreadable.
        """
        opened = await self._connection.opened()
        row, now = await self._seen(id)
        readable(row)
        slot = SlotJob(now, self._connection.ids(), self._connection.ids())
        (answer,) = await asked(partial(opened.store.trigger, [RunNow(id, slot)]), "triggering a schedule")
        if answer == "unknown":
            readable((await self._seen(id))[0])
        if answer != "fired":
            return None
        template = replace(row.definition.template, id=slot.job)
        for worker in opened.workers:
            worker.added(template)
        (record,) = await asked(partial(opened.store.get, [slot.job]), "reading a job")
        return Job(self._connection, slot.job, task=template.task) if record is None else self._jobs.of(record)

    async def remove(self, id: str, *, wait: bool = False, cancel: bool = False) -> bool:  # noqa: A002  # as above
        """Remove it, and its history with the time; False when there is none of this id.

        The jobs that it has added stay. `cancel`: they are cancelled, those that run are asked to end. `wait`: return
        when all of them have ended, but for the job that calls this; somebody must work, and bound it by
        `asyncio.timeout` where that may take long.
        Put again within 24 hours, it fires no slot a second time.
        """
        opened = await self._connection.opened()
        schedule_id(id)
        doubts: list[None] = []
        ask = partial(opened.store.drop_schedules, [id])
        (removed,) = await asked(ask, "removing a schedule", unclear=lambda: doubts.append(None))
        if doubts and not removed:  # it may have been us, whose answer was lost
            rows = (await asked(partial(opened.store.get_schedules, [id]), "reading a schedule")).schedules
            removed = any(row.dropped is not None for row in rows)
        if cancel:
            await self._cancel_jobs(opened, id)
        if wait:
            await self._jobs_ended(opened, id)
        return removed

    async def prune(self) -> int:
        """Remove the run records that are not to be kept, as workers do by and by; returns how many went."""
        store = await self._store()
        gone = 0
        while number := await asked(store.prune_runs, "pruning runs"):
            gone += number
        return gone

    async def synchronise(self) -> tuple[str, ...]:
        """Write what the app declares by `@app.every`, `@app.cron` and `@app.daily`, in one commit.

        `app.running` does so before it works; this is for tests, and for a step of a deployment. A pause is kept.
        Those that the code of this app declared once and declares no more are paused, or removed, as `App(vanished=…)`
        says. Returns the ids that were written: none when all were as declared.
        """
        from mainspring.app.declared import synchronise  # noqa: PLC0415  # it needs what this module has

        opened = await self._connection.opened()
        ids = await synchronise(opened.store, self._declared(), self._kinds)
        if ids:
            opened.schedules_changed()
        return ids

    # --- looking

    async def get(self, id: str) -> Schedule:  # noqa: A002  # as above
        """The schedule of this id. Raises ScheduleNotFound."""
        return self._of((await self._seen(id))[0])

    async def list(
        self,
        *,
        states: Sequence[ScheduleState] = (),
        ids: Sequence[str] | None = None,
        after: str = "",
        offset: int = 0,
        limit: int = 1000,
    ) -> ScheduleList:
        """Schedules by id, in byte order, from behind `after`: those in one of `states`, and of `ids` those there are.

        `offset`: so many of them are left out first. Raises InvalidOption for values that cannot be meant.

            late = await app.schedules.list(states=["paused"])
        """
        known_states("states", states, SCHEDULE_STATES)
        at_least("offset", offset, 0)
        at_least("limit", limit, 1)
        if isinstance(ids, str):
            raise InvalidOption(f'ids is a list, as in ids=["{ids}"]')
        store = await self._store()
        found: list[Schedule] = []
        while len(found) < offset + limit:
            rows = await self._page(store, ids, after)
            found += [self._of(row) for row in rows if not states or row.state in states]
            if ids is not None or len(rows) < CHUNK:
                break
            after = rows[-1].id
        return found[offset : offset + limit]

    async def next_fires(self, id: str, n: int = 5) -> tuple[Slot, ...]:  # noqa: A002  # as above
        """Its next `n` slots, if nothing is changed; fewer when it ends, none while it is paused.

        What its jitter adds is not in them; a trigger that counts from the end of a run is shown as if runs took no
        time. Raises ScheduleNotFound, ScheduleUnreadable, and InvalidOption unless `n` is 0 to 10,000.
        """
        at_least("n", n, 0, MOST_FIRES)
        row, now = await self._seen(id)
        if row.state != "active":
            return ()
        return next_slots(row, trigger_of(readable(row).definition, self._kinds), now, n)

    async def runs(
        self,
        id: str,  # noqa: A002  # as above
        *,
        states: Sequence[RunState] = (),
        from_number: int = 0,
        started_from: datetime | None = None,
        started_to: datetime | None = None,
        order: RunOrder = "number",
        descending: bool = False,
        newest: int | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> RunList:
        """Its run records for which all conditions hold; empty for an id that nobody has put.

        `from_number`: this one and later ones. Started: from <= t < to, aware datetimes; the last attempt counts.
        `newest`: of all these the last so many, by number. Then they are ordered, those without such a time last, and
        `offset` and `limit` cut out a part. Raises InvalidOption for values that cannot be meant.

            slowest = await app.schedules.runs("nightly", states=["completed"], order="duration", descending=True)
        """
        schedule_id(id)
        known_states("states", states, RUN_STATES)
        known_states("order", (order,), get_args(RunOrder))
        for name, number, least in (("from_number", from_number, 0), ("offset", offset, 0)):
            at_least(name, number, least)
        for name, wanted in (("newest", newest), ("limit", limit)):
            if wanted is not None:
                at_least(name, wanted, 1)
        begin = None if started_from is None else moment_of("started_from", started_from)
        end = None if started_to is None else moment_of("started_to", started_to)
        store = await self._store()
        runs = await asked(partial(store.runs, id, from_number=from_number), "reading runs")
        found: Sequence[Run] = [
            run for run in runs if (not states or run.state in states) and _within(run.started, begin, end)
        ]
        found = found if newest is None else found[-newest:]
        found = _ordered(found, order, descending=descending)[offset:][:limit]
        return [ScheduleRun.of(run) for run in found]

    @property
    def sync(self) -> SchedulesSync:
        """The same verbs for blocking code, in any thread."""
        from mainspring.app.schedules_sync import SchedulesSync  # noqa: PLC0415  # it needs this class

        return SchedulesSync(self, self._connection)

    # --- helpers

    async def _change(self, schedule: str, decide: Decide) -> Schedule:
        opened = await self._connection.opened()
        row = await opened.changes(schedule_id(schedule), decide)
        opened.schedules_changed()
        return Schedule(row, self._kinds)

    async def _write(self, decisions: dict[str, Decide]) -> dict[str, ScheduleRecord]:
        opened = await self._connection.opened()
        rows = await written(opened.store, decisions)
        opened.schedules_changed()
        return rows

    async def _seen(self, schedule: str) -> tuple[ScheduleRecord, float]:
        """The row, and the store's now. Raises ScheduleNotFound."""
        store = await self._store()
        seen = await asked(partial(store.get_schedules, [schedule_id(schedule)]), "reading a schedule")
        return there(schedule, next(iter(seen.schedules), None)), seen.now

    async def _page(self, store: Store, ids: Sequence[str] | None, after: str) -> Sequence[ScheduleRecord]:
        if ids is None:
            return (await asked(partial(store.list_schedules, after=after, limit=CHUNK), "listing schedules")).schedules
        rows = (
            await asked(partial(store.get_schedules, sorted(set(map(schedule_id, ids)))), "reading schedules")
        ).schedules
        return [row for row in rows if row.dropped is None and row.id.encode() > after.encode()]

    async def _cancel_jobs(self, opened: Opened, schedule: str) -> None:
        cursor: str | None = None
        while True:
            page = await opened.store.find(Filter(states=OPEN, schedule=schedule), cursor=cursor, limit=CHUNK)
            for job in page.jobs:
                await opened.cancel(job.id, f"the schedule {schedule!r} was removed")
            cursor = page.cursor
            if cursor is None:
                return

    async def _jobs_ended(self, opened: Opened, schedule: str) -> None:
        while True:
            page = await opened.store.find(Filter(states=OPEN, schedule=schedule), limit=CHUNK)
            own = None if (context := CURRENT.get(None)) is None else context.job.id
            if all(job.id == own for job in page.jobs):
                return
            for job in page.jobs:
                if job.id == own:
                    continue
                try:
                    await opened.results.ended(job.id)
                except JobNotFound:
                    pass  # it has ended, and is pruned already

    async def _store(self) -> Store:
        return (await self._connection.opened()).store

    def _of(self, record: ScheduleRecord) -> Schedule:
        return Schedule(record, self._kinds)


def decided(
    spec: ScheduleSpec, kinds: TriggerKinds, row: ScheduleRecord | None, now: float, *, declared_by: str = ""
) -> ScheduleRecord:
    """The row that a spec wants. Raises InvalidTrigger."""
    return planned(spec.id, spec.definition(kinds), spec.trigger, now, stored=row, declared_by=declared_by)


def specs_of(given: object) -> Iterator[ScheduleSpec]:
    """These one by one. Raises InvalidOption for what is no spec, and for a single one."""
    if isinstance(given, ScheduleSpec) or not isinstance(given, Iterable):
        raise InvalidOption(f"put_many takes a list, as in put_many([ScheduleSpec(…), …]), not {given!r}")
    return map(_spec, cast("Iterable[object]", given))


def _spec(given: object) -> ScheduleSpec:
    if not isinstance(given, ScheduleSpec):
        raise InvalidOption(f"put_many takes specs: ScheduleSpec(id, trigger, task.bind(…), …), not {given!r}")
    return given


def next_slots(row: ScheduleRecord, trigger: Trigger, now: float, n: int) -> tuple[Slot, ...]:
    """The next slots of an active schedule, within its end and the runs that it has left."""
    definition = row.definition
    if definition.max_runs is not None:
        n = min(n, definition.max_runs - row.runs)
    trigger = trigger.starting(row.begin)
    at = slot_after(trigger, max(now, row.fired_to)) if row.next is None else row.next
    slots: list[Slot] = []
    while at is not None and len(slots) < n and (definition.end_at is None or at <= definition.end_at):
        slots.append(trigger.shown(at))
        at = slot_after(trigger, at)
    return tuple(slots)


def known_states(name: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Raise InvalidOption for a word that is none of these, and for a text where a list is wanted."""
    if isinstance(given, str):
        raise InvalidOption(f'{name} is a list, as in {name}=["{given}"]')
    unknown = [each for each in given if each not in known]
    if unknown:
        raise InvalidOption(f"{name}: there is no {unknown[0]!r}; there are: {', '.join(known)}")


def at_least(name: str, number: object, least: int, most: int = MOST) -> None:
    """Raise InvalidOption unless it is a whole number from `least` to `most`."""
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise InvalidOption(f"{name} is a whole number from {least}, not {number!r}")
    if number > most:
        raise InvalidOption(f"{name} is at most {most}, not {number!r}")


def _within(started: float | None, begin: float | None, end: float | None) -> bool:
    if begin is None and end is None:
        return True
    return started is not None and (begin is None or started >= begin) and (end is None or started < end)


def _ordered(runs: Sequence[Run], order: RunOrder, *, descending: bool) -> Sequence[Run]:
    """By this field; those that have none come last in either direction, by number."""
    if order == "number":
        return list(reversed(runs)) if descending else runs
    having = [run for run in runs if getattr(run, order) is not None]
    having.sort(key=lambda run: cast("float", getattr(run, order)), reverse=descending)
    return having + [run for run in runs if getattr(run, order) is None]
