"""Answering what a verb asks for: rows are locked, read, and stay as they are until the transaction ends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from mainspring.errors import KeyBusy
from mainspring.store.base import Worker
from mainspring.store.postgres.floors import Floor
from mainspring.store.postgres.loaded import Loaded, NotLoaded, Question
from mainspring.store.postgres.place import Connection
from mainspring.store.postgres.records import Row, group_of, holder_of, is_id, job_of
from mainspring.store.postgres.schedule_loads import ScheduleLoads
from mainspring.store.serial.rows import WorkerRow

_ELSEWHERE: Final = ("done", "kept", "jobs", "done", "kept")
"""Where else a job may be that was not live when we looked: between two looks it may have moved (RULES H11a)."""


class Loads:
    """Loads into `loaded`, over one connection that has a transaction open."""

    def __init__(
        self,
        connection: Connection,
        sql: Mapping[str, str],
        schema: str,
        floor: Floor,
        about_schedules: Mapping[str, str],
    ) -> None:
        """`sql`: the statements of `loads.sql`; `schema`: its name, so that keys of two schemas do not meet."""
        self._floor = floor
        self.loaded = Loaded()
        self.schedules = ScheduleLoads(connection, about_schedules, self.loaded)
        self._connection = connection
        self._sql = sql
        self._schema = schema

    async def answer(self, asked: NotLoaded) -> None:
        """Load what the verb has asked for. Raises KeyBusy."""
        question, values = asked.question, asked.values
        match question:
            case "jobs":
                await self.jobs(self.loaded.foreseen(question, values))
            case "groups":
                await self.groups(self.loaded.foreseen(question, values))
            case "keys":
                await self.keys(self.loaded.foreseen(question, values))
            case "workers":
                rows = await self._connection.fetch(self._sql["workers"])
                self.loaded.workers = [worker_of(row) for row in rows]
            case "dependants" | "ended dependants":
                ended = question == "ended dependants"
                await self._dependants(self.loaded.foreseen(question, values), ended=ended)
            case "running":
                await self._search(question, values, "running" if values else "strays", values)
            case "due":
                await self._search(question, values, question, [int(values[0]), self._floor.due])
            case "late":
                await self._search(question, values, question, [int(values[0]), self._floor.expires])
            case _:
                await self.schedules.answer(asked)

    async def jobs(self, ids: Iterable[str]) -> None:
        """Lock and read these jobs, wherever they are; in the order of ids, so that two of us wait in turn."""
        loaded = self.loaded.jobs
        wanted = sorted(set(ids) - loaded.keys())
        loaded.update(dict.fromkeys(wanted))
        missing = await self._locked("jobs", [each for each in wanted if is_id(each)])
        if missing:  # mostly they are new: one look over all tables says so
            rows = await self._connection.fetch(self._sql["anywhere"], missing)
            missing = sorted({row[0] for row in rows})
        for name in _ELSEWHERE:
            if not missing:
                return
            missing = await self._locked(name, missing)

    async def new_jobs(self, ids: Iterable[str]) -> None:
        """The same for jobs that are about to be added: one look over all tables, mostly, says that they are new."""
        wanted = sorted(set(ids) - self.loaded.jobs.keys())
        known: set[str] = set()
        if wanted:
            known.update(row[0] for row in await self._connection.fetch(self._sql["anywhere"], wanted))
        self.loaded.jobs.update((each, None) for each in wanted if each not in known)
        await self.jobs(known)

    async def groups(self, ids: Iterable[str]) -> None:
        """Lock and read these groups."""
        wanted = sorted(set(ids) - self.loaded.groups.keys())
        self.loaded.groups.update(dict.fromkeys(wanted))
        known = [each for each in wanted if is_id(each)]
        if known:
            rows = await self._connection.fetch(self._sql["groups"], known)
            self.loaded.groups.update((row[0], group_of(row)) for row in rows)

    async def keys(self, keys: Iterable[str]) -> None:
        """Guard these keys, and then read them: what is read stays true until the end. Raises KeyBusy."""
        busy = await self.free_keys(keys)
        if busy:
            raise KeyBusy(sorted(busy))

    async def free_keys(self, keys: Iterable[str]) -> frozenset[str]:
        """The same of those that nobody's open transaction has in its hands; answers with the others."""
        wanted = sorted(set(keys))
        if not wanted:
            return frozenset()
        busy = frozenset(row[0] for row in await self._connection.fetch(self._sql["guard_keys"], wanted, self._schema))
        free = [each for each in wanted if each not in busy]
        self.loaded.keys.update(dict.fromkeys(free))
        if free:
            rows = await self._connection.fetch(self._sql["keys"], free)
            self.loaded.keys.update((row[0], holder_of(row[1:])) for row in rows)
        return busy

    async def _locked(self, name: str, ids: Sequence[str]) -> list[str]:
        """Those that are not there."""
        if not ids:
            return []
        found = {row[0]: job_of(row) for row in await self._connection.fetch(self._sql[name], ids)}
        self.loaded.jobs.update(found)
        return [each for each in ids if each not in found]

    async def _dependants(self, ids: Collection[str], *, ended: bool) -> None:
        """Those that wait on these. When an end brings about others, all that hang on them are loaded at once.

        Who waits on what is not locked yet may change: that is asked again when it is.
        """
        found = self.loaded.ended_dependants if ended else self.loaded.dependants
        far = ended or bool(found)
        name = ("ended_" if ended else "") + ("all_dependants" if far else "dependants")
        wanted = list(ids)
        while wanted:
            locked = {*wanted, *self.loaded.jobs, *self.loaded.groups}
            there: dict[str, list[str]] = {}
            for waited_for, job in await self._connection.fetch(self._sql[name], wanted):
                there.setdefault(waited_for, []).extend([] if job is None else [job])
            found.update((each, list(dict.fromkeys(jobs))) for each, jobs in there.items() if each in locked)
            await self.jobs(job for jobs in there.values() for job in jobs)
            wanted = sorted(there.keys() - locked)
            await self.groups(each for each in wanted if self.loaded.jobs.get(each) is None)

    async def _search(self, question: Question, values: Sequence[str], name: str, arguments: Sequence[object]) -> None:
        jobs = [job_of(row) for row in await self._connection.fetch(self._sql[name], *arguments)]
        for job in jobs:
            self.loaded.jobs.setdefault(job.id, job)
        self.loaded.found[question, tuple(values)] = [job.id for job in jobs]


def worker_of(row: Row) -> tuple[WorkerRow, int]:
    """A worker, and how many jobs it runs."""
    id_, name, host, pid, queues, lease_time, joined, beat, steady_since, stalled, running = row
    worker = Worker(id_, name, host, pid, tuple(queues), lease_time)
    return WorkerRow(worker, joined, beat, steady_since, stalled), running
