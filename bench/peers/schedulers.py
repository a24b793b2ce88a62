"""The contestants of `bench.peers.scheduling`: ours and APScheduler, each loaded where it is asked for."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Protocol

MEMORY = "memory://"
FAR = 86_400  # seconds between two slots of what is not to fire


class Ledger:
    """What has fired: (schedule, slot, when), times since 1970; and how often the function of each schedule ran."""

    def __init__(self) -> None:
        self.fired: list[tuple[int, float, float]] = []
        self.ran: Counter[int] = Counter()
        self.first = asyncio.Event()

    def fire(self, n: int, slots: Iterable[datetime]) -> None:
        now = time.time()
        self.fired += [(n, slot.timestamp(), now) for slot in slots]

    def run(self, n: int) -> None:
        self.ran[n] += 1
        self.first.set()


class Side(Protocol):
    """A contestant, made with the URL of its store and a ledger."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Its store is open; nothing fires."""

    def firing(self) -> AbstractAsyncContextManager[None]:
        """What is due fires; the store is opened if it is not open yet."""

    async def add(self, n: int) -> None:
        """Add schedule n, which fires in a day; stored when it returns."""

    async def bulk(self, number: int, *, due: bool = False) -> None:
        """Add so many of them the fastest way; `due`: the last of them shall fire at once, and nobody measures."""

    async def dense(self, number: int, base: float, slots: int) -> None:
        """Add so many that fire `slots` times, every second: schedule n from `base + n / number` on."""

    async def stored(self) -> int:
        """How many schedules are stored."""

    async def check(self, number: int) -> None:
        """When all has ended: see in its own records of so many schedules that they hold what was fired."""


