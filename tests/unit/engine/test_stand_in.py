"""Beats from a thread, while the loop does not get round to its own (RULES C8). Real threads; the age of beats is told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from mainspring.clock import FakeClock
from mainspring.codec import encode
from mainspring.engine.arguments import Parameters
from mainspring.engine.liveness import Liveness
from mainspring.engine.registry import Registered, Registry
from mainspring.engine.settings import WorkerSettings
from mainspring.engine.stand_in import StandIn
from mainspring.engine.worker import Worker
from mainspring.errors import StoreUnavailable
from mainspring.ids import new_id
from mainspring.model.record import NewJob
from mainspring.store.base import Beat, BeatReply, Held
from mainspring.store.memory import MemoryStore
from tests.unit.engine.workshop import Lossy, virtual, workshop

LEASE = 0.48
"""Short, so that the thread looks every 20 ms."""


class Line:
    """A lifeline that takes notes. `broken` is raised, `hangs`: no answer; `known`: what is answered."""

    def __init__(self) -> None:
        self.made = 0
        self.opened = 0
        self.closed = 0
        self.beats: list[Beat] = []
        self.tries = 0
        self.threads: set[int] = set()
        self.broken: Exception | None = None
        self.hangs = False
        self.known = True

    def make(self) -> Line:
        self.made += 1
        return self

    async def open(self) -> None:
        self.opened += 1

    async def beat(self, beat: Beat) -> BeatReply:
        self.tries += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.broken is not None:
            raise self.broken
        self.beats.append(beat)
        self.threads.add(threading.get_ident())
        return BeatReply(0.0, self.known)

    async def close(self) -> None:
        self.closed += 1


class Scene:
    """A worker whose beats are told by hand."""

    def __init__(self) -> None:
        self.line = Line()
        self.clock = FakeClock()
        self.liveness = Liveness(LEASE, self.clock)
        self.stalled = False
        self.stand_in = StandIn(
            self.line.make, "w", lease_time=LEASE, liveness=self.liveness, stalled=lambda: self.stalled
        )

    def silent_for(self, lease_times: float) -> None:
        """So many lease times pass, and somebody looks."""
        self.clock.advance(LEASE * lease_times)
        self.stand_in.look()

    def loop_beats(self) -> None:
        self.clock.advance(0.001)
        self.liveness.answered(self.liveness.now())

    def beaten(self, times: int) -> None:
        until(lambda: len(self.line.beats) >= times)

    def over(self) -> None:
        until(lambda: not beating())


def until(condition: Callable[[], bool]) -> None:
    """Wait in a thread that is not to turn any loop."""
    ends = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.002)


def beating() -> bool:
    return any(thread.name == "mainspring-beat" for thread in threading.enumerate())


@pytest.fixture
async def scene() -> Scene:
    return Scene()


# --- when there is need ---------------------------------------------------------------------------


async def test_C8_a_worker_whose_beats_come_in_time_costs_no_thread_and_no_connection(scene: Scene) -> None:
    for _ in range(5):
        scene.silent_for(0.4)  # a third, and what a slow answer takes
        assert not beating()
        scene.loop_beats()
    assert (scene.line.opened, scene.line.beats) == (0, [])
    scene.stand_in.stop()


async def test_C8_a_loop_that_does_not_beat_is_beaten_for_in_time_to_stay_steady(scene: Scene) -> None:
    """Before half a lease time has passed (RULES C1), from another thread, and it counts (RULES H8)."""
    scene.silent_for(0.43)
    scene.beaten(1)
    assert scene.line.beats == [Beat("w", stalled=False)]
    assert scene.line.threads.isdisjoint({threading.get_ident()})
    until(lambda: scene.liveness.acknowledged == scene.liveness.now())
    for times in range(2, 8):
        scene.silent_for(0.34)
        scene.beaten(times)
    until(lambda: scene.liveness.acknowledged == scene.liveness.now())
    assert scene.liveness.sure
    scene.stand_in.stop()
    assert not beating()
    assert scene.line.closed == 1


async def test_C7_a_stall_is_told_at_once_and_once(scene: Scene) -> None:
    scene.stalled = True
    scene.silent_for(0.01)
    scene.beaten(1)
    time.sleep(LEASE / 4)  # noqa: ASYNC251  # several looks, in which nothing is new
    assert scene.line.beats == [Beat("w", stalled=True)]
    scene.stalled = False
    scene.loop_beats()
    scene.over()
    scene.stalled = True
    scene.silent_for(0.01)
    scene.beaten(2)
    assert scene.line.beats[1].stalled
    scene.stand_in.stop()


async def test_C8_the_thread_ends_when_the_loop_beats_again(scene: Scene) -> None:
    scene.silent_for(0.5)
    scene.beaten(1)
    time.sleep(0.1)  # noqa: ASYNC251  # its own beat is no reason to end
    assert beating()
    scene.loop_beats()
    scene.over()
    assert (scene.line.opened, scene.line.closed) == (1, 1)
    scene.silent_for(0.5)
    scene.beaten(2)
    scene.stand_in.stop()
    assert (scene.line.opened, scene.line.closed) == (2, 2)


async def test_C8_where_a_beat_would_say_nothing_new_there_is_no_thread() -> None:
    clock = FakeClock()
    stand_in = StandIn(lambda: None, "w", lease_time=LEASE, liveness=Liveness(LEASE, clock), stalled=lambda: True)
    clock.advance(LEASE * 10)
    stand_in.look()
    assert not beating()
    stand_in.stop()


# --- when it goes wrong ---------------------------------------------------------------------------


async def test_C8_a_store_that_is_away_is_asked_again(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.line.broken = StoreUnavailable("away")
    scene.silent_for(0.5)
    until(lambda: scene.line.tries >= 3)
    assert scene.liveness.acknowledged < scene.liveness.now()
    scene.line.broken = None
    scene.beaten(1)
    scene.stand_in.stop()
    assert caplog.text.count("the store did not answer, asking again") == 1


async def test_C8_a_beat_that_is_not_answered_is_sent_anew(scene: Scene) -> None:
    scene.line.hangs = True
    scene.silent_for(0.5)
    until(lambda: scene.line.tries >= 2)
    scene.line.hangs = False
    scene.beaten(1)
    scene.stand_in.stop()


async def test_C8_the_loop_comes_back_while_the_store_is_away(scene: Scene) -> None:
    scene.line.broken = StoreUnavailable("away")
    scene.silent_for(0.5)
    until(lambda: scene.line.tries >= 1)
    scene.loop_beats()
    scene.over()
    assert scene.line.beats == []
    scene.stand_in.stop()


async def test_H8_a_worker_that_was_forgotten_is_not_believed_to_live(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Its leases have gone. Only the loop can join again; until then a beat would be for nobody."""
    scene.line.known = False
    before = scene.liveness.acknowledged
    scene.silent_for(0.9)
    scene.beaten(1)
    scene.over()
    assert scene.liveness.acknowledged == before
    assert not scene.liveness.sure
    scene.silent_for(1.0)
    assert not beating()
    assert caplog.text.count("was taken for dead") == 1
    scene.line.known = True
    scene.loop_beats()
    scene.silent_for(0.5)
    scene.beaten(2)
    scene.stand_in.stop()


