"""Cancelling: at once what does not run, by request what does; the request wins over all but an end (RULES C4)."""

from __future__ import annotations

import pytest

from mainspring.model.states import SETTLE_KINDS, TERMINAL, SettleKind, State
from mainspring.store.base import Beat
from mainspring.testing.contract.harness import StoreHarness
from mainspring.testing.contract.states import Driver

STILL: dict[SettleKind, State] = {"complete": "completed", "dead": "dead", "expired": "expired"}


class CancelContract:
    """`Jobs.cancel`."""

    async def test_each_is_answered_on_its_own(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        ids = [(await d.bring(state)).id for state in ("scheduled", "waiting", "ready", "running", "completed")]
        answers = await harness.store.cancel([*ids, d.new().id, ids[0]], "not wanted")
        assert answers == ["cancelled", "cancelled", "cancelled", "requested", "ended", "unknown", "ended"]
        assert await d.states(*ids) == ["cancelled", "cancelled", "cancelled", "running", "completed"]
        for each in ids[:3]:
            job = await d.job(each)
            assert (job.reason, job.finished) == ("not wanted", d.clock.now())

    async def test_the_reason_of_a_request_is_kept_until_the_job_ends(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.bring("running")
        await harness.store.cancel([job.id], "not wanted")
        await d.settle(job, "retry")
        assert await d.states(job.id) == ["cancelled"]
        assert (await d.job(job.id)).reason == "not wanted"

    @pytest.mark.parametrize("state", sorted(TERMINAL))
    async def test_an_ended_job_is_left_alone(self, harness: StoreHarness, state: State) -> None:
        d = Driver(harness)
        job = await d.bring(state)
        assert await harness.store.cancel([job.id]) == ["ended"]
        assert await d.job(job.id) == job

    async def test_the_worker_is_told_by_its_beat(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        mine, other, theirs = [await d.add() for _ in range(3)]
        await d.start(mine)
        await d.start(other)
        await d.start(theirs, worker="w2")
        assert await harness.store.cancel([mine, theirs]) == ["requested", "requested"]
        assert await harness.store.cancel([mine]) == ["requested"]
        assert (await harness.store.beat(Beat("w1"))).cancel == (mine,)
        assert (await harness.store.beat(Beat("w2"))).cancel == (theirs,)
        assert (await d.job(mine)).cancel_requested

    @pytest.mark.parametrize("kind", SETTLE_KINDS)
    async def test_C4_cancel_beats_retry_and_everything_but_an_end(
        self, harness: StoreHarness, kind: SettleKind
    ) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        await harness.store.cancel([job.id])
        assert await d.settle(job, kind, after=5.0) == "accepted"
        after = await d.job(job.id)
        assert after.state == STILL.get(kind, "cancelled")
        assert after.finished == d.clock.now()
        assert await d.settle(job, kind, after=5.0) == "accepted"

    async def test_C4_cancel_beats_rescue(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(), worker="doomed")
        await d.join("sweeper")
        await harness.store.cancel([job.id])
        await harness.lapse("doomed")
        assert (await d.sweep()).rescued == 1
        assert await d.states(job.id) == ["cancelled"]

    @pytest.mark.parametrize("died", [True, False])
    async def test_C4_cancel_beats_a_worker_that_leaves(self, harness: StoreHarness, died: bool) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(), worker="w2")
        await harness.store.cancel([job.id])
        await harness.store.leave("w2", died=died)
        assert await d.states(job.id) == ["cancelled"]

    async def test_C4_cancel_beats_a_release_of_what_was_not_started(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(), worker="w2")
        await harness.store.cancel([job.id])
        await d.kill("w2", started=[])
        assert await d.states(job.id) == ["cancelled"]

    async def test_C4_replay_clears_the_request(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        await harness.store.cancel([job.id])
        await d.settle(job, "retry")
        assert await harness.store.replay([job.id]) == ["replayed"]
        again = await d.start(job.id)
        assert not again.cancel_requested
        assert (await harness.store.beat(Beat("w1"))).cancel == ()
        await d.settle(again, "retry")
        assert await d.states(job.id) == ["scheduled"]
