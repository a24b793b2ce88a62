"""What lies between workers and server swallows, delays and resets, for longer than the lease time."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from tests.faults.field import LEASE, SEATS, Field
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres
from tests.servers.proxy import TcpProxy

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")]


async def test_C1_a_network_that_swallows_delays_and_resets_costs_nothing(
    tmp_path: Path, postgres_server: Postgres, postgres_proxy: TcpProxy
) -> None:
    """A black hole for longer than a lease time; a delay; resets (RULES C2, C3: answers are lost on the way)."""
    with fresh_schema(postgres_server) as schema:
        url = f"{postgres_server.url(schema, port=postgres_proxy.port)}&timeout=1"
        with Field(tmp_path, postgres_server, schema, url) as field:
            field.staff(2)
            async with field.load():
                await field.steady()
                postgres_proxy.blackhole()
                await asyncio.sleep(LEASE + 0.5)
                postgres_proxy.heal()
                await field.recovered()
                for _ in range(5):
                    postgres_proxy.cut()
                    await asyncio.sleep(0.2)
                postgres_proxy.delay(0.2)
                await asyncio.sleep(1.5)
                postgres_proxy.heal()
                await field.recovered()
            await field.judge()


async def test_C1_one_worker_that_is_cut_off_is_replaced_by_others_and_comes_back(
    tmp_path: Path, postgres_server: Postgres, postgres_proxy: TcpProxy
) -> None:
    """Those who see it silent have been steady: its jobs run elsewhere, and what it says of them later is stale."""
    with fresh_schema(postgres_server) as schema, Field(tmp_path, postgres_server, schema) as field:
        field.staff(1)
        (lonely,) = field.staff(1, url=f"{postgres_server.url(schema, port=postgres_proxy.port)}&timeout=1")
        async with field.load():
            await field.steady()
            postgres_proxy.blackhole()
            held = field.held_by(lonely.pid)
            await asyncio.sleep(2 * LEASE + 1)
            postgres_proxy.heal()
            healed = time.monotonic()
            await field.recovered()
        judged = await field.judge(died=True)
        # A claim that the black hole had swallowed may still reach the server when nobody knows the worker any more.
        assert 0 < judged.rescues <= held + SEATS
        assert [entry for entry in field.noted("effect") if entry.pid == lonely.pid and entry.at > healed]
        assert all(each.lives for each in field.crew)
