"""Workers that differ: eight at once, clocks that are an hour wrong, loops and interpreters that stand still."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from mainspring import App
from tests.faults.field import LEASE, Field
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")]

HOUR = 3600.0
OTHERS = 1_000_000  # numbers of jobs that jobs have added


async def test_eight_workers_compete_and_each_job_runs_once(tmp_path: Path, postgres_server: Postgres) -> None:
    with fresh_schema(postgres_server) as schema, Field(tmp_path, postgres_server, schema) as field:
        field.staff(4, workers=2)
        async with field.load():
            await field.steady()
        judged = await field.judge()
        assert len(judged.by_process) == 4


async def test_H9_clocks_that_are_an_hour_wrong_change_nothing(tmp_path: Path, postgres_server: Postgres) -> None:
    """Retries and delays are durations, leases go by the store's clock, ids of another day are found again."""
    with fresh_schema(postgres_server) as schema, Field(tmp_path, postgres_server, schema) as field:
        early, late = field.staff(1, skew=HOUR) + field.staff(1, skew=-HOUR)
        field.staff(1)
        async with App(field.url) as app:
            await field.until_up()
            await field.add(app, "again", 600)
            for number in range(20):
                await field.add(app, "spawn", other=OTHERS + number)
                field.added.append(OTHERS + number)
            await asyncio.sleep(1.5 * LEASE)  # beats of all are compared, for longer than a lease time
        judged = await field.judge()
        assert {early.pid, late.pid} < judged.by_process.keys()
        failed = {entry.number: entry for entry in field.noted("first")}
        assert {early.pid, late.pid} <= {entry.pid for entry in failed.values()}
        again = [entry for entry in field.noted("effect") if entry.number in failed]
        waited = [entry.at - failed[entry.number].at for entry in again]
        assert len(waited) == 600
        assert 0.99 <= min(waited) <= max(waited) < 20


async def test_C8_a_worker_in_a_program_whose_loop_stands_still_for_three_lease_times_keeps_its_jobs(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    with fresh_schema(postgres_server) as schema, Field(tmp_path, postgres_server, schema) as field:
        field.staff(2)
        async with App(field.url) as app:
            await field.until_up()
            await asyncio.sleep(1.5 * LEASE)  # both are steady: each may judge the other
            await field.add(app, "block", seconds=3 * LEASE)
            await field.until_noted(1, "effect")
        await field.judge()
        assert len(field.noted("begin")) == 1


@pytest.mark.soak  # shorter and one by one: tests/process/test_run_postgres.py
async def test_C8_workers_of_a_parent_that_stand_still_for_three_lease_times_keep_their_jobs(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    """One by `time.sleep` in its loop, one by a regular expression that holds the GIL; a third one looks on."""
    with (
        fresh_schema(postgres_server) as schema,
        Field(tmp_path, postgres_server, schema) as field,
        field.run(3) as run,
    ):
        async with App(field.url) as app:
            await field.until_run(run, 3)
            await asyncio.sleep(1.5 * LEASE)
            await field.add(app, "block", seconds=3 * LEASE)
            await field.until_noted(1, "begin")  # and its worker does not get the other one as well
            await field.add(app, "hold", seconds=3 * LEASE)
            await field.until_noted(2, "effect")
        await field.judge()
        assert len(field.noted("begin")) == len({entry.pid for entry in field.noted("begin")}) == 2
        assert len(run.workers()) == 3
