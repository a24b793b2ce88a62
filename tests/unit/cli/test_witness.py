"""The parent's own connection to the store (RULES C6, C8)."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine, Sequence
from types import SimpleNamespace
from typing import Any, ParamSpec, cast

import pytest

from mainspring.cli import witness as witness_module
from mainspring.cli.witness import CLOSE_LIMIT, REPORT_FIRST, STORE_LIMIT, Witness
from mainspring.cli.words import Left, Ready
from mainspring.cli.workers import End, WorkerProcess
from mainspring.errors import StoreUnavailable, StoreUnsuitable
from mainspring.model.record import NewJob
from mainspring.store.base import Beat, Claim, Lane, Store, Worker
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import VirtualLoop, run_virtual

URL = "postgresql://ada:secret@db/shop"
READY = Ready("w-1", URL, True, "/srv", 0.0)
LEASE_TIME = 15.0


P = ParamSpec("P")


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test, which may take fixtures, in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run


class FakeStore:
    """Takes notes. `broken` is raised by every verb; `hangs`: none answers before it is set."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.beats: list[tuple[float, Beat]] = []
        self.left: list[tuple[str, bool, Sequence[str] | None]] = []
        self.broken: Exception | None = None
        self.hangs: asyncio.Event | None = None

    async def answer(self) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        if self.broken is not None:
            raise self.broken

    async def open(self) -> None:
        await self.answer()
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def beat(self, beat: Beat) -> None:
        await self.answer()
        self.beats.append((asyncio.get_running_loop().time(), beat))

    async def leave(self, worker: str, *, died: bool = False, started: Sequence[str] | None = None) -> None:
        await self.answer()
        self.left.append((worker, died, started))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    store = FakeStore()
    monkeypatch.setattr(witness_module, "open_store", lambda url: cast("Store", store))
    return store


def end(worker: str | None, started: list[str] | None, left: Left | None = None) -> End:
    return End(-9, "was killed by SIGKILL", worker, started, left, None, None, False)


def process(silence: float, ready: Ready | None = READY, *, silent: bool = False) -> WorkerProcess:
    return cast("WorkerProcess", SimpleNamespace(ready=ready, silence=silence, silent=silent))


async def knowing(*workers: str) -> Witness:
    """A witness that knows these workers of one store."""
    witness = Witness(LEASE_TIME)
    for worker in workers:
        witness.know(Ready(worker, URL, True, "/srv", 0.0))
    await asyncio.sleep(0.001)
    return witness


# --- the ends of workers --------------------------------------------------------------------------


@virtual
async def test_C6_the_dead_are_reported_with_what_they_had_started(store: FakeStore) -> None:
    witness = await knowing("w-1", "w-2")
    await witness.ended(end("w-1", ["j-1"]))
    await witness.ended(end("w-2", None))
    await witness.ended(end(None, []))
    assert store.left == [("w-1", True, ["j-1"]), ("w-2", True, None)]
    await witness.close()
    assert (store.opened, store.closed) == (1, 1)


@virtual
async def test_C6_a_worker_that_left_is_to_blame_for_what_it_left_behind_only(store: FakeStore) -> None:
    """What it holds for another reason, such as a store that was away when it left, is released."""
    witness = await knowing("w-1", "w-2")
    await witness.ended(end("w-1", ["j-1"], Left(0, 0, 0, left_behind=1)))
    await witness.ended(end("w-2", ["j-2"], Left(1, 0, 1)))
    assert store.left == [("w-1", True, ["j-1"]), ("w-2", False, None)]
    await witness.close()


@virtual
async def test_C8_a_death_that_could_not_be_reported_is_reported_when_the_store_is_back(store: FakeStore) -> None:
    witness = await knowing("w-1")
    store.broken = StoreUnavailable("away")
    began = asyncio.get_running_loop().time()
    await witness.ended(end("w-1", ["j-1"]))
    assert asyncio.get_running_loop().time() - began == pytest.approx(REPORT_FIRST)
    await asyncio.sleep(120)
    assert store.left == []
    store.broken = None
    await asyncio.sleep(10)
    assert store.left == [("w-1", True, ["j-1"])]
    await witness.close()


