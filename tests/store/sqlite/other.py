"""What other processes do in the tests: `python -m tests.store.sqlite.other VERB PATH …`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine

from mainspring.ids import new_id
from mainspring.model.record import NewJob
from mainspring.model.schedule import Fire, SlotJob
from mainspring.store.base import Claim, Lane, Worker
from mainspring.store.sqlite import SqliteStore
from mainspring.store.sqlite.liveness import FileLiveness
from mainspring.store.sqlite.locks import FileLock
from mainspring.store.sqlite.rows import SqliteRows

LANES = (Lane("default", "t", "", 1000),)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def add(path: str, prefix: str, number: str) -> None:
    """Add jobs one by one, many at the same time."""
    store = SqliteStore(path, synchronous="NORMAL")
    await store.open()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(store.add([NewJob(id=f"{prefix}{n}", task="t")]) for n in range(int(number))))
    await store.close()


async def attack(path: str, seconds: str) -> None:
    """Commit back to back."""
    store = SqliteStore(path)
    await store.open()
    say("ready")
    end = time.monotonic() + float(seconds)
    number = 0
    while time.monotonic() < end:
        await asyncio.gather(*(store.add([NewJob(id=f"a{number}-{n}", task="t")]) for n in range(100)))
        number += 1
    await store.close()


async def hold_turn(path: str) -> None:
    """Stand still in the middle of a transaction, with the turn lock held."""
    store = SqliteStore(path)
    await store.open()

    def verb(rows: SqliteRows) -> None:
        rows._db.execute("INSERT INTO paused_queues VALUES ('half')")
        say("holding")
        time.sleep(60)

    await store._open().writer.call(verb)


async def work(path: str, worker: str) -> None:
    """Claim what there is, and never settle."""
    store = SqliteStore(path)
    await store.open()
    await store.join(Worker(worker))
    claimed = await store.claim(Claim(worker, 1, LANES, 100))
    say(" ".join(job.id for job in claimed.jobs))
    await asyncio.sleep(60)


async def live(path: str, worker: str) -> None:
    """Claim what there is, and sweep as a worker that is busy with it does."""
    store = SqliteStore(path)
    await store.open()
    await store.join(Worker(worker))
    claimed = await store.claim(Claim(worker, 1, LANES, 100))
    say(" ".join(job.id for job in claimed.jobs))
    while True:
        await store.sweep(worker)
        await asyncio.sleep(0.05)


async def wake(path: str, number: str) -> None:
    """Wait for work as an idle worker does, claim it, and say when."""
    store = SqliteStore(path, synchronous="NORMAL")
    await store.open()
    await store.join(Worker("waker"))
    say("ready")
    claims = seen = 0
    while seen < int(number):
        await store.wait(["default"], 10)
        claims += 1
        claimed = await store.claim(Claim("waker", claims, LANES, 10))
        for job in claimed.jobs:
            seen += 1
            say(f"{job.id} {time.time()}")
    await store.close()


async def idle(path: str, seconds: str) -> None:
    """Wait for work that never comes, and say how much CPU that took."""
    store = SqliteStore(path)
    await store.open()
    await asyncio.sleep(0.2)
    start = time.process_time()
    await store.wait(["default"], float(seconds))
    say(str((time.process_time() - start) / float(seconds)))
    await store.close()


async def idle_scheduler(path: str, seconds: str) -> None:
    """Wait for work and for schedules, as an idle worker does, and say how much CPU that took."""
    store = SqliteStore(path)
    await store.open()
    await asyncio.sleep(0.2)
    start = time.process_time()
    end = time.monotonic() + float(seconds)
    waiting = asyncio.create_task(store.wait(["default"], 60))
    while time.monotonic() < end:
        await store.due_schedules()
        await store.wait_schedules(1.0)
    say(str((time.process_time() - start) / float(seconds)))
    waiting.cancel()
    await store.close()


async def schedule(path: str, apart: str, until: str) -> None:
    """Fire what is due, its slots so many seconds apart, up to a moment; then say how often this was the first."""
    store = SqliteStore(path, synchronous="NORMAL")
    await store.open()
    step, end, fired = float(apart), float(until), 0
    say("ready")
    while (due := await store.due_schedules()).schedules or due.next_due is not None:
        fires = [
            Fire(
                schedule=each.schedule.id,
                revision=each.schedule.revision,
                expected=at,
                slots=(SlotJob(at, new_id(), new_id()),),
                to=at,
                next=(following := at + step if at + step < end else None),
                due=following,
            )
            for each in due.schedules
            if (at := each.schedule.due) is not None
        ]
        answers = await store.fire(fires) if fires else []
        fired += answers.count("fired")
        if not fires and due.next_due is not None:
            await store.wait_schedules(due.next_due - due.now)
    say(str(fired))
    await store.close()


async def wake_scheduler(path: str, number: str) -> None:
    """Wait for changes of schedules, and say when each was heard of."""
    store = SqliteStore(path)
    await store.open()
    say("ready")
    for _ in range(int(number)):
        await store.wait_schedules(30)
        say(str(time.time()))
    await store.close()


async def lock(path: str, folder: str) -> None:
    """Hold a plain lock and a worker's, until killed."""
    held = FileLock(path)
    held.acquire()
    FileLiveness(folder).hold("there")
    say("holding")
    await asyncio.sleep(60)


VERBS: dict[str, Callable[..., Coroutine[object, object, None]]] = {
    "add": add,
    "attack": attack,
    "hold_turn": hold_turn,
    "work": work,
    "live": live,
    "wake": wake,
    "idle": idle,
    "idle_scheduler": idle_scheduler,
    "schedule": schedule,
    "wake_scheduler": wake_scheduler,
    "lock": lock,
}

if __name__ == "__main__":
    asyncio.run(VERBS[sys.argv[1]](*sys.argv[2:]))
