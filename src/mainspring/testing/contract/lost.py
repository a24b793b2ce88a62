"""Every verb may be repeated after an unclear answer (RULES C2, C3): the answer is dropped, the work is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from mainspring.errors import StoreUnavailable
from mainspring.model.record import NewGroup
from mainspring.model.states import SettleKind
from mainspring.store.base import Beat, Claim, Claimed, Store
from mainspring.testing.contract.harness import GROUP, StoreHarness, hooks, settlement
from mainspring.testing.contract.states import HOUR, Driver, lane


class LostAnswers:
    """A store whose verbs are carried out, and whose answers get lost: the first of each verb, or those in `lose`.

    `call("add", jobs)` calls `store.add(jobs)` and raises StoreUnavailable in place of an answer that is to be lost.
    `sure` calls again until there is one, as an engine would; a claim is repeated under its own number.
    """

    def __init__(self, store: Store, lose: Callable[[str, int], bool] = lambda _verb, call: call == 0) -> None:
        self.store = store
        self.calls: Counter[str] = Counter()
        self._lose = lose

    async def call(self, verb: str, *args: object, **kwargs: object) -> object:
        """One call; its answer may be lost although the store did what it was asked."""
        answer = await getattr(self.store, verb)(*args, **kwargs)
        number = self.calls[verb]
        self.calls[verb] += 1
        if self._lose(verb, number):
            raise StoreUnavailable(f"the answer of {verb} was lost")
        return answer

    async def sure(self, verb: str, *args: object, **kwargs: object) -> object:
        """Call until there is an answer."""
        for _ in range(10):
            try:
                return await self.call(verb, *args, **kwargs)
            except StoreUnavailable:
                if verb == "claim":
                    (request,) = args
                    assert isinstance(request, Claim)
                    args = (request._replace(repeat=True),)
        raise AssertionError(f"{verb} never answered")

    async def claim(self, request: Claim) -> Claimed:
        """A claim that gets its jobs, sooner or later."""
        claimed = await self.sure("claim", request)
        assert isinstance(claimed, Claimed)
        return claimed


class LostAnswersContract:
    """Drop the answer of every verb; the state must be what it would have been."""

    async def test_C3_the_answer_of_every_verb_is_lost_once(self, harness: StoreHarness) -> None:
        d, store = Driver(harness), harness.store
        lost = LostAnswers(store)
        await d.join("w1")
        done, retried, dead, cancelled = (d.new("t", unique=f"k{n}", group=GROUP) for n in range(4))
        last = d.new(waits_on=GROUP)
        groups = [NewGroup(id=GROUP, size=4, on_failure="wait")]
        await lost.sure("add", [done, retried, dead, cancelled, last], groups)
        jobs = (await lost.claim(d.request("w1", [lane("t")], 3))).jobs
        assert len(jobs) == 3
        assert sorted(each.job for each in await store.held("w1")) == sorted(job.id for job in jobs)
        kinds: Sequence[SettleKind] = ("complete", "retry", "dead")
        await lost.sure("settle", [settlement(job, kind) for job, kind in zip(jobs, kinds, strict=True)])
        await lost.sure("cancel", [cancelled.id])
        await lost.sure("sweep", "w1")
        await lost.sure("replay", [dead.id])
        await lost.sure("reschedule", [dead.id], d.clock.now() + 5)
        assert await d.states(done.id, retried.id, dead.id, cancelled.id, last.id) == [
            "completed", "ready", "scheduled", "cancelled", "waiting",
        ]  # fmt: skip
        [group] = await store.groups([GROUP])
        assert group is not None
        assert (group.remaining, group.failed) == (2, 1)
        d.clock.advance(5)
        await lost.sure("sweep", "w1")
        for each in (retried, dead):
            await d.end(each.id)
        assert await d.states(last.id) == ["ready"]
        assert [(await d.job(each.id)).attempt for each in (done, retried, dead, cancelled)] == [1, 2, 2, 0]
        await lost.sure("delete", [done.id])
        d.clock.advance(HOUR)
        await lost.sure("prune", {"completed": 1.0, "cancelled": 1.0})
        assert await store.get([done.id, retried.id, dead.id, cancelled.id]) == [None] * 4

    async def test_C3_the_verbs_of_workers_may_be_repeated(self, harness: StoreHarness) -> None:
        d, store = Driver(harness), harness.store
        lost = LostAnswers(store)
        await d.join("w1")
        job = await d.start(await d.add())
        await lost.sure("beat", Beat("w1", progress=[(job.id, b"1")]))
        assert await store.progress(job.id) == b"1"
        await lost.sure("pause", "q")
        await lost.sure("resume", "q")
        await lost.sure("leave", "w1", died=True)
        after = await d.job(job.id)
        assert (after.state, after.rescues, after.suspect, after.crashes) == ("ready", 1, True, 0)
        assert len(await store.attempts(job.id)) == 1

    @pytest.mark.parametrize("verb", ["add", "claim", "settle"])
    async def test_C2_work_converges_when_every_second_answer_is_lost(self, harness: StoreHarness, verb: str) -> None:
        """Nothing is lost, nothing runs twice, no follow-up is added twice."""
        d = Driver(harness)
        lost = LostAnswers(harness.store, lambda name, call: name == verb and call % 2 == 0)
        await d.join("w1", "w2")
        jobs = [d.new("t", unique=f"k{n}", hooks=hooks()) for n in range(12)]
        for start in range(0, 12, 4):
            await lost.sure("add", jobs[start : start + 4])
        ran: Counter[str] = Counter()
        for turn in range(20):
            taken = (await lost.claim(d.request(f"w{turn % 2 + 1}", [lane("t")], 3))).jobs
            ran.update(job.id for job in taken)
            await lost.sure(
                "settle", [settlement(job, "dead", follow_ups=(d.new("child", parent=job.id),)) for job in taken]
            )
        assert ran == Counter(job.id for job in jobs)
        assert Counter(job.parent for job in await d.tasked("child")) == ran
        assert Counter(job.parent for job in await d.tasked("on_dead")) == ran

    async def test_C2_what_a_worker_never_got_is_found_and_released(self, harness: StoreHarness) -> None:
        """The claim was answered to nobody, and is not repeated: `held` shows it, a release gives it back."""
        d, store = Driver(harness), harness.store
        identifier = await d.add("t")
        lost = LostAnswers(store)
        await d.join("w1")
        with pytest.raises(StoreUnavailable):
            await lost.call("claim", d.request("w1", [lane("t")]))
        [ghost] = await store.held("w1")
        assert ghost.job == identifier
        job = await d.job(ghost.job)
        assert await d.settle(job, "release") == "accepted"
        assert await store.held("w1") == []
        assert (await d.start(identifier)).attempt == 1
