"""Opening, closing, and saying honestly what a store can do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mainspring.errors import StoreClosed, Unsupported
from mainspring.model.states import STATES
from mainspring.store.base import Beat, BeatReply, Claim, Features, Filter, Finding, Store, Worker
from mainspring.testing.contract.harness import GROUP, StoreHarness, new_job
from mainspring.testing.contract.states import Driver, lane

ID = "019b7600-0000-7000-8000-00000000000a"

VERBS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "add": lambda store: store.add([new_job(ID)]),
    "claim": lambda store: store.claim(Claim("w1", 1, [lane("work")], 1)),
    "settle": lambda store: store.settle([]),
    "cancel": lambda store: store.cancel([ID]),
    "replay": lambda store: store.replay([ID]),
    "reschedule": lambda store: store.reschedule([ID], 0.0),
    "delete": lambda store: store.delete([ID]),
    "join": lambda store: store.join(Worker("w1")),
    "beat": lambda store: store.beat(Beat("w1")),
    "held": lambda store: store.held("w1"),
    "leave": lambda store: store.leave("w1"),
    "sweep": lambda store: store.sweep("w1"),
    "prune": lambda store: store.prune({"dead": 0.0}),
    "wait": lambda store: store.wait(["default"], 0.0),
    "get": lambda store: store.get([ID]),
    "find": lambda store: store.find(Filter()),
    "attempts": lambda store: store.attempts(ID),
    "groups": lambda store: store.groups([GROUP]),
    "counts": lambda store: store.counts(),
    "progress": lambda store: store.progress(ID),
    "workers": lambda store: store.workers(),
    "paused": lambda store: store.paused(),
    "pause": lambda store: store.pause("default"),
    "resume": lambda store: store.resume("default"),
}


class LifeContract:
    """`Life`."""

    @pytest.mark.parametrize("verb", VERBS)
    async def test_STO_010_a_closed_store_says_so(self, harness: StoreHarness, verb: str) -> None:
        await VERBS[verb](harness.store)
        await harness.store.close()
        with pytest.raises(StoreClosed):
            await VERBS[verb](harness.store)

    async def test_closing_and_opening_twice_are_fine(self, harness: StoreHarness) -> None:
        """STO-007."""
        d = Driver(harness)
        identifier = await d.add()
        await harness.store.open()
        assert (await d.job(identifier)).state == "ready"
        await harness.store.close()
        await harness.store.close()

    async def test_STO_014_what_was_acknowledged_is_there_after_reopening(self, harness: StoreHarness) -> None:
        """RST-004. A store that keeps nothing says so, and is empty (STO-009)."""
        d = Driver(harness)
        jobs = [await d.bring(state, unique=f"k-{state}") for state in STATES]
        before = await harness.store.find(Filter())
        histories = [await harness.store.attempts(job.id) for job in jobs]
        await harness.store.pause("q")
        await harness.store.join(Worker("w1", host="h"))
        if harness.store.features.survives == "nothing":
            await harness.store.close()
            await harness.store.open()
            assert (await harness.store.find(Filter())).jobs == []
            return
        await harness.reopen()
        store = harness.store
        assert await store.find(Filter()) == before
        assert [await store.attempts(job.id) for job in jobs] == histories
        assert (await store.beat(Beat("w1"))).paused == ("q",)
        assert await store.add([d.new(unique="k-ready")]) == [(jobs[STATES.index("ready")].id, False)]

    async def test_now_is_the_clock_of_the_store(self, harness: StoreHarness) -> None:
        assert await harness.store.now() == harness.clock.now()
        harness.clock.advance(1.5)
        assert await harness.store.now() == harness.clock.now()

    async def test_times_are_kept_to_the_microsecond(self, harness: StoreHarness) -> None:
        """STO-036."""
        d = Driver(harness)
        d.clock.advance(0.123457)
        job = await d.job(await d.add(delay=0.000_001, expires_in=86_400.654321))
        now = d.clock.now()
        assert job.created == now
        assert job.due == pytest.approx(now + 0.000_001, abs=6e-7)
        assert job.expires == pytest.approx(now + 86_400.654321, abs=6e-7)

    async def test_a_check_has_something_to_say(self, harness: StoreHarness) -> None:
        findings = await harness.store.check()
        assert all(isinstance(finding, Finding) for finding in findings)
        assert [finding for finding in findings if finding.level == "error"] == []

    async def test_migrating_again_does_nothing(self, harness: StoreHarness) -> None:
        """RST-013."""
        assert await harness.store.migrate() == []

    async def test_a_store_that_was_opened_lacks_no_migration(self, harness: StoreHarness) -> None:
        """It says so without being open, too."""
        assert await harness.store.pending() == []
        await harness.store.close()
        assert await harness.store.pending() == []

    async def test_a_wait_ends_when_there_is_something_new(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        waiting = asyncio.create_task(harness.store.wait(["default"], 60.0))
        await asyncio.sleep(0)
        await d.add()
        assert await asyncio.wait_for(waiting, 5) is True

    async def test_a_wait_ends_in_time(self, harness: StoreHarness) -> None:
        assert await asyncio.wait_for(harness.store.wait(["default"], 0.01), 5) in (True, False)

    async def test_C8_a_lifeline_beats_from_a_thread(self, harness: StoreHarness) -> None:
        """It has a connection and a loop of its own. Only where others go by something else there need be none."""
        store = harness.store
        lifeline = store.lifeline()
        if lifeline is None:
            assert harness.liveness == "locks" or not store.features.shared
            return

        async def beat() -> tuple[BeatReply, BeatReply]:
            await lifeline.open()
            await lifeline.open()
            try:
                return await lifeline.beat(Beat("w1", stalled=True)), await lifeline.beat(Beat("nobody"))
            finally:
                await lifeline.close()
                await lifeline.close()

        await store.join(Worker("w1"))
        harness.clock.advance(10.0)
        known, unknown = await asyncio.to_thread(asyncio.run, beat())
        assert (known.known, known.now, unknown.known) == (True, harness.clock.now(), False)
        assert [(seen.worker.id, seen.beat, seen.stalled) for seen in await store.workers()] == [
            ("w1", harness.clock.now(), True)
        ]

    # --- features

    async def test_the_features_are_said(self, harness: StoreHarness) -> None:
        features = harness.store.features
        assert isinstance(features, Features)
        assert features.name
        assert features.atomic_limit >= 100

    async def test_what_is_not_offered_is_refused(self, harness: StoreHarness) -> None:
        """Limits and transfer come with later parts; until then a store says so and raises, never pretends."""
        features, store = harness.store.features, harness.store
        assert not features.fleet_limits, "there are no contract tests for fleet limits yet"
        assert not features.transfer, "there are no contract tests for dump and restore yet"
        with pytest.raises(Unsupported):
            await store.set_limit("k", 1)
        with pytest.raises(Unsupported):
            async for line in store.dump():
                json.loads(line)
        with pytest.raises(Unsupported):
            await store.restore(nothing())


async def nothing() -> AsyncIterator[bytes]:
    """An empty dump."""
    lines: tuple[bytes, ...] = ()
    for line in lines:
        yield line
