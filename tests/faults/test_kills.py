"""Processes are killed (SIGKILL) under load: what they held runs again, nothing else does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.field import SEATS, Field, until
from tests.process.running import lives
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")]


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.soak)])
async def test_killed_workers_lose_nothing_and_only_what_they_held_is_rescued(
    tmp_path: Path, postgres_server: Postgres, kills: int
) -> None:
    with fresh_schema(postgres_server) as schema, Field(tmp_path, postgres_server, schema) as field:
        field.staff(2)
        held = 0
        async with field.load():
            await field.steady()
            for _ in range(kills):
                field.crew[0].kill()
                await asyncio.sleep(0.2)  # what it had sent is done
                held += field.held_by(field.crew.pop(0).pid)
                field.staff(1)
                await field.recovered()
        judged = await field.judge(died=True, within=30.0 * kills)  # suspects run one by one, a second apart (RULES C6)
        assert judged.rescues == held > 0
        assert judged.crashes == 0
        assert sum(judged.runs.values()) - len(judged.runs) <= held


async def test_a_killed_parent_and_its_killed_worker_lose_nothing(tmp_path: Path, postgres_server: Postgres) -> None:
    """The parent replaces its worker; without a parent workers hand back, and the next `mainspring run` goes on."""
    with fresh_schema(postgres_server) as schema, Field(tmp_path, postgres_server, schema) as field:
        with field.run(2) as run:
            async with field.load():
                first, second = await field.until_run(run, 2)
                await field.steady()
                os.kill(first, signal.SIGKILL)
                third = (await field.until_run(run, 3))[-1]
                await field.recovered()
                run.process.kill()
                await until(lambda: not lives(second) and not lives(third), 20.0, "workers go on without their parent")
                with field.run(2) as other:
                    await field.until_run(other, 2)
                    await field.recovered()
                    field.enough()
                    judged = await field.judge(died=True)
        assert 0 < judged.rescues <= SEATS
        assert judged.crashes == 0
        assert sum(judged.runs.values()) - len(judged.runs) <= SEATS * 3
