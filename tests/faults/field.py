"""A field of work for the fault tests: worker processes under steady load, a ledger outside the store, a judgement."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from mainspring import App
from mainspring.errors import StoreFull, StoreUnavailable
from tests.faults.crew import ACCEPTED, LEDGER, LINE
from tests.process.running import Run
from tests.servers.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = 0.5  # seconds over which throughput is counted
SETTLED = 0.7  # seconds of work that are not measured: connections are opened, the first lanes learnt
STEADY = 3  # samples before a fault
AMPLE = 300  # jobs that are always there to be done
SEATS = 12  # jobs at once of each worker
GROWS_BY = 100
BACK = 0.7  # the share of the throughput before that must be reached again ...
BACK_WITHIN = 10.0  # ... so many seconds after the fault
LEASE = 2.0
"""Shorter than the outages, so that every beat is too old when the store is back."""


class Crew:
    """One worker process; what it logs is in a file."""

    def __init__(self, folder: Path, argv: list[str], environment: Mapping[str, str]) -> None:
        self.log = folder / f"crew-{len(list(folder.glob('crew-*')))}.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *argv], cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Entry:
    """A line of the ledger; `at` is in seconds of the machine's monotonic clock."""

    number: int
    at: float
    pid: int


@dataclass(frozen=True)
class Judged:
    """What the store and the ledger say when all work is done."""

    rescues: int
    crashes: int
    runs: Counter[int]
    by_process: Counter[int]


