"""Finding and counting jobs in SQLite."""

from __future__ import annotations

import sqlite3
from functools import cache
from typing import Final, NamedTuple

from mainspring.model.record import JobRecord
from mainspring.store.base import Count, Filter, Lane, Page
from mainspring.store.sql import statements
from mainspring.store.sqlite.connect import PACKAGE
from mainspring.store.sqlite.jobs import as_json
from mainspring.store.sqlite.records import job_of

SQL: Final = statements(PACKAGE, "reads")
SCAN_LIMIT: Final = 100_000
"""Entries that one call of `find` looks at (RULES M5)."""

_AFTER_ALL: Final = "\U0010ffff"
_RARE: Final = frozenset({"scheduled", "waiting", "dead", "expired", "cancelled"})
Parameters = dict[str, str | float | None]


class Walk(NamedTuple):
    """Which index to walk, and what its statement wants to know."""

    name: str
    parameters: dict[str, str]


class SqliteReads:
    """`ReadRows` in SQLite, and what the store itself looks up."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def find(self, filter: Filter, cursor: str | None, limit: int, newest: bool) -> Page:  # noqa: A002
        walk = self._walk(filter, marks := _marks(filter))
        parameters: Parameters = {
            "states": as_json(filter.states) if filter.states else None,
            "task": filter.task,
            "queue": filter.queue,
            "created_from": filter.created_from,
            "created_to": filter.created_to,
            "marks": as_json(marks),
            "cursor": cursor if cursor is not None else _AFTER_ALL if newest else "",
            "scan": SCAN_LIMIT,
            "limit": limit + 1,
            **walk.parameters,
        }
        name = walk.name + "_newest" if newest else walk.name
        rows = self._db.execute(around("page", name), parameters).fetchall()
        jobs: list[JobRecord] = [job_of(row) for row in rows]
        if len(jobs) > limit:
            return Page(jobs[:limit], jobs[limit - 1].id if limit else cursor)
        last = self._db.execute(around("last", name), parameters).fetchone()
        return Page(jobs, None if last is None else last[0])

    def counts(self) -> list[Count]:
        return [Count(*row) for row in self._db.execute(SQL["counts"]).fetchall()]

    def lanes(self) -> list[Lane]:
        rows = self._db.execute(SQL["lanes"]).fetchall()
        return [Lane(queue, task, version, 1) for queue, task, version in rows]

    def miscounted(self) -> int:
        """How many tallies are not what a count over all jobs says; takes seconds with millions of jobs."""
        number: int = self._db.execute(SQL["recount"]).fetchone()[0]
        return number

    def anything_ready(self, queues: frozenset[str]) -> bool:
        """Whether one of these queues has a ready job."""
        found: int = self._db.execute(SQL["anything_ready"], (as_json(sorted(queues)),)).fetchone()[0]
        return found == 1

    def _walk(self, wanted: Filter, marks: list[tuple[str, str]]) -> Walk:
        """The narrowest index for a filter."""
        if marks:
            kind, value = marks[0]
            return Walk("by_mark", {"kind": kind, "value": value})
        state = wanted.states[0] if len(set(wanted.states)) == 1 else None
        if state in _RARE:
            return Walk("by_state", {"state": state})
        if state == "running":
            return Walk("by_running", {})
        if wanted.task is not None:
            return Walk("by_task", {"task": wanted.task})
        if state == "ready" and self._number_in("ready") <= SCAN_LIMIT:
            return Walk("by_ready", {})
        return Walk("by_id", {})

    def _number_in(self, state: str) -> int:
        number: int = self._db.execute(SQL["number_in_state"], (state,)).fetchone()[0]
        return number


@cache
def around(outer: str, walk: str) -> str:
    """The statement `page` or `last` around one of the walks."""
    return SQL[outer].replace("{walk}", SQL[walk])


def _marks(wanted: Filter) -> list[tuple[str, str]]:
    """What the jobs must be marked with, the narrowest first, as far as one can know."""
    kinds = ("parent", "group", "correlation", "schedule")
    named = [(kind, getattr(wanted, kind)) for kind in kinds]
    return [(kind, value) for kind, value in named if value is not None] + [("tag", tag) for tag in wanted.tags]
