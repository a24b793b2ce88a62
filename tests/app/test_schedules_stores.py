"""Schedules across processes and restarts, on SQLite and PostgreSQL in real time; and the blocking face."""

from __future__ import annotations

import asyncio
import inspect
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from mainspring import App, Daily, Every, JobCancelled, Once, Schedule, ScheduleNotFound, ScheduleSpec
from mainspring.app.restart import lives
from mainspring.app.schedules import SchedulesFace
from mainspring.app.schedules_sync import SchedulesSync
from mainspring.errors import AppError

ELSEWHERE = """
import sys
from datetime import time
from mainspring import App, Daily, Every
app = App(sys.argv[1])
bound = app.remote("tick").options(metadata={"by": "the other"}).bind()
before = app.schedules.sync.get("a")
again = app.schedules.sync.put("a", Every(0.05, first="after"), app.remote("tick").bind(), misfire="all", overlap="allow", max_runs=3)
changed = app.schedules.sync.put("a", Daily(time(3)), bound)
print(before.runs, again.record.revision, changed.record.revision, changed.runs, changed.created == before.created)
app.sync.close()
"""

CRASHING = """
import asyncio, os, signal, sys
from mainspring import App, Once
from datetime import UTC, datetime
app = App(sys.argv[1])
@app.task(name="slow")
async def slow():
    os.kill(os.getpid(), signal.SIGKILL)
async def main():
    async with app.running(lease_time=1):
        await app.schedules.put("a", Once(datetime(2026, 1, 1, tzinfo=UTC)), slow.bind())
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'work.db'}"


async def until_runs(app: App, schedule: str, number: int) -> Schedule:
    async with asyncio.timeout(10):
        while (seen := await app.schedules.get(schedule)).runs < number:
            await asyncio.sleep(0.01)
        return seen


async def test_a_put_from_another_process_keeps_the_history(url: str) -> None:
    """The same again changes nothing (the revision stays), another trigger keeps runs and records."""
    app = App(url)

    @app.task(name="tick")
    async def tick() -> None: ...

    async with app:
        await app.schedules.put(
            "a", Every(0.05, first="after"), tick.bind(), misfire="all", overlap="allow", max_runs=3
        )
        async with app.running():
            seen = await until_runs(app, "a", 3)
            assert seen.state == "finished"
            await app.idle()
        slots = [run.slot for run in await app.schedules.runs("a") if run.slot and run.job]
        step = timedelta(seconds=0.05)
        assert len(slots) == 3
        assert all(later > slot and (later - slot) % step == timedelta(0) for slot, later in pairwise(slots))
        command = [sys.executable, "-W", "error", "-c", ELSEWHERE, url]
        answer = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert answer.stderr == ""
        assert answer.stdout.split() == ["3", "1", "2", "3", "True"]
        after = await app.schedules.get("a")
        assert (after.trigger, after.metadata, after.state) == (Daily(time(3)), {"by": "the other"}, "active")
        assert len(await app.schedules.runs("a", states=["completed"])) == 3


async def test_a_change_from_elsewhere_takes_effect_at_once(url: str) -> None:
    here, elsewhere = App(url), App(url)

    @here.daily(time(3), id="a")
    @here.task(name="tick")
    async def tick() -> str:
        return "tack"

    async with here.running(), elsewhere:
        job = await elsewhere.schedules.trigger("a")
        assert job is not None
        assert await job.result(timeout=5) == "tack"
        assert (await elsewhere.schedules.replace("a", Every(0.1))).declared_by == "tests"
        began = asyncio.get_running_loop().time()
        await until_runs(here, "a", 2)
        assert asyncio.get_running_loop().time() - began < 3
        assert await elsewhere.schedules.remove("a", wait=True, cancel=True)
        with pytest.raises(ScheduleNotFound):
            await here.schedules.get("a")


async def test_RST_004_a_declared_schedule_survives_a_restart(url: str) -> None:
    def make() -> App:
        app = App(url)

        @app.every(0.05, id="a")
        @app.task(name="tick")
        async def tick() -> None: ...

        return app

    first = make()
    async with first.running():
        before = await until_runs(first, "a", 2)
    second = make()
    async with second.running():
        after = await until_runs(second, "a", before.runs + 2)
        assert (after.record.revision, after.created) == (1, before.created)
        assert (await second.check())[0].level in {"ok", "warning"}


async def test_SCD_036_ids_that_are_made_are_new_after_a_restart(url: str) -> None:
    """Also S0-52: nothing counts from 1 again, and nothing meets old records."""
    made: list[str] = []
    for _ in range(3):
        app = App(url)
        async with app:
            work = app.remote("t").bind()
            made += [(await app.schedules.add(None, Every(3600), work)).id for _ in range(2)]
            assert await app.schedules.trigger(made[-1])
    assert len(set(made)) == 6
    async with App(url) as app:
        assert [each.id for each in await app.schedules.list()] == sorted(made)
        assert [len(await app.schedules.runs(each)) for each in made] == [0, 1] * 3


async def test_SCD_017_what_somebody_edits_in_the_store_counts_from_the_next_fire(tmp_path: Path) -> None:
    """Unlike its seed, which holds all in memory until a restart: here the store is what counts."""
    path = tmp_path / "work.db"
    app = App(f"sqlite:///{path}")
    app.task(name="t")(nothing)
    async with app.running():
        await app.schedules.put("rare", Every(3600), app.remote("t").bind())
        await app.schedules.put("a", Every(0.05, first="after"), app.remote("t").bind())
        await until_runs(app, "a", 2)
        with closing(sqlite3.connect(path)) as db, db:
            edited = (
                "UPDATE schedules SET definition = (SELECT definition FROM schedules WHERE id = 'rare') WHERE id = 'a'"
            )
            assert db.execute(edited).rowcount == 1
        assert (await app.schedules.get("a")).trigger == Every(3600)
        async with asyncio.timeout(10):
            while (after := await app.schedules.get("a")).record.due is None or after.record.due - datetime.now(
                UTC
            ).timestamp() < 60:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        assert (await app.schedules.get("a")).runs == after.runs


async def test_after_a_crash_what_was_left_can_be_cancelled(url: str) -> None:
    """RST-003, S0-70: SQLite knows at once that the process is gone, PostgreSQL when its lease time has passed."""
    code = [sys.executable, "-W", "error", "-c", CRASHING, url]
    killed = await asyncio.to_thread(subprocess.run, code, capture_output=True, text=True, check=False)
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
    app = App(url, on_restart="cancel")
    app.task(name="slow")(nothing)
    async with app:
        store = await app.store()
        async with asyncio.timeout(10):
            while "postgres" in url and [each for each in await store.workers() if lives(each, await store.now())]:
                await asyncio.sleep(0.05)
        async with app.running(lease_time=1):
            (job,) = (await app.jobs.find(schedule="a")).jobs
            with pytest.raises(JobCancelled, match="left by an earlier run"):
                await job.result(timeout=10)


def test_every_verb_is_there_for_blocking_code(url: str) -> None:
    app = App(url)
    work = app.remote("t").bind()
    try:
        face = app.schedules.sync
        put = face.put("a", Every(60, first="after"), work, keep=5)
        assert face.get("a") == put
        assert face.add(None, Daily(time(3)), work).state == "active"
        assert [
            each.id for each in face.put_many([ScheduleSpec("b", Every(60), work), ScheduleSpec("c", Every(60), work)])
        ] == ["b", "c"]
        assert face.replace("a", Once(datetime(2050, 1, 1, tzinfo=UTC))).next == datetime(2050, 1, 1, tzinfo=UTC)
        assert face.pause("a").state == "paused"
        assert face.resume("a").state == "active"
        assert [each.id for each in face.list(ids=["c", "a"])] == ["a", "c"]
        assert len(face.next_fires("b", 3)) == 3
        job = face.trigger("b")
        assert job is not None
        assert [run.job for run in face.runs("b", newest=1)] == [job.id]
        assert face.trigger("b") is None
        assert face.remove("b", wait=True, cancel=True) is True
        assert job.sync.refresh().state == "cancelled"
        assert face.prune() == 0
        assert face.synchronise() == ()
        assert {each.level for each in app.sync.check()} <= {"ok", "warning"}
    finally:
        app.sync.close()


def test_the_blocking_face_has_the_same_verbs() -> None:
    def verbs(face: type) -> dict[str, str]:
        methods = inspect.getmembers(face, inspect.isfunction)
        return {
            name: str(inspect.signature(method)).partition(" ->")[0]
            for name, method in methods
            if not name.startswith("_")
        }

    assert verbs(SchedulesFace) == verbs(SchedulesSync)


async def test_in_the_loop_of_the_app_blocking_calls_are_refused() -> None:
    app = App("memory://")
    async with app:
        with pytest.raises(AppError, match="await the verb itself"):
            app.schedules.sync.list()


async def nothing() -> None: ...
