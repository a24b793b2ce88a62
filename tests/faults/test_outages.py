"""The server goes away for longer than the lease time, in every way: nobody is rescued, nothing runs twice (RULES C1)."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import psycopg
import pytest

from tests.faults.field import LEASE, Field
from tests.servers.postgres import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")]

OUTAGE = LEASE + 0.5


async def test_C1_a_server_that_crashes_under_load_costs_nothing(tmp_path: Path, own_postgres: PostgresServer) -> None:
    """When it is back, one worker is frozen for a while: the other one must not take it for dead by its old beat."""
    with Field(tmp_path, own_postgres, "field") as field:
        late, _ = field.staff(2)
        async with field.load():
            await field.steady()
            await asyncio.to_thread(own_postgres.stop, "immediate")
            await asyncio.sleep(OUTAGE)
            late.process.send_signal(signal.SIGSTOP)
            await asyncio.to_thread(own_postgres.start)
            await asyncio.sleep(LEASE / 2)
            late.process.send_signal(signal.SIGCONT)
            await field.recovered()
        await field.judge()
        assert not field.unclear  # `enqueue` has waited


async def test_C3_sessions_that_are_ended_again_and_again_cost_nothing(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    with Field(tmp_path, own_postgres, "field") as field:
        field.staff(2)
        async with field.load():
            await field.steady()
            ended = 0
            for _ in range(10):
                with field.session() as session:
                    ended += len(session.execute(TERMINATE).fetchall())
                await asyncio.sleep(0.1)
            await field.recovered()
        await field.judge()
        assert ended >= 20
        assert not field.unclear


TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@pytest.mark.soak
async def test_C1_a_primary_that_is_demoted_for_a_while_costs_nothing(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    """SQLSTATE 25006 for all; no connection is lost (demand: river#1225)."""
    with Field(tmp_path, own_postgres, "field") as field:
        field.staff(2)
        async with field.load():
            await field.steady()
            set_read_only(own_postgres, "on")
            await asyncio.sleep(OUTAGE)
            set_read_only(own_postgres, "off")
            await field.recovered()
        await field.judge()


def set_read_only(server: PostgresServer, value: str) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as session:
        session.execute("SET transaction_read_only = off")
        session.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
        session.execute("SELECT pg_reload_conf()")
