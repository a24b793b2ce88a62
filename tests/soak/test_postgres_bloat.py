"""PostgreSQL while another session holds a snapshot, so that nothing that has died can be removed (RULES H4).

MAINSPRING_SOAK_SECONDS and MAINSPRING_SOAK_RATE make it shorter and slower, MAINSPRING_SOAK_JOBS the drains.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from statistics import median

import pytest

from tests.servers.fixtures import or_skip
from tests.servers.postgres import PostgresServer
from tests.soak.postgres_ground import SCHEMA, Figures, Ground, WorkerProcess, drained, given, ground, show
from tests.soak.postgres_worker import Side

pytestmark = [pytest.mark.soak, pytest.mark.postgres]

SECONDS = given("SECONDS", 300)
RATE = given("RATE", 5000)
JOBS = given("JOBS", 100_000)
ROUNDS = 3
TICK = 0.02
WARM = 5  # seconds until the worker has started and knows how fast its tasks are

BEHIND = 2.0  # seconds of offered jobs that may lie there
USUAL = 0.5  # seconds that one job of a hundred may be late, in the median second of the last third
LATEST = 5.0  # the same in any second
KEPT = 0.60  # of the speed without a snapshot


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with or_skip(), PostgresServer(durable=True) as server:
        yield server


async def test_H4_a_held_snapshot_is_kept_up_with_and_drained_under(server: PostgresServer) -> None:
    with ground(server, "bloat") as place:
        await prepare(place)
        with place.snapshot():
            seconds = await offered(place)
            show("worst seconds", HEADS, worst(seconds))
            show("with the snapshot held", HEADS, every(seconds, 15))
            show("tables", ("table", "live", "dead", "MB", "index MB"), place.tables())
            speeds = await drains(server, place)
    keeps_up(seconds)
    assert speeds["held"] >= KEPT * speeds["fresh"], speeds


HEADS = (
    "second", "offered", "backlog", "p50 ms", "p99 ms", "claims/s", "us/job", "claim ms", "longest ms", "dead rows",
)  # fmt: skip


async def prepare(place: Ground) -> None:
    """The tables."""
    await Side(place.url).fill(0)


async def offered(place: Ground) -> list[Figures]:
    """So many jobs a second, for so many seconds, to one worker process; how each second was."""
    seconds: list[Figures] = []
    with WorkerProcess(place, "work") as worker:
        sent, heard = 0, 0
        async for sent in offering(place):
            while heard < len(worker.said):
                figures = worker.said[heard]
                (dead,) = place.ask("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'jobs'")
                seconds.append({**figures, "sent": sent, "backlog": sent - figures["done"], "dead": dead})
                heard += 1
        ends = time.monotonic() + 10 * BEHIND
        while worker.done() < sent and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        worker.end()
    assert worker.done() == sent, "each has run"
    assert place.ask(f"SELECT count(*) FROM {SCHEMA}.jobs") == (0,)
    return seconds


async def offering(place: Ground) -> AsyncIterator[int]:
    """How many were added so far, at each tick."""
    side = Side(place.url)
    await side.app.store()
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < SECONDS:
        owed = int(passed * RATE) - sent
        at = time.time()
        await side.app.enqueue_many(side.noop.bind(at) for _ in range(owed))
        sent += owed
        yield sent
        await asyncio.sleep(max(TICK - (time.monotonic() - began - passed), 0.0))
    await side.app.close()


async def drains(server: PostgresServer, place: Ground) -> dict[str, float]:
    """Jobs per second of a new worker that finds many: here, and in databases where nobody holds anything."""
    rates: dict[str, list[float]] = {"fresh": [], "held": []}
    for number in range(ROUNDS):
        with ground(server, f"fresh_{number}") as fresh:
            rates["fresh"].append(await drain(fresh))
        rates["held"].append(await drain(place))
    show(
        "drains, jobs/s",
        ("where", "median", "each"),
        [(where, int(median(each)), each) for where, each in rates.items()],
    )
    show("tables", ("table", "live", "dead", "MB", "index MB"), place.tables())
    return {where: median(each) for where, each in rates.items()}


async def drain(place: Ground) -> float:
    await Side(place.url).fill(JOBS)
    return round(await asyncio.to_thread(drained, place, JOBS), 1)


def keeps_up(seconds: list[Figures]) -> None:
    """Neither what lies there nor how late it runs grows."""
    after = seconds[WARM:]
    assert max(each["backlog"] for each in after) <= BEHIND * RATE
    assert max(each["late_p99"] for each in after) <= LATEST
    assert median(each["late_p99"] for each in after[-len(after) // 3 :]) <= USUAL
    assert seconds[-1]["sent"] >= 0.98 * RATE * (SECONDS - 2), "it was offered as fast as was promised"


def every(seconds: list[Figures], lines: int) -> list[list[object]]:
    """About so many of them."""
    return [line(n, seconds[n]) for n in range(0, len(seconds), max(len(seconds) // lines, 1))]


def worst(seconds: list[Figures]) -> list[list[object]]:
    """The three in which one job of a hundred was latest."""
    latest = sorted(range(len(seconds)), key=lambda n: -seconds[n]["late_p99"])[:3]
    return [line(n, seconds[n]) for n in sorted(latest)]


def line(number: int, each: Figures) -> list[object]:
    return [
        number, each["sent"], each["backlog"], *(round(each[name] * 1e3, 1) for name in ("late_p50", "late_p99")),
        each["claims"], round(each["claim_us"], 1), round(each["claim_mean"] * 1e3, 2),
        round(each["claim_max"] * 1e3, 1), each["dead"],
    ]  # fmt: skip
