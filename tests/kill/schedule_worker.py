"""A process that fires schedules and runs their jobs, to be killed: `python -m tests.kill.schedule_worker URL LINES`."""

from __future__ import annotations

import asyncio
import os
import sys

from mainspring.app.app import App
from mainspring.events import ScheduleFired
from tests.kill.worker import appender

TASK = "tick"
LEASE = 2.0


async def main(url: str, path: str) -> None:
    app = App(url)
    lines = appender(path)

    @app.task(name=TASK)
    async def tick(seconds: float = 0.0) -> None:
        await asyncio.sleep(seconds)

    def fired(event: ScheduleFired) -> None:
        os.write(lines, f"fired {os.getpid()} {event.schedule}\n".encode())

    app.events.subscribe(ScheduleFired, fired)
    async with app.running(concurrency=20, lease_time=LEASE):
        os.write(lines, f"up {os.getpid()}\n".encode())
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
