"""Workers that are stopped, cancelled and torn down at every moment: they end, and hold nothing afterwards."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainspring.errors import StoreUnavailable
from mainspring.testing.virtual import run_virtual
from tests.unit.engine.workshop import Lossy, Workshop, virtual, workshop

TORN_DOWN = """
import asyncio
from mainspring import App
app = App("memory://")

@app.task(name="long")
async def long() -> None:
    await asyncio.sleep(3600)

def ctrl_c() -> None:
    raise KeyboardInterrupt

async def main() -> None:
    async with app.running(grace=20):
        await long.enqueue()
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.05, ctrl_c)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("ended")
"""


def test_a_loop_torn_down_while_the_worker_stops_ends() -> None:
    """The second Ctrl-C: `asyncio.run` cancels all tasks, that of the stop included."""
    ran = subprocess.run([sys.executable, "-c", TORN_DOWN], capture_output=True, text=True, timeout=30, check=False)
    assert ran.stdout.strip() == "ended", ran.stderr


IN_THE_TASK = """
import asyncio, sys
from mainspring import App
app = App(sys.argv[1])

@app.task(name="interrupted")
async def interrupted() -> None:
    raise KeyboardInterrupt  # as the handler of a second SIGINT does, wherever the loop is at that moment

async def main() -> None:
    async with app.running():
        await interrupted.enqueue()
        await asyncio.sleep(30)

async def look() -> None:
    async with app:
        (job,), _ = await app.jobs.find(task="interrupted")
        print(job.state)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    asyncio.run(look())
"""


def test_ctrl_c_inside_a_task_ends_the_program_and_not_the_job(tmp_path: Path) -> None:
    """The job is handed back, or taken from the dead worker: it is not judged by what ended the program."""
    command = [sys.executable, "-c", IN_THE_TASK, f"sqlite:///{tmp_path}/work.db"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ran.stdout.strip() in {"ready", "running", "scheduled"}, ran.stdout + ran.stderr


def dawdle(store: Lossy, draw: random.Random) -> None:
    """Answers of every verb come late, now and then not at all."""
    for verb in ("claim", "settle", "beat", "sweep", "held", "leave", "join", "lanes"):
        setattr(store, verb, late(getattr(store, verb), draw, loses=verb != "leave"))


def late(verb: Callable[..., Any], draw: random.Random, *, loses: bool) -> Callable[..., Any]:
    async def called(*args: Any, **kwargs: Any) -> Any:
        if draw.random() < 0.5:
            await asyncio.sleep(draw.random() * 0.01)
        answer = await verb(*args, **kwargs)
        if draw.random() < 0.5:
            await asyncio.sleep(draw.random() * 0.01)
        if loses and draw.random() < 0.15:
            raise StoreUnavailable("the answer is lost")
        return answer

    return called


async def cancelled_after(turns: int, seed: int, *, twice: bool) -> None:
    async with workshop() as shop:

        async def work(number: int) -> None:
            if number % 2:
                await asyncio.sleep(0.02 * (number % 5))

        shop.task(work)
        dawdle(shop.store, random.Random(seed))
        jobs = [await shop.add(arguments={"number": number}) for number in range(30)]

        async def block() -> None:
            async with shop.worker(grace=0.05, concurrency=4, lease_time=15.0):
                await asyncio.sleep(3600)

        working = asyncio.create_task(block())
        for _ in range(turns):
            await asyncio.sleep(0 if seed % 2 else 0.003)
        working.cancel()
        if twice:
            await asyncio.sleep(0.002)
            working.cancel()
        done, _ = await asyncio.wait({working}, timeout=600)
        assert done, f"turns={turns} seed={seed}: it hangs"
        await asyncio.sleep(5)
        states = {(await shop.job(each)).state for each in jobs}
        assert states <= {"completed", "ready", "scheduled"}, f"turns={turns} seed={seed}"
        assert asyncio.all_tasks() == {asyncio.current_task()}, f"turns={turns} seed={seed}"
        assert not await shop.store.workers(), f"turns={turns} seed={seed}: its row is left behind"


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("seed", range(4))
def test_M14_cancelled_after_any_turn_of_the_loop_it_leaves_nothing(seed: int, twice: bool) -> None:
    """No job runs without a worker, no task goes on, no row stays."""
    for turns in (*range(1, 40), 50, 70, 100, 150):
        run_virtual(cancelled_after(turns, seed, twice=twice))


@virtual
async def test_a_worker_that_has_left_does_not_come_back() -> None:
    """Its block goes on after `stop()`: it neither joins nor claims again, whatever was being repeated just then."""
    async with workshop() as shop:
        await stopped_while_a_claim_is_repeated(shop)


async def stopped_while_a_claim_is_repeated(shop: Workshop) -> None:
    async def work() -> None: ...

    shop.task(work)
    real, down = shop.store.claim, True

    async def claim(*args: Any, **kwargs: Any) -> Any:
        if down:
            raise StoreUnavailable("down")
        return await real(*args, **kwargs)

    async with shop.worker(grace=1.0) as worker:
        await asyncio.sleep(0.5)
        shop.store.claim = claim  # type: ignore[method-assign]  # a store that is away for claims
        job = await shop.add()
        await asyncio.sleep(0.05)
        await worker.stop()
        down = False
        await asyncio.sleep(60)
        assert (await shop.job(job)).lease == 0
        assert not await shop.store.workers()


@virtual
async def test_a_hurried_stop_does_not_wait_for_a_store_that_is_down() -> None:
    """M13: `stop(now=True)` gives up what cannot be written soon, not after the whole grace."""
    async with workshop() as shop:

        async def work() -> None:
            await asyncio.sleep(0.1)

        shop.task(work)
        async with shop.worker(grace=300.0) as worker:
            await shop.add()
            await asyncio.sleep(0.05)
            shop.store.down = True
            await asyncio.sleep(0.2)
            began = shop.loop.time()
            stopping = asyncio.create_task(worker.stop())
            await asyncio.sleep(1)
            report = await worker.stop(now=True)
            assert await stopping == report
            assert report.lost == 1
            assert shop.loop.time() - began < 30


@virtual
async def test_H16_a_runner_cancelled_before_its_first_step_holds_up_nobody() -> None:
    async with workshop() as shop:
        ran: list[int] = []

        async def rude() -> None:
            for task in asyncio.all_tasks():
                if task.get_coro().__qualname__ == "Runners._run" and task is not asyncio.current_task():  # type: ignore[union-attr]
                    task.cancel()
            await asyncio.sleep(0.01)

        async def quick() -> None:
            ran.append(1)

        shop.task(rude, "rude")
        shop.task(quick, "quick")
        async with shop.worker(concurrency=4, grace=1.0):
            for _ in range(20):
                await shop.add("rude")
            await asyncio.sleep(50)
            await shop.add("quick")
            await asyncio.sleep(50)
            assert ran == [1]