@virtual
async def test_a_store_that_hangs_holds_up_no_replacement_and_no_end(store: FakeStore) -> None:
    witness = await knowing("w-1")
    store.hangs = asyncio.Event()
    began = asyncio.get_running_loop().time()
    await witness.ended(end("w-1", []))
    await witness.close()
    assert asyncio.get_running_loop().time() - began == pytest.approx(REPORT_FIRST + CLOSE_LIMIT)
    assert store.left == []


@virtual
async def test_a_report_in_flight_at_the_end_is_waited_for(store: FakeStore) -> None:
    witness = await knowing("w-1")
    store.hangs = asyncio.Event()
    await witness.ended(end("w-1", []))
    asyncio.get_running_loop().call_later(1.0, store.hangs.set)
    await witness.close()
    assert store.left == [("w-1", True, [])]


# --- beats ----------------------------------------------------------------------------------------


@virtual
async def test_C8_a_busy_worker_is_beaten_for_and_a_lively_one_is_not(store: FakeStore) -> None:
    witness = await knowing("w-1")
    witness.beat([process(1.0), process(99.0, ready=None)])
    await asyncio.sleep(0.5)
    assert store.beats == []
    witness.beat([process(2.0)])
    await asyncio.sleep(0.5)
    witness.beat([process(2.5)])  # a moment later: not twice
    await asyncio.sleep(5)
    witness.beat([process(7.5)])
    await asyncio.sleep(0.5)
    assert [beat for _, beat in store.beats] == [Beat("w-1", stalled=False), Beat("w-1", stalled=True)]
    await witness.close()


@virtual
async def test_C8_no_beat_for_a_worker_that_was_killed_for_its_silence(store: FakeStore) -> None:
    witness = await knowing("w-1")
    witness.beat([process(400.0, silent=True)])
    await asyncio.sleep(1)
    assert store.beats == []
    await witness.close()


@virtual
async def test_C8_beats_of_the_parent_leave_no_gap_of_half_a_lease(store: FakeStore) -> None:
    """From the last beat of a worker's own, at worst just before its next one, over a silence of 3 lease times."""
    witness = await knowing("w-1")
    loop = asyncio.get_running_loop()
    began, silent_since = loop.time(), loop.time() + LEASE_TIME / 3
    while loop.time() < began + 3 * LEASE_TIME:
        witness.beat([process(max(loop.time() - silent_since, 0.0))])
        await asyncio.sleep(LEASE_TIME / 20)
    times = [began, *(at for at, _ in store.beats)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps) <= LEASE_TIME / 2
    assert began + 3 * LEASE_TIME - times[-1] <= LEASE_TIME / 2
    await witness.close()


@virtual
async def test_C8_one_worker_whose_beat_hangs_holds_up_no_other(store: FakeStore) -> None:
    witness = await knowing("w-1", "w-2")
    store.hangs = asyncio.Event()
    witness.beat([process(6.0)])
    await asyncio.sleep(1)
    store.hangs = None
    witness.beat([process(7.0), process(7.0, Ready("w-2", URL, True, "/srv", 0.0))])
    await asyncio.sleep(1)
    assert [beat.worker for _, beat in store.beats] == ["w-2"]
    await asyncio.sleep(5)  # the time limit of the first has passed
    witness.beat([process(13.0)])
    await asyncio.sleep(1)
    assert [beat.worker for _, beat in store.beats] == ["w-2", "w-1"]
    await witness.close()