async def test_C8_the_end_of_a_worker_does_not_wait_for_a_silent_server(scene: Scene) -> None:
    scene.line.hangs = True
    scene.silent_for(0.5)
    until(lambda: scene.line.tries == 1)
    began = time.monotonic()
    scene.stand_in.stop()
    assert time.monotonic() - began < 1.0
    assert not beating()
    assert scene.line.closed == 1


def test_C8_a_loop_that_was_closed_under_its_worker_is_not_beaten_for() -> None:
    """Else a worker that nobody can end would keep its leases for ever."""
    scene = asyncio.run(made())
    scene.silent_for(0.5)
    scene.over()
    assert scene.line.beats == []


async def made() -> Scene:
    return Scene()


async def test_C8_no_room_for_a_thread_is_logged_and_tried_again(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        scene.silent_for(0.5)
    assert "can't start new thread" in caplog.text
    scene.silent_for(0.1)
    scene.beaten(1)
    scene.stand_in.stop()


# --- in a worker ----------------------------------------------------------------------------------


class Alive(MemoryStore):
    """A store that knows nothing of a worker but its beats, as far as the worker can see."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        super().__init__(clock=clock)
        self.line = Line()
        self.asked = 0

    def lifeline(self) -> Line:  # type: ignore[override]  # the memory store has no use for one
        return self.line.make()

    async def held(self, worker: str) -> list[Held]:
        self.asked += 1
        return await super().held(worker)


async def test_C8_a_worker_with_a_blocked_loop_is_beaten_for_from_its_thread() -> None:
    """For three lease times; what was claimed meanwhile is started without a question (RULES H8)."""
    registry = Registry()
    ran: list[float] = []

    async def block(seconds: float) -> None:
        ran.append(time.monotonic())
        time.sleep(seconds)  # noqa: ASYNC251  # the point of the test

    registry.add(
        Registered(name="t", fn=block, mode="async", parameters=Parameters(block, task="t", takes_context=False))
    )
    store = Alive()
    await store.open()
    jobs = [NewJob(id=new_id(), task="t", payload=encode({"seconds": seconds})) for seconds in (3.0, 0.0)]
    await store.add(jobs)
    async with Worker(store, registry, WorkerSettings(lease_time=1.0, stall_warn=0.3, concurrency=1)):
        while len(ran) < 2:  # jobs have no event to wait for
            await asyncio.sleep(0.01)
        assert not store.asked
        assert len(store.line.beats) >= 6
        assert all(beat.stalled for beat in store.line.beats[2:])
        assert ran[1] - ran[0] >= 3.0
    assert not beating()
    assert store.line.closed == 1
    await store.close()


@virtual
async def test_H10_in_virtual_time_there_is_no_thread() -> None:
    async with workshop() as shop:
        shop.store = store = Timeless(shop.clock)
        await store.open()
        async with shop.worker(lease_time=LEASE):
            store.down = True  # no beat is answered
            await asyncio.sleep(3600)
            store.down = False
        assert store.made == 0
        assert not beating()


class Timeless(Lossy):
    """Counts the lifelines that it was asked for."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.made = 0

    def lifeline(self) -> None:
        self.made += 1
