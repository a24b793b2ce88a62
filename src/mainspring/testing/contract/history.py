"""The history of a job: every attempt once, by lease, exact, and bounded (RULES H15)."""

from __future__ import annotations

import pytest

from mainspring.model.record import AttemptEnding, Failure
from mainspring.model.states import SettleKind
from mainspring.testing.contract.harness import StoreHarness
from mainspring.testing.contract.states import Driver

ENDINGS: dict[SettleKind, AttemptEnding] = {
    "complete": "completed",
    "retry": "retried",
    "repeat": "repeated",
    "snooze": "snoozed",
    "sleep": "slept",
    "wait": "waited",
    "release": "released",
    "crash": "crashed",
    "dead": "dead",
    "cancelled": "cancelled",
    "expired": "expired",
}
KEPT = 100


class HistoryContract:
    """`Reads.attempts`."""

    async def test_JOB_027_no_job_and_no_attempt_are_an_empty_history(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        assert await harness.store.attempts(d.new().id) == []
        assert await harness.store.attempts(await d.add()) == []

    @pytest.mark.parametrize("kind", list(ENDINGS))
    async def test_H15_an_attempt_tells_how_it_ended(self, harness: StoreHarness, kind: SettleKind) -> None:
        """JOB-030; JOB-032: in every store."""
        d = Driver(harness)
        job = await d.start(await d.add())
        claimed = d.clock.now()
        d.clock.advance(10)
        error = Failure(type="OSError", message="no")
        await d.settle(job, kind, ran=4.0, error=error)
        [attempt] = await harness.store.attempts(job.id)
        assert (attempt.job, attempt.lease, attempt.attempt) == (job.id, 1, 1)
        assert (attempt.ending, attempt.worker, attempt.error) == (ENDINGS[kind], "w1", error)
        assert (attempt.claimed, attempt.started, attempt.ended) == (claimed, claimed + 6, claimed + 10)

    async def test_H15_the_running_attempt_is_the_last_one(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        [attempt] = await harness.store.attempts(job.id)
        assert (attempt.ending, attempt.ended, attempt.claimed) == ("running", None, d.clock.now())

    async def test_H15_a_release_before_the_start_appends_nothing(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add()
        await d.end(identifier, "release")
        await d.start(identifier, worker="w2")
        await harness.store.leave("w2")
        assert await harness.store.attempts(identifier) == []
        await d.end(identifier, "release", ran=1.0)
        [attempt] = await harness.store.attempts(identifier)
        assert (attempt.ending, attempt.lease, attempt.attempt) == ("released", 3, 1)

    async def test_D41_leases_are_unique_attempt_numbers_are_not(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add()
        kinds: list[SettleKind] = ["snooze", "retry", "release", "sleep", "repeat", "complete"]
        for kind in kinds:
            await d.end(identifier, kind, ran=1.0)
            await d.sweep()
        history = await harness.store.attempts(identifier)
        assert [attempt.lease for attempt in history] == [1, 2, 3, 4, 5, 6]
        assert [attempt.attempt for attempt in history] == [1, 1, 2, 2, 2, 3]
        assert [attempt.ending for attempt in history] == [ENDINGS[kind] for kind in kinds]

    async def test_H15_rescue_and_replay_append_what_they_end(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add()
        await d.start(identifier, worker="doomed")
        await d.kill("doomed")
        await d.end(identifier, "dead", error=Failure(type="E", message="m"))
        await harness.store.replay([identifier])
        await d.end(identifier)
        history = await harness.store.attempts(identifier)
        assert [(attempt.lease, attempt.ending) for attempt in history] == [
            (1, "rescued"),
            (2, "dead"),
            (3, "completed"),
        ]
        assert [attempt.worker for attempt in history] == ["doomed", "w1", "w1"]
        assert history[1].error == Failure(type="E", message="m")

    async def test_H15_what_people_do_is_no_attempt(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        identifier = await d.add(delay=60)
        await harness.store.reschedule([identifier], d.clock.now())
        await harness.store.cancel([identifier])
        await harness.store.replay([identifier])
        assert await harness.store.attempts(identifier) == []
        await d.end(identifier, "retry")
        await harness.store.cancel([identifier])
        assert [attempt.ending for attempt in await harness.store.attempts(identifier)] == ["retried"]

    async def test_H15_a_settlement_that_is_told_again_appends_nothing(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        for _ in range(3):
            assert await d.settle(job, "retry", ran=1.0) == "accepted"
            d.clock.advance(1)
        assert len(await harness.store.attempts(job.id)) == 1

    async def test_H15_the_newest_hundred_are_kept(self, harness: StoreHarness) -> None:
        """STO-017, JOB-033. The count stays exact: the lease goes on."""
        d = Driver(harness)
        identifier = await d.add()
        for _ in range(KEPT + 5):
            await d.end(identifier, "release", ran=1.0)
        await d.end(identifier)
        history = await harness.store.attempts(identifier)
        assert [attempt.lease for attempt in history][-KEPT:] == list(range(7, KEPT + 7))
        assert len(history) <= KEPT + 1, "the newest hundred, and the one on the row itself"
        assert (await d.job(identifier)).lease == KEPT + 6