@virtual
async def test_a_store_that_is_away_is_beaten_again_at_the_next_look(
    store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    witness = await knowing("w-1")
    store.broken = StoreUnavailable("away")
    for silence in (6.0, 6.5, 7.0):
        witness.beat([process(silence)])
        await asyncio.sleep(0.5)
    assert len(caplog.records) == 1
    store.broken = None
    witness.beat([process(7.5)])
    await asyncio.sleep(0.5)
    assert len(store.beats) == 1
    await witness.close()


@virtual
async def test_no_beat_after_the_end(store: FakeStore) -> None:
    witness = await knowing("w-1")
    store.hangs = asyncio.Event()
    witness.beat([process(6.0)])
    ended = asyncio.create_task(witness.ended(end("w-1", [])))
    await asyncio.sleep(0.5)
    store.hangs.set()
    await ended
    witness.beat([process(20.0)])
    await asyncio.sleep(1)
    assert (len(store.beats), len(store.left)) == (0, 1)
    await witness.close()


# --- opening --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ready", [Ready("w-1", None, True, "/srv", 0.0), Ready("w-1", "memory://", False, "/srv", 0.0)]
)
@virtual
async def test_a_store_that_cannot_be_shared_is_left_alone(store: FakeStore, ready: Ready) -> None:
    witness = Witness(LEASE_TIME)
    witness.know(ready)
    await asyncio.sleep(1)
    await witness.ended(end("w-1", []))
    witness.beat([process(99.0, ready)])
    await asyncio.sleep(1)
    await witness.close()
    assert (store.opened, store.closed, store.left, store.beats) == (0, 0, [], [])


@virtual
async def test_C8_a_store_that_could_not_be_opened_at_once_is_opened_later(store: FakeStore) -> None:
    store.broken = StoreUnavailable("away")
    witness = await knowing("w-1")
    await asyncio.sleep(60)
    witness.beat([process(60.0)])
    await asyncio.sleep(0.1)
    store.broken = None
    await asyncio.sleep(10)
    witness.beat([process(70.0)])
    await asyncio.sleep(0.1)
    assert store.beats
    await witness.close()


@virtual
async def test_an_open_that_never_answers_is_asked_again(store: FakeStore) -> None:
    store.hangs = asyncio.Event()
    witness = await knowing("w-1")
    await asyncio.sleep(STORE_LIMIT / 2)
    store.hangs = None
    await asyncio.sleep(STORE_LIMIT)
    assert store.opened == 1
    await witness.close()


@virtual
async def test_a_store_that_cannot_be_opened_stops_nothing(store: FakeStore, caplog: pytest.LogCaptureFixture) -> None:
    store.broken = StoreUnsuitable("a newer schema")
    witness = await knowing("w-1")
    witness.beat([process(99.0)])
    await witness.ended(end("w-1", []))
    await witness.close()
    assert [record.getMessage() for record in caplog.records] == [
        "this parent cannot open the store, so that the death of a worker is seen later: a newer schema"
    ]


@virtual
async def test_no_password_is_logged(store: FakeStore, caplog: pytest.LogCaptureFixture) -> None:
    store.broken = StoreUnavailable("away")
    caplog.set_level("DEBUG")
    witness = await knowing("w-1")
    await witness.ended(end("w-1", []))
    store.broken = StoreUnsuitable("no")
    await asyncio.sleep(10)
    await witness.close()
    assert caplog.records
    assert "secret" not in caplog.text


# --- on a store that judges by beats --------------------------------------------------------------


async def busy_for(seconds: float, monkeypatch: pytest.MonkeyPatch, *, witnessed: bool) -> int:
    """How many jobs are rescued while a worker's loop stands still for so long, beside another steady worker."""
    loop = cast("VirtualLoop", asyncio.get_running_loop())
    store = MemoryStore(clock=loop.clock)
    monkeypatch.setattr(witness_module, "open_store", lambda url: store)
    await store.open()
    for worker in ("w-1", "other"):
        await store.join(Worker(worker, lease_time=LEASE_TIME))
    await store.add([NewJob(id="job", task="work")])
    await store.claim(Claim("w-1", 1, [Lane("default", "work", "", 1)], 1))
    witness = Witness(LEASE_TIME)
    witness.know(READY)
    began, rescued, step = loop.time(), 0, LEASE_TIME / 20
    while loop.time() < began + seconds:
        await asyncio.sleep(step)
        await store.beat(Beat("other"))
        rescued += (await store.sweep("other")).rescued
        if witnessed:
            witness.beat([process(loop.time() - began)])
    await witness.close()
    return rescued


@virtual
async def test_C8_a_loop_that_stands_still_for_three_lease_times_keeps_its_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await busy_for(3 * LEASE_TIME, monkeypatch, witnessed=False) == 1
    assert await busy_for(3 * LEASE_TIME, monkeypatch, witnessed=True) == 0
