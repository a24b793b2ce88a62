"""Jobs in SQLite: one table; what a verb changes is written in as few statements as may be."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import msgspec

from mainspring.model.record import JobRecord, Settlement
from mainspring.store.base import Lane
from mainspring.store.serial.rows import PARENT_FAILED
from mainspring.store.sql import statements
from mainspring.store.sqlite.connect import PACKAGE
from mainspring.store.sqlite.records import (
    Row,
    added_row,
    job_of,
    marks_of,
    written_row,
)

SQL: Final = statements(PACKAGE, "jobs")
INSERT_AT_ONCE: Final = 40
"""Rows of one INSERT: a third cheaper than one by one, and below the 999 parameters of an old SQLite."""

_VALUES: Final = SQL["insert"][SQL["insert"].rindex("(") :]
_INSERT_MANY: Final = SQL["insert"] + (", " + _VALUES) * (INSERT_AT_ONCE - 1)
_PLACES_KEPT: Final = 100_000

LaneKey = tuple[str, str, str]
Change = tuple[JobRecord, JobRecord]
_json = msgspec.json.Encoder().encode


class SqliteJobs:
    """`JobRows` in SQLite. `begin` comes before each batch of verbs, `flush` before its commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._tally: Counter[tuple[str, str, str, str]] = Counter()
        self._seen: dict[str, int] = {}  # where heads of lanes are
        self._claimed: dict[str, int] = {}  # where the jobs are that this process was given
        self._lane_of: dict[str, LaneKey] = {}  # and to which lane they belong
        self._lanes: dict[LaneKey, LaneKey] = {}
        self.woke: set[str] = set()
        """The queues in which this batch has made something ready."""

    def begin(self) -> None:
        """Forget what an earlier batch left."""
        self._tally.clear()
        self._seen.clear()
        self.woke.clear()

    def flush(self) -> None:
        """Write what was only counted so far."""
        changed = [(*key, number) for key, number in self._tally.items() if number]
        if changed:
            self._db.executemany(SQL["tally"], changed)
        self._tally.clear()

    def jobs(self, ids: Sequence[str]) -> list[JobRecord | None]:
        if len(ids) == 1:
            row = self._db.execute(SQL["by_id"], (ids[0],)).fetchone()
            return [None if row is None else job_of(row)]
        found = {job.id: job for job in self._select("by_ids", as_json(ids))} if ids else {}
        return [found.get(each) for each in ids]

    def insert(self, jobs: Sequence[JobRecord]) -> None:
        rows = [added_row(job) for job in jobs]
        whole = len(rows) - len(rows) % INSERT_AT_ONCE
        for start in range(0, whole, INSERT_AT_ONCE):
            self._db.execute(_INSERT_MANY, list(chain.from_iterable(rows[start : start + INSERT_AT_ONCE])))
        self._many("insert", rows[whole:])
        self._many("mark", [mark for job in jobs for mark in marks_of(job)])
        for job in jobs:
            self._entered(job)

    def write(self, changes: Sequence[Change]) -> None:
        claims: list[Change] = []
        others: list[Row] = []
        for change in changes:
            before, after = change
            if before.state != after.state:
                self._tally[before.queue, before.task, before.version, before.state] -= 1
                self._entered(after)
            if after.state == "running" and before.state == "ready" and before.id in self._seen:
                claims.append(change)
            else:
                others.append(written_row(after))
        if claims:
            self._claim(claims)
        self._many("write", others)

    def complete(self, settlements: Sequence[Settlement], now: float) -> bool:
        """End jobs that this process was given and with which nothing else ends, in one statement.

        False, with nothing changed: one of them is not that simple, and the general verb must settle them.
        """
        places = [self._claimed.pop(each.job, None) for each in settlements]
        rows: list[Row] = []
        for each, place in zip(settlements, places, strict=True):
            if place is None:
                return False
            started = None if each.ran is None else now - each.ran
            rows.append((each.reason, started, now, each.result, place, each.job, each.lease))
        self._db.execute("SAVEPOINT plain")
        done = self._db.executemany(SQL["complete"], rows).rowcount == len(rows)
        if not done:
            self._db.execute("ROLLBACK TO plain")
        self._db.execute("RELEASE plain")
        lanes = Counter(self._lane_of.pop(each.job) for each in settlements) if done else {}
        for lane, number in lanes.items():
            self._tally[(*lane, "running")] -= number
            self._tally[(*lane, "completed")] += number
        return done

    def link(self, ids: Iterable[str]) -> None:
        wanted = list(ids)
        if wanted:
            self._db.execute(SQL["link"], (as_json(wanted),))

    def remove(self, ids: Sequence[str]) -> None:
        gone = [job for job in self.jobs(list(dict.fromkeys(ids))) if job is not None]
        for job in gone:
            self._tally[job.queue, job.task, job.version, job.state] -= 1
        removed = [(job.id,) for job in gone]
        for name in ("remove", "forget_attempts", "forget_progress"):
            self._many(name, removed)
        marked = [mark for job in gone for mark in marks_of(job)]
        self._many("unmark", marked)
        self._many("forget_group", [(value, value) for kind, value, _ in marked if kind == "waits_on"])
        self._many("forget_lonely_group", [(each,) for each in {value for kind, value, _ in marked if kind == "group"}])

    def heads(self, lane: Lane, suspect: bool, limit: int) -> list[JobRecord]:
        key = (lane.queue, lane.task, lane.version, suspect, limit)
        found: list[JobRecord] = []
        for row in self._db.execute(SQL["heads"], key):
            job = job_of(row)
            self._seen[job.id] = row[0]
            found.append(job)
        return found

    def claimed_as(self, worker: str, number: int) -> list[JobRecord]:
        return self._select("claimed_as", worker, number)

    def running(self, worker: str | None, limit: int) -> list[JobRecord]:
        return self._select("strays", limit) if worker is None else self._select("running", worker, limit)

    def due(self, now: float, limit: int) -> list[JobRecord]:
        return self._select("due", now, limit)

    def next_due(self) -> float | None:
        first: float | None = self._db.execute(SQL["next_due"]).fetchone()[0]
        return first

    def late(self, now: float, limit: int) -> list[JobRecord]:
        return self._select("late", now, limit)

    def dependants(self, ids: Sequence[str], state: str) -> list[JobRecord]:
        return self._select("dependants", as_json(ids), state) if ids else []

    def prunable(self, state: str, before: float, limit: int) -> list[JobRecord]:
        return self._select("prunable", state, before, PARENT_FAILED, PARENT_FAILED, limit)

    def _claim(self, changes: Sequence[Change]) -> None:
        """Ready jobs become running, all in one statement: a claim gives all of them the same."""
        first = changes[0][1]
        if len(self._lane_of) > _PLACES_KEPT:
            self._claimed.clear()  # a cache: what was settled by others stays in it
            self._lane_of.clear()
        places: list[int] = []
        for _, job in changes:
            seq = self._seen[job.id]
            places.append(seq)
            if not job.linked:
                lane = (job.queue, job.task, job.version)
                self._claimed[job.id] = seq
                self._lane_of[job.id] = self._lanes.setdefault(lane, lane)
        self._db.execute(SQL["claim"], (first.worker, first.claim, first.claimed, first.claimed, as_json(places)))

    def _entered(self, job: JobRecord) -> None:
        self._tally[job.queue, job.task, job.version, job.state] += 1
        if job.state == "ready":
            self.woke.add(job.queue)

    def _select(self, name: str, *parameters: str | float) -> list[JobRecord]:
        return [job_of(row) for row in self._db.execute(SQL[name], parameters).fetchall()]

    def _many(self, name: str, rows: Sequence[Row]) -> None:
        if rows:
            self._db.executemany(SQL[name], rows)


def as_json(values: Sequence[str | int | float | tuple[str, str]]) -> str:
    """A list as the text that `json_each` takes apart again."""
    return _json(values).decode()
