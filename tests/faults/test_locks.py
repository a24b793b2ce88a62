"""Somebody's transaction stays open all the time: it holds a snapshot, and rows of jobs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psycopg
import pytest

from mainspring import App
from tests.faults.field import BACK, LEASE, Field, until
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")]

LOCKED = 50


@pytest.mark.parametrize("held", [LEASE, pytest.param(60.0, marks=pytest.mark.soak)])
async def test_a_transaction_that_holds_jobs_and_a_snapshot_stops_only_these_jobs(
    tmp_path: Path, postgres_server: Postgres, held: float
) -> None:
    with fresh_schema(postgres_server) as schema, Field(tmp_path, postgres_server, schema) as field:
        field.staff(2)
        async with field.load():
            await field.steady()
            with psycopg.connect(postgres_server.dsn) as looking, psycopg.connect(postgres_server.dsn) as holding:
                looking.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                looking.execute(f'SELECT count(*) FROM "{schema}".jobs'.encode())
                locked = {row[0] for row in holding.execute(LOCK.replace("{s}", schema).encode(), [LOCKED])}
                await asyncio.sleep(held)
                await field.recovered()
                ready = {row[0] for row in field.sql("SELECT id FROM {s}.jobs WHERE state = 'ready'")}
                assert len(locked) == LOCKED
                assert locked <= ready
        await field.judge()


async def test_C10_a_transaction_that_holds_a_running_job_holds_up_no_other(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    """Its end waits for the transaction, alone; what its worker has done meanwhile is written."""
    with fresh_schema(postgres_server) as schema, Field(tmp_path, postgres_server, schema) as field:
        field.staff(1)
        async with field.load(), App(field.url) as app:
            await field.steady()
            slow = (await field.add(app, "nap", seconds=1))[0]
            await field.until_noted(1, "begin")
            with psycopg.connect(postgres_server.dsn) as holding:
                held = holding.execute(HOLD.replace("{s}", schema).encode()).fetchall()
                assert len(held) == 1
                await until(lambda: slow in {entry.number for entry in field.noted("effect")}, 20.0, "it does not end")
                ended, done = len(field.accepted()), field.effects
                await asyncio.sleep(2.5 * LEASE)
                ended, done = len(field.accepted()) - ended, field.effects - done
                assert ended >= BACK * done > 0, "settlements of other jobs wait for the one that is held"
                assert field.sql(f"SELECT state FROM {{s}}.jobs WHERE id = '{held[0][0]}'") == [("running",)]
                holding.rollback()
            await field.recovered()
        await field.judge()


HOLD = """
SELECT id FROM "{s}".jobs WHERE state = 'running' AND task = 'nap' FOR UPDATE
"""
LOCK = """
SELECT id FROM "{s}".jobs WHERE state = 'ready' LIMIT %s FOR UPDATE SKIP LOCKED
"""
