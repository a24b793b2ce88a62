"""Several processes fire dense schedules while some are killed, or stopped: each slot is in the ledger exactly once.

Real time, real processes. RULES H13; the same for minutes in tests/soak/test_schedules.py.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mainspring.app.app import App
from tests.kill.schedule_fleet import FEWER, MIXED, Kind, caught_up, fleet, put
from tests.kill.schedule_ledger import Judged, judge, judge_changed, show
from tests.kill.schedule_people import people
from tests.kill.schedule_worker import LEASE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]

LEAST_KILLS, LEAST_CHANGES = 3, 20


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'work.db'}"


async def test_H13_two_processes_on_sqlite_and_kills(tmp_path: Path, sqlite_url: str) -> None:
    await killed(tmp_path, sqlite_url, processes=2, kinds=MIXED, seconds=10.0)


async def test_H13_two_processes_on_postgres_and_kills(tmp_path: Path, postgres_url: str) -> None:
    await killed(tmp_path, postgres_url, processes=2, kinds=MIXED, seconds=10.0)


async def test_H13_eight_processes_on_sqlite_and_kills(tmp_path: Path, sqlite_url: str) -> None:
    await killed(tmp_path, sqlite_url, processes=8, kinds=FEWER, seconds=10.0)


async def test_H13_eight_processes_on_postgres_and_kills(tmp_path: Path, postgres_url: str) -> None:
    await killed(tmp_path, postgres_url, processes=8, kinds=FEWER, seconds=10.0)


async def test_H13_a_process_that_stood_still_on_sqlite_changes_nothing(tmp_path: Path, sqlite_url: str) -> None:
    await stopped(tmp_path, sqlite_url)


async def test_H13_a_process_that_stood_still_on_postgres_changes_nothing(tmp_path: Path, postgres_url: str) -> None:
    await stopped(tmp_path, postgres_url)


async def killed(folder: Path, url: str, *, processes: int, kinds: Sequence[Kind], seconds: float) -> Judged:
    """One after the other is killed, but not all of the time; afterwards somebody has the time to catch up.

    Meanwhile people change other schedules.
    """
    async with App(url) as app:
        store = await app.store()
        with fleet(folder, url, processes) as crew:
            await crew.all_up()
            begin = datetime.now(UTC) + timedelta(seconds=0.5)
            await put(app, kinds, begin)
            async with people(app, random.Random(1)) as done:
                ends = time.monotonic() + seconds
                while time.monotonic() < ends or crew.kills < LEAST_KILLS or done.total() < LEAST_CHANGES:
                    await crew.kill_one()
                    await asyncio.sleep(0.2)
            until = await caught_up(crew, store)
        changed = await judge_changed(store)
        sys.stdout.write(f"people did {dict(done)} while {changed} slots of these became jobs\n")
        assert changed > 0
        return show(await judge(store, begin, kinds, until), crew)


async def stopped(folder: Path, url: str) -> None:
    """Twice, each for longer than its lease; its decisions are old when it goes on."""
    async with App(url) as app:
        store = await app.store()
        with fleet(folder, url, 2) as crew:
            await crew.all_up()
            begin = datetime.now(UTC) + timedelta(seconds=0.5)
            await put(app, MIXED, begin)
            await asyncio.sleep(1.5)
            for process in crew.processes:
                await crew.stop_for(LEASE + 1.0, process)
                await asyncio.sleep(0.7)
            until = await caught_up(crew, store)
            assert len(crew.fired()) == 2, "nobody fired while the other stood still"
        show(await judge(store, begin, MIXED, until), crew)
