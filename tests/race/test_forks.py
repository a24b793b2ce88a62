"""What a task forks holds copies of everything its process had open; it must not hide the death of that process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import pytest

from mainspring.engine.arguments import Parameters
from mainspring.engine.processes import ProcessPool
from mainspring.engine.registry import Registered
from mainspring.model.conclude import Crashed
from mainspring.model.record import JobRecord


def forks_and_is_killed() -> None:
    """Like a task with a pool of multiprocessing's own, when the system is out of memory."""
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
async def test_H17_the_death_of_a_child_is_seen_although_what_it_forked_lives_on() -> None:
    """A crash of its job, within seconds; the forked process goes with its group."""
    pool = ProcessPool(1)
    task = Registered("f", forks_and_is_killed, "process", Parameters(forks_and_is_killed, task="f"))
    job = JobRecord(id="job", task="f", payload=b"{}", state="running", created=1.0, due=1.0, lease=1, claimed=1.0)
    try:
        async with asyncio.timeout(10):
            assert isinstance(await pool.run(task, job), Crashed)
    finally:
        await pool.aclose()
