"""A worker that is killed in the middle of a transaction leaves nothing of it, and no lock (RULES H2, H3)."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mainspring import App, Context

LONG = 30.0
PROGRAM = """
import asyncio, sys
from mainspring import App, Context

app = App(sys.argv[1])

@app.task(name="t", transaction=True)
async def task(ctx: Context) -> None:
    await ctx.connection.execute("INSERT INTO effects VALUES ($1)", "killed")
    await task.options(delay=60).enqueue()
    print("writing", flush=True)
    await asyncio.sleep(60)

async def main() -> None:
    async with app.running():
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_H3_a_kill_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    app = App(f"sqlite:///{path}")

    @app.task(name="t", transaction=True)
    async def task(ctx: Context) -> int:
        await ctx.connection.execute("INSERT INTO effects VALUES ($1)", f"fence {ctx.fence}")
        return ctx.fence

    async with app:
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE effects (what TEXT)")
        job = await task.enqueue()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, str(app.url), stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"writing\n"
        child.kill()
        await child.wait()
        async with app.running(grace=1):
            assert await job.result(timeout=LONG) == 2
            assert len((await app.jobs.find()).jobs) == 1
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT what FROM effects").fetchall() == [("fence 2",)]
