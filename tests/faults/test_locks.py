"""Somebody's transaction stays open all the time: it holds a snapshot, and rows of jobs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psycopg
import pytest

from tests.faults.field import LEASE, Field
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")]

LOCKED = 50


async def test_a_transaction_that_holds_jobs_and_a_snapshot_stops_only_these_jobs(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    with fresh_schema(postgres_server) as schema, Field(tmp_path, postgres_server, schema) as field:
        field.staff(2)
        async with field.load():
            await field.steady()
            with psycopg.connect(postgres_server.dsn) as looking, psycopg.connect(postgres_server.dsn) as holding:
                looking.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                looking.execute(f'SELECT count(*) FROM "{schema}".jobs'.encode())
                locked = {row[0] for row in holding.execute(LOCK.replace("{s}", schema).encode(), [LOCKED])}
                await field.recovered()
                await asyncio.sleep(LEASE)
                await field.recovered()
                ready = {row[0] for row in field.sql("SELECT id FROM {s}.jobs WHERE state = 'ready'")}
                assert len(locked) == LOCKED
                assert locked <= ready
        await field.judge()


LOCK = """
SELECT id FROM "{s}".jobs WHERE state = 'ready' LIMIT %s FOR UPDATE SKIP LOCKED
"""
