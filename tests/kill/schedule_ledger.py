"""The judgement of what processes that fire the same schedules left in the store: each slot once (RULES H13)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from mainspring import Every
from mainspring.model.record import JobRecord
from mainspring.model.schedule import Run, ScheduleRecord
from mainspring.store.base import Filter, Store
from tests.kill.schedule_fleet import Fleet, Kind
from tests.kill.schedule_people import CHANGED, REMOVED
from tests.kill.schedule_worker import TASK


async def ledger(store: Store) -> dict[str, tuple[ScheduleRecord, list[Run]]]:
    """Every schedule with its run records, when nobody fires any more."""
    records = (await store.list_schedules(limit=10_000)).schedules
    return {each.id: (each, await store.runs(each.id)) for each in records}


async def jobs_by_schedule(store: Store) -> dict[str, list[JobRecord]]:
    """All jobs."""
    found: dict[str, list[JobRecord]] = {}
    cursor: str | None = None
    while True:
        page = await store.find(Filter(task=TASK), cursor=cursor, limit=1000)
        for job in page.jobs:
            assert job.schedule is not None
            found.setdefault(job.schedule, []).append(job)
        cursor = page.cursor
        if cursor is None:
            return found


@dataclass(frozen=True)
class Judged:
    """What was found, over all schedules."""

    slots: int
    missed: int
    skipped: int
    late: list[float]
    """Seconds from each slot that ran to the commit of its fire, sorted."""

    def at(self, share: float) -> float:
        """The lateness below which this share of the fires was."""
        return self.late[min(int(len(self.late) * share), len(self.late) - 1)]


def show(judged: Judged, crew: Fleet) -> Judged:
    """Shown by `pytest -s`, and when a test fails."""
    sys.stdout.write(
        f"{crew.kills} kills; {judged.slots} slots, {judged.missed} missed, {judged.skipped} skipped; late by"
        f" {judged.at(0.5) * 1e3:.0f} ms, p99 {judged.at(0.99) * 1e3:.0f} ms; fired by {dict(crew.fired())}\n"
    )
    assert judged.slots > 0
    return judged


async def judge(store: Store, begin: datetime, kinds: Sequence[Kind], until: float) -> Judged:
    """Every slot from the first to the last occurs once in the ledger, as a job or as missed or skipped; in order.

    The last one of each schedule lies less than an interval before `until`: nothing that was due then is left.
    """
    told, jobs = await ledger(store), await jobs_by_schedule(store)
    late: list[float] = []
    for kind in kinds:
        for n in range(kind.number):
            id_ = f"{kind.name}-{n}"
            record, runs = told[id_]
            first = (begin + timedelta(seconds=kind.interval * n / kind.number)).timestamp()
            _judge_one(record, runs, Every(kind.interval, start=datetime.fromtimestamp(first, UTC)), first)
            _judge_jobs(record, runs, jobs.get(id_, []))
            assert record.fired_to > until - kind.interval, f"{id_} stopped {until - record.fired_to:.3f} s too early"
            late += [run.fired - run.slot for run in runs if run.kind == "slot" and run.slot is not None]
    records = [record for record, _ in told.values()]
    return Judged(
        slots=sum(record.runs for record in records),
        missed=sum(record.missed for record in records),
        skipped=sum(record.skipped for record in records),
        late=sorted(late),
    )


async def judge_changed(store: Store) -> int:
    """What people have changed all the time: each slot at most once, in order; nothing is counted wrong.

    Returns how many slots became jobs.
    """
    jobs = await jobs_by_schedule(store)
    slots = 0
    for record in (await store.get_schedules([*CHANGED, *REMOVED])).schedules:
        runs = await store.runs(record.id)
        _judge_jobs(record, runs, jobs.get(record.id, []))
        assert [run.number for run in runs] == list(range(1, record.number + 1))
        last = 0.0
        for each in _gaps(runs):
            some = [each] if isinstance(each, Run) else each
            first = min((run.slot for run in some if run.slot is not None), default=None)
            assert first is None or first > last, f"{some} come again, or too late"
            last = max((run.last_slot or run.slot or last for run in some), default=last)
        assert last <= record.fired_to
        if record.id in CHANGED:
            _judge_counters(record, runs)
        slots += sum(run.kind == "slot" for run in runs)
    return slots


def _judge_one(record: ScheduleRecord, runs: Sequence[Run], trigger: Every, first: float) -> None:
    left = _slots(trigger, first, record.fired_to)
    for each in _gaps(runs):
        if isinstance(each, Run):
            assert left, f"{each} comes again"
            assert each.slot == left.pop(0), f"{record.id}: slots are missing or come twice before {each}"
        else:
            _judge_gap(each, [left.pop(0) for _ in range(min(sum(run.count for run in each), len(left)))])
    assert left == [], f"{record.id}: not in the ledger: {left}"
    assert [run.number for run in runs] == list(range(1, record.number + 1))
    _judge_counters(record, runs)


def _judge_counters(record: ScheduleRecord, runs: Sequence[Run]) -> None:
    counted = Counter[str]()
    for run in runs:
        if run.kind != "trigger":
            counted[run.kind] += run.count
    counters = {"slot": record.runs, "missed": record.missed, "skipped": record.skipped}
    assert counted == Counter(counters), f"{record} has {counted}"


def _judge_gap(records: Sequence[Run], slots: Sequence[float]) -> None:
    """What was left out between two runs: at most a missed and a skipped record, which together stand for all slots."""
    assert len({run.kind for run in records}) == len(records), records
    assert len(slots) == sum(run.count for run in records), f"{records} come again"
    ends = [(run.slot, run.slot if run.last_slot is None else run.last_slot) for run in records]
    assert all(first in slots and last in slots for first, last in ends), f"{records} are not of {slots}"
    assert min(first for first, _ in ends if first is not None) == slots[0], f"{records} are not of {slots}"
    assert max(last for _, last in ends if last is not None) == slots[-1], f"{records} are not of {slots}"


def _slots(trigger: Every, first: float, last: float) -> list[float]:
    """All that there are."""
    found: list[float] = []
    slot: float | None = first
    while slot is not None and slot <= last:
        found.append(slot)
        slot = trigger.next_after(slot)
    return found


def _gaps(runs: Sequence[Run]) -> Iterator[Run | list[Run]]:
    """The records of runs as they are, those of slots that were left out between two of them together."""
    for has_job, some in groupby(runs, key=lambda run: run.job is not None):
        if has_job:
            yield from some
        else:
            yield list(some)


def _judge_jobs(record: ScheduleRecord, runs: Sequence[Run], jobs: Sequence[JobRecord]) -> None:
    ran = {run.job: run.slot for run in runs if run.job is not None}
    assert {job.id: job.slot for job in jobs} == ran, f"{record.id}: its jobs are not those of the ledger"
    slots = [job.slot for job in jobs if job.slot is not None]
    assert len(set(slots)) == len(slots), f"{record.id}: a slot became two jobs"
