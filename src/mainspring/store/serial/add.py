"""Adding jobs and groups, one by one in order, as one step."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mainspring.errors import JobNotFound
from mainspring.ids import IdSource
from mainspring.model.moves import added, cancelled
from mainspring.model.record import Group, JobRecord, NewGroup, NewJob
from mainspring.store.base import Added
from mainspring.store.serial.finish import Outlook, apply, outlook
from mainspring.store.serial.rows import PARENT_FAILED, KeyHolder, Unit


def add(rows: Unit, now: float, ids: IdSource, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
    """See `Jobs.add`. Raises JobNotFound, with nothing added, when a job waits on something that does not exist.

    A job that is left out because its key is taken: a new group counts it as ended, and what would wait on it waits on
    the holder of the key. Members come before what waits on their group.
    """
    if groups or not _all_plain(jobs):
        return _add_tied(rows, now, ids, jobs, groups)
    there = rows.jobs([new.id for new in jobs])
    records: dict[str, JobRecord] = {}
    answers: list[Added] = []
    for new, known in zip(jobs, there, strict=True):
        fresh = known is None and new.id not in records
        if fresh:
            records[new.id] = added(new, now)
        answers.append(Added(new.id, fresh))
    rows.insert(list(records.values()))
    return answers


def _all_plain(jobs: Sequence[NewJob]) -> bool:
    """Whether none of these has to do with any other job, as most have not."""
    for new in jobs:  # noqa: SIM110  # a generator costs a call for each
        if new.unique is not None or new.waits_on is not None or new.group is not None:
            return False
    return True


def _add_tied(rows: Unit, now: float, ids: IdSource, jobs: Sequence[NewJob], groups: Sequence[NewGroup]) -> list[Added]:
    """The same for jobs with keys, groups, and others that they wait on."""
    there = {job.id for job in rows.jobs([new.id for new in jobs]) if job is not None}
    check_parents(rows, [new for new in jobs if new.id not in there], groups)
    counting = _add_groups(rows, groups)
    counted = {group.id for group in groups} - counting.keys()  # by an earlier send of this very call
    answers: list[Added] = []
    records: dict[str, JobRecord] = {}
    holders: dict[str, str] = {}
    failed: list[str] = []
    for new in jobs:
        if new.id in there or new.id in records:
            answers.append(Added(new.id, False))
            continue
        held_by = None if new.unique is None else _holder(rows, records, new.unique, now)
        if held_by is not None:
            holders[new.id] = held_by
            if new.group in counting:
                _count_out(rows, new.group)
            answers.append(Added(held_by, False))
            continue
        if new.waits_on in holders:
            new = replace(new, waits_on=holders[new.waits_on])  # noqa: PLW2901  # as if it had been asked for so
        if new.group in counted:
            new = replace(new, group=None)  # noqa: PLW2901  # it was left out then, and counted as ended
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


def check_parents(rows: Unit, jobs: Sequence[NewJob], groups: Sequence[NewGroup]) -> None:
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


def _add_groups(rows: Unit, groups: Sequence[NewGroup]) -> dict[str | None, NewGroup]:
    """Store those that are not there yet, and return them."""
    known = rows.groups([group.id for group in groups]) if groups else []
    fresh = [group for group, there in zip(groups, known, strict=True) if there is None]
    for group in fresh:
        rows.put_group(Group(id=group.id, size=group.size, remaining=group.size, on_failure=group.on_failure))
    return {group.id: group for group in fresh}


def _count_out(rows: Unit, group_id: str | None) -> None:
    group = None if group_id is None else rows.groups([group_id])[0]
    if group is not None:
        rows.put_group(replace(group, remaining=group.remaining - 1))


def holder(rows: Unit, key: str, now: float) -> str | None:
    """The job that holds this key, if it still does."""
    return _holder(rows, {}, key, now)


def _holder(rows: Unit, records: dict[str, JobRecord], key: str, now: float) -> str | None:
    row = rows.key(key)
    if row is None or row.job in records:
        return None if row is None else row.job
    if row.until is None or row.until > now:
        return row.job
    job = rows.jobs([row.job])[0]
    return None if job is None or job.terminal else job.id


def _look(rows: Unit, records: dict[str, JobRecord], waits_on: str) -> Outlook:
    """How it stands with what a new job waits on, which may have been added in the same batch."""
    if waits_on in records:
        records[waits_on] = _linked(records[waits_on])
        return "held"
    return outlook(rows, waits_on) or "open"


def _linked(record: JobRecord) -> JobRecord:
    return record if record.linked else replace(record, linked=True)


def _insert(rows: Unit, records: dict[str, JobRecord]) -> None:
    rows.insert(list(records.values()))
    rows.link({job.waits_on for job in records.values() if job.waits_on and job.waits_on not in records})
