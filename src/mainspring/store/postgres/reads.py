"""The reads. They lock nothing; a page is put together of several looks when much has to be looked at."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from mainspring.model.moves import last_attempt
from mainspring.model.record import AttemptRecord, Group, JobRecord
from mainspring.model.states import State
from mainspring.store.base import Count, Filter, Lane, Page, Worker, WorkerSeen
from mainspring.store.postgres.base import Base
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Pool
from mainspring.store.postgres.records import attempt_of, group_of, is_id, job_of
from mainspring.store.postgres.walks import FEW, Walk, by_id, is_gathered, walks

GROWTH: Final = 10
"""By how much the next look of one `find` is wider than the last."""

WIDEST: Final = 10_000
"""Entries that one look goes by at most: few enough that an index is always the cheapest way."""

SCANNED: Final = 100_000
"""Entries that one call of `find` looks at (RULES M5)."""

COUNTED: Final = 100_000
"""Jobs of one live state that `counts` counts at most; and of one lane, if they are ready."""

OPTIMISTIC: Final = 3000
"""Entries along the ids that are looked at before others are gathered: what is wanted may be frequent."""

READY: Final = 500_000
"""Ready jobs that `counts` counts at most, over all lanes, as long as it can count `LEAST` of each."""

LEAST: Final = 10_000

_FIRST: Final = "00000000-0000-0000-0000-000000000000"
_LAST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


def filled(statement: str, parts: Mapping[str, str]) -> str:
    """A statement with its places taken, those within what was put in as well."""
    while True:
        text = statement
        for name, value in parts.items():
            text = text.replace("{" + name + "}", value)
        if text == statement:
            return text
        statement = text


@cache
def prepared(place: Place) -> dict[str, str]:
    """The statements of `reads.sql` with their places taken, but for those that depend on a filter."""
    sql = place.sql("reads")
    parts = {
        "few": str(FEW),
        "counted": str(COUNTED),
        "ready": str(READY),
        "least": str(LEAST),
        "fits": f"({sql['fits']})",
        "from_lane_to_lane": sql["from_lane_to_lane"],
    }
    texts = {name: filled(text, parts) for name, text in sql.items()}
    get = texts["get"]
    texts["get_one"] = filled(get, {"id": "$1"})
    texts["get_each"] = filled(texts["get_each"], {"get": filled(get, {"id": "wanted.id"})})
    texts["page"] = filled(texts["page"], {"get": filled(get, {"id": "walked.id"})})
    return texts


class Finder:
    """`find`: looks at ever wider stretches of the walks until a page is full, the end is reached, or it is enough."""

    def __init__(self, pool: Pool, sql: Mapping[str, str], wanted: Filter, *, newest: bool) -> None:
        self._pool = pool
        self._sql = sql
        self._wanted = wanted
        self._newest = newest
        groups = walks(wanted)
        self._gathering = [group for group in groups if any(map(is_gathered, group))]
        self._walks = [walk for group in groups if group not in self._gathering for walk in group]

    async def page(self, cursor: str | None, limit: int) -> Page:
        """At most `limit` jobs beyond the cursor."""
        at = cursor if cursor is not None else _LAST if self._newest else _FIRST
        if limit < 1 or not is_id(at):
            return Page([], cursor if limit < 1 else None)
        along = [*self._walks, *(by_id(group[0].table) for group in self._gathering)]
        narrow = all(walk.statement == "by_key" for walk in along)
        scan, left = min(limit + 1 if narrow else max(limit + 1, OPTIMISTIC), SCANNED), SCANNED
        jobs, last = await self._look(along, at, scan, limit + 1)
        while last is not None and len(jobs) <= limit and (left := left - scan) > 0:
            if self._gathering and (limit + 1) * scan > (WIDEST + scan) * len(jobs):
                along = await self._decide(last)  # at this rate the next look would not fill the page
            scan = min(scan * GROWTH, WIDEST, left)
            found, last = await self._look(along, last, scan, limit + 1 - len(jobs))
            jobs += found
        if len(jobs) > limit:
            return Page(jobs[:limit], jobs[limit - 1].id)
        return Page(jobs, last)

    async def _look(self, along: list[Walk], at: str, scan: int, limit: int) -> tuple[list[JobRecord], str | None]:
        """What fits of the next `scan` entries, and the last of these, or None when there were not as many."""
        walked = " UNION ALL ".join(f"({self._text(self._sql[walk.statement], walk)})" for walk in along)
        text = filled(self._sql["page"], {"walks": walked, "limit": str(limit), **self._directions()})
        ordered = all(walk.statement != "tagged" for walk in along)
        rows = await self._fetch(filled(text, {"scan": str(scan)}), at, bitmaps=not ordered)
        jobs = [job_of(row[2:]) for row in rows if row[2] is not None]
        return jobs, rows[-1][0] if rows and rows[-1][1] == scan else None

    async def _decide(self, at: str) -> list[Walk]:
        """Gather what is few, and else go on along the ids."""
        for group in self._gathering:
            number = 0
            for walk in group:
                if is_gathered(walk) and number <= FEW:
                    text = self._text(self._sql["number"], walk)
                    number += (await self._fetch(text, at, bitmaps=walk.statement == "tagged"))[0][0]
            self._walks += group if number <= FEW else [by_id(group[0].table)]
        self._gathering = []
        return self._walks

    async def _fetch(self, text: str, at: str, *, bitmaps: bool) -> list[tuple[Any, ...]]:
        async with self._pool.transaction() as connection:
            await connection.fetch(self._sql["keep_to_the_index"], "on" if bitmaps else "off")
            rows = await connection.fetch(text, *self._parameters(at))
        return [tuple(row) for row in rows]

    def _text(self, statement: str, walk: Walk) -> str:
        return filled(filled(statement, walk.places()), self._directions())

    def _directions(self) -> dict[str, str]:
        if self._newest:
            return {"direction": "DESC", "beyond": "<", "within": ">", "end": _FIRST}
        return {"direction": "ASC", "beyond": ">", "within": "<", "end": _LAST}

    def _parameters(self, at: str) -> list[object]:
        w = self._wanted
        return [
            at, list(w.states) or None, w.task, w.queue, w.created_from, w.created_to, list(w.tags) or None, w.parent,
            w.group, w.correlation, w.schedule,
        ]  # fmt: skip


class ReadVerbs(Base):
    """`store.base.Reads`, and `Jobs.lanes`."""

    @property
    def _reads(self) -> dict[str, str]:
        return prepared(self._place)

    async def get(self, ids: Sequence[str]) -> list[JobRecord | None]:
        known = [each for each in ids if is_id(each)]
        if len(known) == 1:
            rows = await self._pool.fetch(self._reads["get_one"], known[0])
        else:
            rows = await self._pool.fetch(self._reads["get_each"], list(dict.fromkeys(known))) if known else []
        found = {job.id: job for job in map(job_of, rows)}
        return [found.get(each) for each in ids]

    async def find(
        self,
        filter: Filter,  # noqa: A002
        *,
        cursor: str | None = None,
        limit: int = 100,
        newest: bool = False,
    ) -> Page:
        return await Finder(self._pool, self._reads, filter, newest=newest).page(cursor, limit)

    async def attempts(self, job: str) -> list[AttemptRecord]:
        """See `Reads.attempts`. The job first: an attempt that ends between the looks is then told once, as ended."""
        if not is_id(job):
            return []
        record = (await self.get([job]))[0]
        history = [attempt_of(row) for row in await self._pool.fetch(self._reads["attempts"], job)]
        last = None if record is None else last_attempt(record)
        return history if last is None or last.lease in {each.lease for each in history} else [*history, last]

    async def groups(self, ids: Sequence[str]) -> list[Group | None]:
        known = [each for each in ids if is_id(each)]
        rows = await self._pool.fetch(self._reads["groups"], known) if known else []
        found = {group.id: group for group in map(group_of, rows)}
        return [found.get(each) for each in ids]

    async def counts(self) -> list[Count]:
        found: dict[tuple[str, str, str, State], Count] = {}
        for queue, task, version, state, number, exact in await self._pool.fetch(self._reads["counts"]):
            key = (queue, task, version, state)
            before = found.get(key, Count(*key, 0))
            found[key] = Count(*key, before.number + number, before.exact and exact)
        return [count for _, count in sorted(found.items())]

    async def lanes(self) -> list[Lane]:
        """See `Jobs.lanes`. While that costs much, which dead entries can bring about, it is what was found before."""
        began = time.monotonic()
        if self._lanes_ration.allows(began):
            try:
                rows = await self._pool.fetch(self._reads["lanes"])
            finally:
                ended = time.monotonic()
                self._lanes_ration.took(ended - began, ended)
            self._lanes = [Lane(queue, task, version, 1) for queue, task, version in rows]
        return list(self._lanes)

    async def progress(self, job: str) -> bytes | None:
        rows = await self._pool.fetch(self._reads["progress"], job) if is_id(job) else []
        return rows[0][0].encode() if rows else None

    async def workers(self) -> list[WorkerSeen]:
        return [
            WorkerSeen(Worker(id_, name, host, pid, tuple(queues), lease_time), joined, beat, stalled, running)
            for id_, name, host, pid, queues, lease_time, joined, beat, stalled, running in await self._pool.fetch(
                self._reads["workers"]
            )
        ]

    async def paused(self) -> list[str]:
        return [queue for (queue,) in await self._pool.fetch(self._reads["paused"])]
