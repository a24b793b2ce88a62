"""A worker process to be killed: `python -m tests.kill.worker URL EFFECTS ACCEPTED`. It works until it is killed."""

from __future__ import annotations

import asyncio
import os
import sys

from mainspring.app.app import App
from mainspring.engine.events import JobEnded


def appender(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


async def main(url: str, effects: str, accepted: str) -> None:
    app = App(url)
    ledger, ends = appender(effects), appender(accepted)

    @app.task(name="work")
    async def work(number: int) -> int:
        await asyncio.sleep(0.004 + number % 7 * 0.006)
        os.write(ledger, f"{number}\n".encode())
        await asyncio.sleep(0.004)
        return number

    def ended(event: JobEnded) -> None:
        os.write(ends, f"{event.kind} {event.job}\n".encode())

    app.events.subscribe(JobEnded, ended)
    async with app.running(concurrency=5):
        os.write(ends, f"up {os.getpid()}\n".encode())
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