class Field:
    """Workers, load and measurements around one fault.

    Args:
        folder: for the ledger and the logs.
        server: where the truth is read, whatever happens on the way to it.
        schema: of the store.
        url: the store's address for everybody; default: the server's, with a time limit of 2 s.
    """

    def __init__(self, folder: Path, server: Postgres, schema: str, url: str | None = None) -> None:
        self.folder = folder
        self.url = url or f"{server.url(schema)}&timeout=2"
        self.environment = {
            "MAINSPRING_URL": self.url,
            "FIELD": str(folder),
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        }
        self.crew: list[Crew] = []
        self.added: list[int] = []
        self.unclear: list[int] = []
        self.refused: list[int] = []
        self.before = 0.0
        self._dsn, self._schema = server.dsn, schema
        self._numbers = 0
        self._enough = False
        self._began = time.monotonic()
        for name in (LEDGER, ACCEPTED):
            (folder / name).touch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self.crew:
            each.kill()
        if error is not None:
            for each in self.crew:
                sys.stdout.write(f"--- {each.log.name}\n{each.log.read_text()[-3000:]}\n")  # shown beside the failure

    # --- people ---------------------------------------------------------------------------------

    def staff(self, count: int, *, url: str | None = None, workers: int = 1, skew: float = 0.0) -> list[Crew]:
        """Start processes with `workers` workers each, whose clock is wrong by `skew` seconds."""
        settings = {"concurrency": SEATS // workers, "lease_time": LEASE, "workers": workers}
        argv = ["tests.faults.skewed", str(skew)] if skew else ["tests.faults.crew"]
        environment = self.environment | ({"MAINSPRING_URL": url} if url else {})
        started = [Crew(self.folder, [*argv, json.dumps(settings)], environment) for _ in range(count)]
        self.crew += started
        return started

    async def until_up(self) -> None:
        """Everybody works."""
        wanted = {f"up {each.pid}" for each in self.crew}

        def all_up() -> bool:
            assert all(each.lives for each in self.crew), "a worker has ended at its start"
            return wanted <= set(self.accepted())

        await until(all_up, 30.0, "a worker does not start")
        self._say("all are up")

    def run(self, processes: int) -> Run:
        """`mainspring run` with so many worker processes."""
        arguments = ["run", "tests.faults.crew:app", "--processes", str(processes), "--concurrency", str(SEATS)]
        return Run(self.folder, [*arguments, "--lease-time", str(LEASE), "--grace", "0.5"], self.environment)

    async def until_run(self, run: Run, count: int) -> list[int]:
        """The process ids of the workers of a `mainspring run`, as soon as it has had so many."""
        return await asyncio.to_thread(run.until_up, count)

    def held_by(self, pid: int) -> int:
        """How many jobs a process has in the eyes of the store."""
        held = "SELECT count(*) FROM {s}.jobs WHERE state = 'running' AND worker IN (SELECT id FROM {s}.workers"
        return int(self.sql(f"{held} WHERE pid = {pid})")[0][0])

    # --- work -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def load(self, task: str = "work") -> AsyncGenerator[None]:
        """Offer work all the time: a batch whenever there is less than enough, and single jobs."""
        async with App(self.url) as app:
            offering = asyncio.create_task(self._offer(app, task))
            try:
                yield
            finally:
                self.enough()
                await offering

    def enough(self) -> None:
        """Offer no more."""
        self._enough = True

    async def add(self, app: App, task: str, count: int = 1, **arguments: object) -> list[int]:
        """Add jobs; what may or may not have been stored is remembered apart."""
        remote = app.remote(task)
        numbers = [*range(self._numbers, self._numbers + count)]
        self._numbers += count
        try:
            if count == 1:
                await remote.enqueue(number=numbers[0], **arguments)
            else:
                await app.enqueue_many([remote.bind(number=number, **arguments) for number in numbers])
        except StoreUnavailable:
            self.unclear += numbers
        except StoreFull:
            self.refused += numbers
        else:
            self.added += numbers
        return numbers

    async def _offer(self, app: App, task: str) -> None:
        while not self._enough:
            if self._numbers - len(self.refused) - self.effects < AMPLE:
                await self.add(app, task, GROWS_BY)
            await self.add(app, task)
            await asyncio.sleep(0.02)

    # --- throughput -----------------------------------------------------------------------------

    @property
    def effects(self) -> int:
        """Lines of the ledger so far."""
        return (self.folder / LEDGER).stat().st_size // LINE

    async def steady(self) -> None:
        """Work for a while, and remember the median throughput."""
        await self.until_up()
        await until(lambda: self.effects > 0, 20.0, "no work is done")
        await asyncio.sleep(SETTLED)
        self.before = statistics.median([await self._sample() for _ in range(STEADY)])
        assert self.before > 0
        self._say(f"steady, {self.before / SAMPLE:g} jobs/s")

    async def recovered(self) -> float:
        """Returns when throughput has been back for two samples; in how many seconds. Fails after ten."""
        began = time.monotonic()
        seen: list[int] = []
        while len(seen) < 2 or sum(seen[-2:]) < BACK * self.before * 2:
            took = time.monotonic() - began
            assert took < BACK_WITHIN, f"throughput is not back: {self.before:g} before, then {seen}"
            seen.append(await self._sample())
        took = time.monotonic() - began
        self._say(f"throughput is back after {took:.1f} s: {seen}")
        return took

    def _say(self, text: str) -> None:
        """Shown by `pytest -s`, and when a test fails."""
        sys.stdout.write(f"{time.monotonic() - self._began:5.1f} s: {text}\n")

    async def _sample(self) -> int:
        was = self.effects
        await asyncio.sleep(SAMPLE)
        return self.effects - was

    # --- judgement ------------------------------------------------------------------------------

    async def judge(self, *, died: bool = False, within: float = 30.0) -> Judged:
        """All work ends; nothing is lost, nothing ends twice. Without a death nothing runs twice, nobody is rescued.

        Args:
            died: a process was killed or cut off on purpose.
            within: seconds in which the work must end.
        """
        await until(lambda: not self.sql("SELECT 1 FROM {s}.jobs LIMIT 1"), within, self._left)
        ended = self.sql("SELECT id::text, state, rescues, crashes FROM {s}.jobs_done")
        ended += self.sql("SELECT id::text, state, rescues, crashes FROM {s}.jobs_kept")
        number = len(ended)
        assert {row[1] for row in ended} == {"completed"}
        assert len({row[0] for row in ended}) == number
        assert self.sql("SELECT state, sum(number)::int FROM {s}.tallies GROUP BY 1") == [("completed", number)]
        runs = Counter(entry.number for entry in self.noted("effect"))
        assert len(self.added) <= number <= len(self.added) + len(self.unclear)
        assert set(self.added) <= runs.keys() <= {*self.added, *self.unclear}, "effects are missing, or nobody's"
        assert len(runs) == number
        self._judge_settlements([row[0] for row in ended], all_seen=not died)
        self._say(f"{number} jobs have ended")
        rescues, crashes = sum(row[2] for row in ended), sum(row[3] for row in ended)
        if not died:
            assert set(runs.values()) == {1}, "a job ran twice"
            assert rescues == 0, "living workers were taken for dead"
            assert all(each.lives for each in self.crew)
        return Judged(rescues, crashes, runs, Counter(entry.pid for entry in self.noted("effect")))

    def _judge_settlements(self, jobs: list[str], *, all_seen: bool) -> None:
        """Each job was settled for good once, as the workers were answered; a killed one cannot tell."""
        seen = Counter(line.split()[1] for line in self.accepted() if line.startswith("complete "))
        twice = [job for job, times in seen.items() if times > 1]
        assert not twice, (
            f"settled for good twice: {[line for line in self.accepted() if set(twice) & set(line.split())]}"
        )
        assert seen.keys() <= set(jobs)
        if all_seen:
            assert seen.keys() == set(jobs)

    def _left(self) -> str:
        return f"stuck: {self.sql('SELECT state, reason, worker, count(*) FROM {s}.jobs GROUP BY 1, 2, 3')}"

    def noted(self, kind: str) -> list[Entry]:
        """The lines of the ledger of this kind."""
        lines = [line.split() for line in (self.folder / LEDGER).read_text().splitlines()]
        return [Entry(int(line[1]), int(line[2]) / 1e9, int(line[3])) for line in lines if line[0] == kind]

    async def until_noted(self, count: int, kind: str) -> None:
        """Returns when there are so many."""
        await until(lambda: len(self.noted(kind)) >= count, 60.0, f"not {count} lines {kind!r}")

    def accepted(self) -> list[str]:
        """What the workers said of themselves: that they are up, and which settlements were accepted."""
        return (self.folder / ACCEPTED).read_text().splitlines()

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        """The rows of a statement, straight from the server; {s} is the schema."""
        with self.session() as connection:
            return connection.execute(text.replace("{s}", f'"{self._schema}"').encode()).fetchall()

    @contextmanager
    def session(self) -> Generator[psycopg.Connection]:
        """A session of somebody else's."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            yield connection


async def until(true: Callable[[], bool], within: float, what: str | Callable[[], str]) -> None:
    """Returns when it is true; fails when that takes too long."""
    ends = time.monotonic() + within
    while not true():
        assert time.monotonic() < ends, what if isinstance(what, str) else what()
        await asyncio.sleep(0.02)
