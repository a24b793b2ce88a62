"""Locking and reading schedules and their runs, for the verbs that fire them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from mainspring.model.record import JobRecord
from mainspring.model.schedule import Run
from mainspring.store.postgres.loaded import Loaded, NotLoaded
from mainspring.store.postgres.records import columns_of, is_id
from mainspring.store.postgres.schedule_records import run_of, schedule_of, standing_job


class Asks(Protocol):
    """What statements are sent to: a connection, or a pool."""

    async def fetch(self, sql: str, /, *args: Any) -> Sequence[Any]:
        """The rows."""
        ...


class ScheduleLoads:
    """Loads into `loaded`, over one connection that has a transaction open.

    Runs are locked, and their jobs read by a later statement, without a lock: nobody's transaction holds up a fire. A
    replay, which makes a job live again, locks its run as well; so an end that was read here is one until our commit.
    """

    def __init__(self, connection: Asks, sql: Mapping[str, str], loaded: Loaded) -> None:
        """`sql`: the statements of `schedules.sql`."""
        self._connection = connection
        self._sql = sql
        self._loaded = loaded
        self._about = loaded.schedules

    async def answer(self, asked: NotLoaded) -> None:
        """Load what the verb has asked for."""
        values = asked.values
        match asked.question:
            case "schedules":
                await self.lock(values)
            case "open runs":
                await self.open_runs(values)
            case "newest runs":
                await self._newest_runs(values)
            case _:
                await self._runs_of(self._loaded.foreseen(asked.question, values))

    async def lock(self, ids: Collection[str]) -> None:
        """Lock and read these schedules; waits for who has them in hand."""
        wanted = sorted(set(ids))
        self._about.schedules.update(dict.fromkeys(wanted))
        records = [schedule_of(row) for row in await self._connection.fetch(self._sql["lock"], wanted)]
        self._about.schedules.update((record.id, record) for record in records)

    async def take(self, ids: Collection[str]) -> float:
        """The same of those that nobody has in hand; the others are `held`. Answers with the store's now."""
        wanted = sorted(set(ids))
        rows = await self._connection.fetch(self._sql["take"], wanted)
        records = [schedule_of(row[1:]) for row in map(tuple, rows) if row[1] is not None]
        found = {record.id: record for record in records}
        self._about.schedules.update(dict.fromkeys(wanted))
        self._about.schedules.update(found)
        missing = [each for each in wanted if each not in found]
        if missing:
            there = await self._connection.fetch(self._sql["there"], missing)
            self._about.held.update(row[0] for row in there)
        now: float = rows[0][0]
        return now

    async def open_runs(self, schedules: Collection[str]) -> None:
        """Lock and read the open runs of these, and see how their jobs stand."""
        wanted = sorted(set(schedules))
        self._about.open.update(wanted)
        await self._read([run_of(row) for row in await self._connection.fetch(self._sql["open_runs"], wanted)])

    async def these_runs(self, keys: Collection[tuple[str, int]]) -> list[Run]:
        """Lock and read those of these runs that are open, and that nobody has in hand."""
        columns = zip(*sorted(keys), strict=True)
        runs = [run_of(row) for row in await self._connection.fetch(self._sql["these_runs"], *columns)]
        await self._read(runs)
        return runs

    async def look_at(self, jobs: Collection[str]) -> None:
        """See how these jobs stand."""
        wanted = sorted(set(jobs))
        if wanted:
            found: dict[str, JobRecord | None] = dict.fromkeys(wanted)
            known = [each for each in wanted if is_id(each)]
            for id_, *row in await self._connection.fetch(self._sql["standings"], known):
                found[id_] = standing_job(id_, row)
            self._loaded.seen.update(found)

    async def _read(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._about.add(run)
        # What the next run may wait for is a group: nothing has to look whether it is a job.
        self._loaded.seen.update((run.group, None) for run in runs if run.group is not None)
        await self.look_at([run.job for run in runs if run.job is not None])

    async def _newest_runs(self, values: Collection[str]) -> None:
        """Of values as `ScheduleWork` writes them: how many, and of which schedule.

        Numbers have gaps where runs were removed, which are older than all that are left but open ones.
        """
        wanted = {schedule: int(number) for number, _, schedule in (each.partition(" ") for each in values)}
        self._about.newest.update(wanted)
        records = [record for record in map(self._about.schedules.get, wanted) if record is not None]
        above = [(record.id, record.number - wanted[record.id]) for record in records]
        for row in await self._connection.fetch(self._sql["newest_runs"], *columns_of(above)) if above else ():
            self._about.add(run_of(row))

    async def _runs_of(self, jobs: Sequence[str]) -> None:
        """Lock and read the runs of jobs that are loaded."""
        self._about.of_jobs.update((each, []) for each in jobs)
        records = [job for job in map(self._loaded.jobs.get, jobs) if job is not None and job.schedule is not None]
        pairs = [(job.schedule, job.id) for job in records]
        for row in await self._connection.fetch(self._sql["runs_of"], *zip(*pairs, strict=True)) if pairs else ():
            run = run_of(row)
            self._about.add(run)
            if run.job is not None:
                self._about.of_jobs[run.job].append(run)