class Mainspring:
    """Ours: `lateness` counts until the commit has been answered."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self._lib: Any = import_module("mainspring")
        self._app: Any = self._lib.App(url)
        self._ledger = ledger
        self._far = self._lib.Every(FAR, first="after")

        @self._app.task(name="bench.noop", store_result=False)  # type: ignore[untyped-decorator]  # loaded by name
        async def noop(n: int) -> None:
            ledger.run(n)

        self._noop: Any = noop

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self._app:
            yield

    @asynccontextmanager
    async def firing(self) -> AsyncIterator[None]:
        stop = self._app.events.subscribe(import_module("mainspring.events").ScheduleFired, self._fired)
        async with self._app.running(concurrency=100):
            yield
            await self._app.idle()
        stop()

    async def add(self, n: int) -> None:
        await self._app.schedules.put(str(n), self._far, self._noop.bind(n))

    async def bulk(self, number: int, *, due: bool = False) -> None:
        now = self._lib.Every(FAR, first="now")
        last = number - 1 if due else number
        await self._put_many((n, now if n == last else self._far, {}) for n in range(number))

    async def dense(self, number: int, base: float, slots: int) -> None:
        every = self._lib.Every
        await self._put_many(
            (n, every(1, start=datetime.fromtimestamp(base + n / number, UTC)), {"max_runs": slots})
            for n in range(number)
        )

    async def stored(self) -> int:
        return len(await self._app.schedules.list(limit=1_000_000))

    async def check(self, number: int) -> None:
        recorded = []
        for n in range(number):
            runs = await self._app.schedules.runs(str(n))
            if strange := [run for run in runs if run.kind != "slot" or run.state != "completed"]:
                raise SystemExit(f"schedule {n}: {strange[0]}")
            recorded += [(n, run.slot.timestamp()) for run in runs]
        if sorted(recorded) != sorted((n, slot) for n, slot, _ in self._ledger.fired):
            raise SystemExit(f"{len(self._ledger.fired)} slots were fired, and {len(recorded)} recorded")

    async def _put_many(self, wanted: Iterable[tuple[int, Any, dict[str, Any]]]) -> None:
        spec = self._lib.ScheduleSpec
        await self._app.schedules.put_many(
            spec(str(n), trigger, self._noop.bind(n), **options) for n, trigger, options in wanted
        )

    def _fired(self, event: Any) -> None:
        self._ledger.fire(int(event.schedule), event.slots)


class Apscheduler:
    """APScheduler 3 in an event loop, with a coroutine, which is the best of its ways; on SQLite with a WAL.

    No slot is given up or merged with others, however late. `lateness` counts until the run is handed over; it is
    written down after that.
    """

    ledger: Ledger  # the function of a stored job is found by its name, so it is one for all

    def __init__(self, url: str, ledger: Ledger) -> None:
        type(self).ledger = ledger
        self._url = url
        self._scheduler: Any = None
        self._far = self._every(FAR)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._scheduler = self._made(self._store())
        self._scheduler.start(paused=True)
        yield
        self._scheduler.shutdown(wait=False)

    @asynccontextmanager
    async def firing(self) -> AsyncIterator[None]:
        if self._scheduler is not None:
            self._scheduler.resume()
            yield
            return
        async with self.open():
            scheduler: Any = self._scheduler
            scheduler.resume()
            yield

    async def add(self, n: int) -> None:
        self._add(self._scheduler, n, self._far)

    async def bulk(self, number: int, *, due: bool = False) -> None:
        if due:
            self._add_unseen((n, self._far, n == number - 1) for n in range(number))
        else:
            for n in range(number):
                self._add(self._scheduler, n, self._far)

    async def dense(self, number: int, base: float, slots: int) -> None:
        begins = ((n, base + n / number) for n in range(number))
        self._add_unseen((n, self._every(1, begin, begin + slots - 0.5), False) for n, begin in begins)

    async def stored(self) -> int:
        return len(self._scheduler.get_jobs())

    async def check(self, number: int) -> None:
        """It keeps no record."""

    def _every(self, seconds: float, begin: float | None = None, end: float | None = None) -> Any:
        times = {name: _moment(at) for name, at in (("start_date", begin), ("end_date", end)) if at is not None}
        return import_module("apscheduler.triggers.interval").IntervalTrigger(seconds=seconds, timezone=UTC, **times)

    def _add(self, scheduler: Any, n: int, trigger: Any, *, due: bool = False) -> Any:
        first = {"next_run_time": datetime.now(UTC)} if due else {}
        return scheduler.add_job(run_by_name, trigger, args=[n], id=str(n), **first)

    def _add_unseen(self, wanted: Iterable[tuple[int, Any, bool]]) -> None:
        """Add what nobody measures the adding of: to its table in one transaction, which it has no way to do."""
        if self._url == MEMORY:
            for n, trigger, due in wanted:
                self._add(self._scheduler, n, trigger, due=due)
            return
        made = self._made(import_module("apscheduler.jobstores.memory").MemoryJobStore())
        made.start(paused=True)
        rows = [_row(self._add(made, n, trigger, due=due)) for n, trigger, due in wanted]
        made.shutdown(wait=False)
        store = self._scheduler._jobstores["default"]  # noqa: SLF001  # as above
        with store.engine.begin() as connection:
            connection.execute(store.jobs_t.insert(), rows)

    def _made(self, store: Any) -> Any:
        base: Any = import_module("apscheduler.executors.asyncio").AsyncIOExecutor

        class Executor(base):  # type: ignore[misc]  # as above
            def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
                Apscheduler.ledger.fire(int(job.id), run_times)
                super()._do_submit_job(job, run_times)

        return import_module("apscheduler.schedulers.asyncio").AsyncIOScheduler(
            jobstores={"default": store},
            executors={"default": Executor()},
            job_defaults={"misfire_grace_time": None, "coalesce": False, "max_instances": 1000},
            timezone=UTC,
        )

    def _store(self) -> Any:
        if self._url == MEMORY:
            return import_module("apscheduler.jobstores.memory").MemoryJobStore()
        sql = import_module("sqlalchemy")
        engine = sql.create_engine(self._url)

        @sql.event.listens_for(engine, "connect")  # type: ignore[untyped-decorator]  # as above
        def connected(connection: Any, _record: Any) -> None:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")

        return import_module("apscheduler.jobstores.sqlalchemy").SQLAlchemyJobStore(engine=engine)


async def run_by_name(n: int) -> None:
    """The function of APScheduler's jobs."""
    Apscheduler.ledger.run(n)


def _row(job: Any) -> dict[str, object]:
    return {
        "id": job.id,
        "next_run_time": job.next_run_time.timestamp(),
        "job_state": pickle.dumps(job.__getstate__(), pickle.HIGHEST_PROTOCOL),
    }


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


SIDES: dict[str, Callable[[str, Ledger], Side]] = {"mainspring": Mainspring, "apscheduler": Apscheduler}
