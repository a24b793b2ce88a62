"""Writing what a verb has done to schedules and their runs, as one statement wherever that can be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from mainspring.errors import StoreUnavailable
from mainspring.model.schedule import Run
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

_PARAMETER: Final = re.compile(r"\$(\d+)")


class PutMeanwhile(StoreUnavailable):
    """Somebody has put a schedule that was not there when we looked; nothing may be committed."""


class Part(NamedTuple):
    """A statement that changes rows and answers nothing, and its parameters."""

    sql: str
    parameters: Sequence[Any]


class Ledger(NamedTuple):
    """Runs by what is to be done with them: no row comes twice, so that all of it can be one statement."""

    added: list[Run]
    ended: list[Run]
    grown: list[Run]
    dropped: list[tuple[str, int]]

    @classmethod
    def of(cls, work: ScheduleWork) -> Ledger:
        """What a verb has put; what it has put and trimmed as well is dropped, or never written."""
        ledger = cls([], [], [], [])
        for schedule in sorted(work.runs_put):
            below = work.runs_trimmed.get(schedule, 0)
            for number, run in sorted(work.runs_put[schedule].items()):
                there, kept = work.run_is_there(run), number >= below or run.open
                if there and run.job is not None:
                    if kept:
                        ledger.ended.append(run)
                    else:
                        ledger.dropped.append((schedule, number))
                elif kept:
                    (ledger.grown if there else ledger.added).append(run)
        return ledger


async def flush_schedules(
    connection: Connection, sql: Mapping[str, str], work: ScheduleWork, first: Sequence[Part] = ()
) -> None:
    """Write everything, and `first` with it. Raises PutMeanwhile."""
    changes = [(work.schedule_before(each), work.schedules_put[each]) for each in sorted(work.schedules_put)]
    moved = [before is not None and only_moved(before, after) for before, after in changes]
    ledger = Ledger.of(work)
    batches: dict[str, list[tuple[Any, ...]]] = {
        "move": [moved_values(after) for (_, after), only in zip(changes, moved, strict=True) if only],
        "change_runs": [changed_run_values(run) for run in ledger.ended],
        "grow_runs": [added_run_values(run) for run in ledger.grown],
        "add_runs": [added_run_values(run) for run in ledger.added],
        "drop_runs": [*ledger.dropped],
        "trim_runs": sorted(work.runs_trimmed.items()),
    }
    parts = [*first, *(Part(sql[name], columns_of(rows)) for name, rows in batches.items() if rows)]
    if parts:
        text = together(tuple(part.sql for part in parts))
        await connection.execute(text, *(value for part in parts for value in part.parameters))
    put = [put_values(after, before) for (before, after), only in zip(changes, moved, strict=True) if not only]
    if put:
        answer = await connection.fetch(sql["put"], *columns_of(put), "", "")
        if len(answer[0][0]) < len(put):
            raise PutMeanwhile("a schedule was put by somebody else meanwhile; repeat the call")


@cache
def together(texts: tuple[str, ...], answer: str = "SELECT") -> str:
    """Statements that change rows of different tables, or different rows, as one: a round trip for all of them.

    `answer` is what it answers, and may read of `part0`, `part1` and so on what those return.

    >>> together(("UPDATE a SET n = $1", "DELETE FROM b WHERE n = $2 OR n = $1"))
    'WITH part0 AS (UPDATE a SET n = $1), part1 AS (DELETE FROM b WHERE n = $3 OR n = $2) SELECT'
    """
    if len(texts) == 1 and answer == "SELECT":
        return texts[0]
    written: list[str] = []
    before = 0
    for text in (*texts, answer):
        pieces = _PARAMETER.split(text)  # text, number, text, …
        numbers = [int(each) for each in pieces[1::2]]
        pieces[1::2] = [f"${each + before}" for each in numbers]
        written.append("".join(pieces))
        before += max(numbers, default=0)
    parts = ", ".join(f"part{number} AS ({text})" for number, text in enumerate(written[:-1]))
    return f"WITH {parts} {written[-1]}"
