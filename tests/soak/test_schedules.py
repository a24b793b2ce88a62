"""Eight scheduler processes under kills and stops for minutes: each slot in the ledger of fires exactly once (RULES H13).

MAINSPRING_SOAK_SECONDS is how long each store has, at most 900: then 10,000 records are the limit. Every schedule is
judged at the end, over all of its slots.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mainspring.app.app import App
from tests.kill.schedule_fleet import Kind, caught_up, fleet, put
from tests.kill.schedule_ledger import judge, show
from tests.kill.schedule_worker import LEASE

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]

SECONDS = min(float(os.environ.get("MAINSPRING_SOAK_SECONDS", "180")), 900.0)
PROCESSES = 8
CALM = 2.0  # seconds between two faults, so that the others catch up

KINDS = (
    Kind("plain", 100),
    Kind("once", 30, misfire="once"),
    Kind("skip", 30, overlap="skip", seconds=0.2),
    Kind("queue", 20, overlap="queue", misfire="once", seconds=0.2),
    Kind("dense", 2, interval=0.1),
)
"""182 schedules, 200 slots a second."""


async def test_H13_minutes_on_sqlite(tmp_path: Path) -> None:
    await faults(tmp_path, f"sqlite:///{tmp_path / 'work.db'}")


async def test_H13_minutes_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    await faults(tmp_path, postgres_url)


async def faults(folder: Path, url: str) -> None:
    """A kill or a stop, and then calm; now and then three at once."""
    chance = random.Random(7)
    async with App(url) as app:
        store = await app.store()
        with fleet(folder, url, PROCESSES, seed=7) as crew:
            await crew.all_up()
            begin = datetime.now(UTC) + timedelta(seconds=0.5)
            await put(app, KINDS, begin)
            ends = time.monotonic() + SECONDS
            while time.monotonic() < ends:
                for _ in range(chance.choice((1, 1, 3))):
                    await crew.kill_one()
                if chance.random() < 0.3:
                    await crew.all_up()
                    await crew.stop_for(LEASE + 1.0, chance.choice(crew.processes))
                await asyncio.sleep(chance.uniform(0.0, CALM))
            until = await caught_up(crew, store)
        judged = show(await judge(store, begin, KINDS, until), crew)
        assert judged.slots > 100 * SECONDS
        assert crew.kills > SECONDS / 10
