"""Adding jobs and groups, one by one in order, as one step."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mainspring.errors import JobNotFound
from mainspring.ids import IdSource
from mainspring.model.moves import added, cancelled
from mainspring.model.record import Group, JobRecord, NewGroup, NewJob
from mainspring.store.base import Added
from mainspring.store.serial.finish import PARENT_FAILED, Outlook, apply, outlook
from mainspring.store.serial.rows import KeyHolder, Rows


def add(rows: Rows, now: float, ids: IdSource, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
    """See `Jobs.add`. Raises JobNotFound, with nothing added, when a job waits on something that does not exist."""
    there = {job.id for job in rows.jobs([new.id for new in jobs]) if job is not None}
    check_parents(rows, [new for new in jobs if new.id not in there], groups)
    _add_groups(rows, groups)
    answers: list[Added] = []
    records: dict[str, JobRecord] = {}
    failed: list[str] = []
    for new in jobs:
        holder = None
        if new.id in there or new.id in records:
            answers.append(Added(new.id, False))
            continue
        if new.unique is not None:
            holder = _holder(rows, records, new.unique, now)
        if holder is not None:
            answers.append(Added(holder, False))
            continue
        looks = "open" if new.waits_on is None else _look(rows, records, new.waits_on)
        record = added(new, now, held=looks != "open")
        records[new.id] = record
        if record.unique is not None:
            rows.take_key(record.unique, KeyHolder(record.id, record.unique_until))
        if looks == "failed":
            failed.append(new.id)
        answers.append(Added(new.id, True))
    _insert(rows, records)
    if failed:
        apply(rows, now, ids, [(records[each], cancelled(records[each], now, PARENT_FAILED)) for each in failed])
    return answers


def check_parents(rows: Rows, jobs: Sequence[NewJob], groups: Sequence[NewGroup]) -> None:
    """Raise JobNotFound before anything is written when a job waits on what is neither stored nor in this batch."""
    if not any(new.waits_on for new in jobs):
        return
    known = {group.id for group in groups}
    for new in jobs:
        parent = new.waits_on
        if parent is not None and parent not in known and outlook(rows, parent) is None:
            raise JobNotFound(
                parent, f"a job cannot wait on {parent}: there is no such job or group; add that one first"
            )
        known.add(new.id)


def _add_groups(rows: Rows, groups: Sequence[NewGroup]) -> None:
    known = rows.groups([group.id for group in groups]) if groups else []
    for group, there in zip(groups, known, strict=True):
        if there is None:
            rows.put_group(Group(id=group.id, size=group.size, remaining=group.size, on_failure=group.on_failure))


def _holder(rows: Rows, records: dict[str, JobRecord], key: str, now: float) -> str | None:
    """The job that holds this key, if it still does."""
    holder = rows.key(key)
    if holder is None or holder.job in records:
        return None if holder is None else holder.job
    if holder.until is None or holder.until > now:
        return holder.job
    job = rows.jobs([holder.job])[0]
    return None if job is None or job.terminal else job.id


def _look(rows: Rows, records: dict[str, JobRecord], waits_on: str) -> Outlook:
    """How it stands with what a new job waits on, which may have been added in the same batch."""
    if waits_on in records:
        records[waits_on] = _linked(records[waits_on])
        return "held"
    return outlook(rows, waits_on) or "open"


def _linked(record: JobRecord) -> JobRecord:
    return record if record.linked else replace(record, linked=True)


def _insert(rows: Rows, records: dict[str, JobRecord]) -> None:
    rows.insert(list(records.values()))
    rows.link({job.waits_on for job in records.values() if job.waits_on and job.waits_on not in records})
