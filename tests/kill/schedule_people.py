"""What people do to schedules while they are fired: pause, resume, replace, trigger, remove and put again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from mainspring import Every
from mainspring.app.app import App
from mainspring.errors import ScheduleNotFound
from tests.kill.schedule_worker import TASK

CHANGED = tuple(f"changed-{n}" for n in range(8))
REMOVED = tuple(f"removed-{n}" for n in range(4))
"""Those that are also removed and put again: their watermark and their numbers go on, their counters begin anew."""

INTERVALS = (0.05, 0.1, 0.25)
PAUSE = 0.03  # seconds between two things that they do


@asynccontextmanager
async def people(app: App, chance: random.Random) -> AsyncGenerator[Counter[str]]:
    """While the block lasts they act all the time; how often each of it succeeded."""
    done = Counter[str]()
    for each in (*CHANGED, *REMOVED):
        await put(app, each, chance)
    acting = asyncio.create_task(act(app, chance, done))
    try:
        yield done
    finally:
        acting.cancel()
        (ended,) = await asyncio.gather(acting, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended


async def act(app: App, chance: random.Random, done: Counter[str]) -> None:
    """One thing after the other."""
    faces = app.schedules
    while True:
        await asyncio.sleep(PAUSE)
        each = chance.choice((*CHANGED, *REMOVED))
        verb = chance.choice(("pause", "resume", "resume", "replace", "trigger", "put", "put", "remove"))
        try:
            match verb:
                case "pause":
                    await faces.pause(each)
                case "resume":
                    await faces.resume(each)
                case "replace":
                    await faces.replace(each, Every(chance.choice(INTERVALS)))
                case "trigger":
                    await faces.trigger(each)
                case "remove":
                    await faces.remove(chance.choice(REMOVED))
                case _:
                    await put(app, each, chance)
        except ScheduleNotFound as missing:
            assert missing.schedule in REMOVED  # noqa: PT017  # the others are never removed
        else:
            done[verb] += 1


async def put(app: App, id_: str, chance: random.Random) -> None:
    """With another interval and other options than before."""
    await app.schedules.put(
        id_,
        Every(chance.choice(INTERVALS)),
        app.remote(TASK).bind(),
        overlap=chance.choice(("allow", "skip", "queue")),
        misfire=chance.choice(("once", "all")),
        jitter=chance.choice((0.0, 0.02)),
        keep=10_000,
    )
