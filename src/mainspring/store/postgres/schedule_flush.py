"""Writing what a verb has done to schedules and their runs, each kind of change as one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mainspring.errors import StoreUnavailable
from mainspring.store.postgres.place import Connection
from mainspring.store.postgres.records import columns_of
from mainspring.store.postgres.schedule_records import (
    added_run_values,
    changed_run_values,
    moved_values,
    only_moved,
    put_values,
)
from mainspring.store.postgres.schedule_work import ScheduleWork


class PutMeanwhile(StoreUnavailable):
    """Somebody has put a schedule that was not there when we looked; nothing may be committed."""


async def flush_schedules(connection: Connection, sql: Mapping[str, str], work: ScheduleWork) -> None:
    """Write everything. Raises PutMeanwhile."""

    async def batch(name: str, rows: Iterable[Sequence[Any]]) -> None:
        columns = columns_of(rows)
        if columns:
            await connection.execute(sql[name], *columns)

    if work.schedules_put:
        changes = [(work.schedule_before(each), work.schedules_put[each]) for each in sorted(work.schedules_put)]
        moved = [before is not None and only_moved(before, after) for before, after in changes]
        await batch("move", [moved_values(after) for (_, after), only in zip(changes, moved, strict=True) if only])
        put = [put_values(after, before) for (before, after), only in zip(changes, moved, strict=True) if not only]
        if put:
            rows = await connection.fetch(sql["put"], *columns_of(put), "", "")
            if len(rows[0][0]) < len(put):
                raise PutMeanwhile("a schedule was put by somebody else meanwhile; repeat the call")
    if work.runs_put:
        runs = [run for each in sorted(work.runs_put) for _, run in sorted(work.runs_put[each].items())]
        there = [run for run in runs if work.run_is_there(run)]
        await batch("change_runs", [changed_run_values(run) for run in there if run.job is not None])
        await batch("grow_runs", [added_run_values(run) for run in there if run.job is None])
        await batch("add_runs", [added_run_values(run) for run in runs if not work.run_is_there(run)])
    await batch("trim_runs", sorted(work.runs_trimmed.items()))
