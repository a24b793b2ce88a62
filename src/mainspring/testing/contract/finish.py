"""The one way to end: whoever ends a job, its follow-ups run, its group counts, what waits on it goes on (RULES C5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mainspring.model.record import Group, NewGroup, OnFailure
from mainspring.model.states import SettleKind, State
from mainspring.testing.contract.harness import GROUP, OTHER_GROUP, StoreHarness, hooks, settlement
from mainspring.testing.contract.states import HOUR, Driver, lane

End = Callable[[Driver, str], Awaitable[None]]
"""Ends a ready job that has `expires_in=HOUR`, in one of the many ways."""


async def settled_dead(d: Driver, job: str) -> None:
    await d.end(job, "dead")


async def settled_cancelled(d: Driver, job: str) -> None:
    await d.end(job, "cancelled")


async def settled_expired(d: Driver, job: str) -> None:
    await d.end(job, "expired")


async def retried_too_late(d: Driver, job: str) -> None:
    await d.end(job, "retry", after=HOUR)


async def retried_with_a_cancel_request(d: Driver, job: str) -> None:
    running = await d.start(job)
    await d.harness.store.cancel([job])
    await d.settle(running, "retry", after=1.0)


async def crashed_three_times(d: Driver, job: str) -> None:
    for _ in range(3):
        await d.end(job, "crash")


async def rescued_at_the_crash_limit(d: Driver, job: str) -> None:
    for _ in range(2):
        await d.end(job, "crash")
    await d.start(job, worker="doomed")
    await d.join("sweeper")
    await d.harness.lapse("doomed")
    await d.sweep()


async def died_with_its_worker_at_the_crash_limit(d: Driver, job: str) -> None:
    for _ in range(2):
        await d.end(job, "crash")
    await d.start(job, worker="doomed")
    await d.kill("doomed")


async def rescued_with_a_cancel_request(d: Driver, job: str) -> None:
    await d.start(job, worker="doomed")
    await d.harness.store.cancel([job])
    await d.kill("doomed")


async def released_with_a_cancel_request(d: Driver, job: str) -> None:
    await d.start(job, worker="w2")
    await d.harness.store.cancel([job])
    await d.harness.store.leave("w2")


async def cancelled_while_ready(d: Driver, job: str) -> None:
    await d.harness.store.cancel([job])


async def cancelled_while_it_slept(d: Driver, job: str) -> None:
    await d.end(job, "sleep", after=HOUR)
    await d.harness.store.cancel([job])


async def cancelled_while_it_waited(d: Driver, job: str) -> None:
    await d.end(job, "wait")
    await d.harness.store.cancel([job])


async def expired_by_a_sweep(d: Driver, job: str) -> None:
    d.clock.advance(HOUR)
    assert (await d.sweep()).expired == 1, job


async def expired_at_claim(d: Driver, job: str) -> None:
    d.clock.advance(HOUR)
    assert await d.claim(lane("ending")) == [], job


ENDS: list[tuple[End, State]] = [
    (settled_dead, "dead"),
    (settled_cancelled, "cancelled"),
    (settled_expired, "expired"),
    (retried_too_late, "expired"),
    (retried_with_a_cancel_request, "cancelled"),
    (crashed_three_times, "dead"),
    (rescued_at_the_crash_limit, "dead"),
    (died_with_its_worker_at_the_crash_limit, "dead"),
    (rescued_with_a_cancel_request, "cancelled"),
    (released_with_a_cancel_request, "cancelled"),
    (cancelled_while_ready, "cancelled"),
    (cancelled_while_it_slept, "cancelled"),
    (cancelled_while_it_waited, "cancelled"),
    (expired_by_a_sweep, "expired"),
    (expired_at_claim, "expired"),
]


class FinishContract:
    """What the end of a job does to others."""

    @pytest.mark.parametrize(("end", "state"), ENDS, ids=[end.__name__ for end, _ in ENDS])
    async def test_C5_every_end_runs_all_that_hangs_on_it(self, harness: StoreHarness, end: End, state: State) -> None:
        d = Driver(harness)
        job = d.new(
            "ending", expires_in=HOUR, hooks=hooks(), unique="k", group=GROUP, payload=b'{"a":1}', correlation="c"
        )
        after_job, after_group = d.new(waits_on=job.id), d.new(waits_on=GROUP)
        other = d.new(group=GROUP)
        await harness.store.add([job, other, after_job, after_group], [NewGroup(id=GROUP, size=2)])
        await end(d, job.id)
        assert (await d.job(job.id)).state == state
        assert await harness.store.groups([GROUP]) == [Group(id=GROUP, size=2, remaining=1, failed=1)]
        assert await d.states(after_job.id, after_group.id) == ["cancelled", "cancelled"]
        assert (await d.job(await d.add(unique="k"))).state == "ready", "the key is free"
        hooked = [each for name in ("on_dead", "on_expired", "on_cancelled") for each in await d.tasked(name)]
        assert [each.task for each in hooked] == [f"on_{state}"]
        [hook] = hooked
        assert (hook.state, hook.payload, hook.parent, hook.root) == ("ready", b'{"a":1}', job.id, job.id)
        assert (hook.correlation, hook.hooks, hook.unique) == ("c", (), None), "M17: hooks have no hooks"
        assert (hook.queue, hook.priority) == (("hooks", 7) if state == "expired" else ("default", 0))

    async def test_C5_a_completed_job_has_no_hooks_to_run(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.bring("completed", hooks=hooks())
        assert (await harness.store.counts())[0].number == 1
        assert len(await harness.store.counts()) == 1

    async def test_C5_a_follow_up_belongs_to_the_root_of_its_job(self, harness: StoreHarness) -> None:
        """WFL-015, and M8: it is kept as long as the whole is alive."""
        d = Driver(harness)
        root = await d.add()
        job = await d.add(root=root, parent=root, hooks=hooks(), trace="00-aa-bb-01", correlation="c")
        await d.end(job, "dead")
        [hook] = await d.tasked("on_dead")
        assert (hook.root, hook.parent, hook.trace, hook.correlation) == (root, job, "00-aa-bb-01", "c")

    async def test_C5_an_end_that_is_told_again_runs_its_hooks_once(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add(hooks=hooks()))
        for _ in range(2):
            await d.settle(job, "dead")
            await harness.store.cancel([job.id])
            await d.sweep()
        assert len(await d.tasked("on_dead")) == 1
        assert await d.tasked("on_cancelled") == []

    # --- chains

    async def test_WFL_001_a_chain_runs_in_order(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.add()
        second = await d.add(waits_on=first)
        third = await d.add(waits_on=second)
        assert await d.states(first, second, third) == ["ready", "waiting", "waiting"]
        await d.end(first)
        assert await d.states(first, second, third) == ["completed", "ready", "waiting"]
        await d.end(second)
        assert await d.states(first, second, third) == ["completed", "completed", "ready"]

    @pytest.mark.parametrize("kind", ["complete", "dead"])
    async def test_C5_who_came_to_wait_while_the_job_ran_is_not_forgotten(
        self, harness: StoreHarness, kind: SettleKind
    ) -> None:
        d = Driver(harness)
        running = await d.start(await d.add())
        waiting = await d.add(waits_on=running.id)
        assert await d.settle(running, kind) == "accepted"
        assert await d.states(waiting) == ["ready" if kind == "complete" else "cancelled"]

    async def test_a_delay_of_a_waiting_job_counts_from_its_adding(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.add()
        early, late = await d.add(waits_on=first, delay=5), await d.add(waits_on=first, delay=HOUR)
        due = d.clock.now() + HOUR
        d.clock.advance(10)
        await d.end(first)
        assert await d.states(early, late) == ["ready", "scheduled"]
        assert (await d.job(late)).due == due

    async def test_a_retry_holds_the_chain_and_a_late_end_lets_it_go(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.add()
        second = await d.add(waits_on=first)
        await d.end(first, "retry")
        assert await d.states(second) == ["waiting"]
        await d.sweep()
        await d.end(first)
        assert await d.states(second) == ["ready"]

    async def test_D30_when_a_member_dies_the_later_ones_are_cancelled(self, harness: StoreHarness) -> None:
        """WFL-007. Those before it are as they were."""
        d = Driver(harness)
        first = await d.bring("completed")
        second = await d.add(waits_on=first.id)
        third = await d.add(waits_on=second, hooks=hooks())
        fourth = await d.add(waits_on=third, unique="k")
        await d.end(second, "dead")
        assert await d.states(first.id, second, third, fourth) == ["completed", "dead", "cancelled", "cancelled"]
        assert (await d.job(third)).reason == "parent dead"
        assert [hook.parent for hook in await d.tasked("on_cancelled")] == [third]
        await d.add(unique="k")

    async def test_D30_a_replay_puts_the_later_ones_back(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.add()
        second = await d.add(waits_on=first)
        third = await d.add(waits_on=second)
        by_hand = await d.add(waits_on=second)
        await harness.store.cancel([by_hand], "not wanted")
        await d.end(first, "dead")
        assert await harness.store.replay([first]) == ["replayed"]
        assert await d.states(first, second, third, by_hand) == ["ready", "waiting", "waiting", "cancelled"]
        for each in (first, second, third):
            await d.end(each)
        assert await d.states(first, second, third) == ["completed"] * 3

    async def test_D30_who_waits_on_a_failed_job_cannot_be_replayed_alone(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.add()
        second = await d.add(waits_on=first)
        await d.end(first, "dead")
        before = await d.job(second)
        assert await harness.store.replay([second]) == ["refused"]
        assert await d.job(second) == before
        assert await harness.store.replay([first, second]) == ["replayed", "refused"], "it waits again already"

    # --- groups

    @pytest.mark.parametrize("number", [1, 3, 50])
    async def test_C11_siblings_in_one_settle_call_are_each_counted(self, harness: StoreHarness, number: int) -> None:
        d = Driver(harness)
        last, members = await fan_in(d, number)
        jobs = [await d.start(each) for each in members]
        await harness.store.settle([settlement(job, "complete") for job in jobs])
        assert await harness.store.groups([GROUP]) == [Group(id=GROUP, size=number, remaining=0)]
        assert await d.states(last) == ["ready"]
        assert (await d.start(last)).lease == 1

    async def test_C11_siblings_in_concurrent_settle_calls_are_each_counted(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        last, members = await fan_in(d, 20)
        jobs = [await d.start(each) for each in members]
        halves = (jobs[::2], jobs[1::2])
        await asyncio.gather(*(harness.store.settle([settlement(job, "complete") for job in half]) for half in halves))
        assert await harness.store.groups([GROUP]) == [Group(id=GROUP, size=20, remaining=0)]
        assert await d.states(last) == ["ready"]

    async def test_C11_siblings_that_settle_twice_are_counted_once(self, harness: StoreHarness) -> None:
        """An unclear commit: the whole batch is sent again, beside a sibling's."""
        d = Driver(harness)
        last, members = await fan_in(d, 4)
        jobs = [await d.start(each) for each in members]
        batch = [settlement(job, "complete") for job in jobs[:3]]
        await asyncio.gather(*(harness.store.settle([*batch, batch[0]]) for _ in range(3)))
        assert await harness.store.groups([GROUP]) == [Group(id=GROUP, size=4, remaining=1)]
        assert await d.states(last) == ["waiting"]
        await d.settle(jobs[3], "complete")
        assert await d.states(last) == ["ready"]

    async def test_C11_different_ends_in_one_batch(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        last, members = await fan_in(d, 4, on_failure="wait")
        jobs = [await d.start(each) for each in members]
        kinds: list[SettleKind] = ["dead", "complete", "retry", "expired"]
        batch = [settlement(job, kind) for job, kind in zip(jobs, kinds, strict=True)]
        await harness.store.settle(batch)
        expected = Group(id=GROUP, size=4, remaining=1, failed=2, on_failure="wait")
        assert await harness.store.groups([GROUP]) == [expected]
        assert await harness.store.cancel([members[2]]) == ["cancelled"]
        assert await d.states(last) == ["ready"]

    async def test_WFL_026_the_follow_up_runs_once_after_all(self, harness: StoreHarness) -> None:
        """WFL-029: a member that was retried first counts once, when it ends."""
        d = Driver(harness)
        last, (a, b, c) = await fan_in(d, 3)
        await d.end(a)
        await d.end(b, "retry")
        await d.end(c)
        assert await d.states(last) == ["waiting"]
        await d.sweep()
        await d.end(b)
        await d.end(last, result=b"42")
        assert (await d.job(last)).attempt == 1

    async def test_WFL_028_stop_ends_what_waits_at_the_first_failure(self, harness: StoreHarness) -> None:
        """D30."""
        d = Driver(harness)
        last, (a, b, c) = await fan_in(d, 3)
        after = await d.add(waits_on=last)
        await d.end(a, "dead")
        assert await d.states(last, after, b, c) == ["cancelled", "cancelled", "ready", "ready"]
        await d.end(b)
        await d.end(c)
        assert await d.states(last) == ["cancelled"]

    async def test_D30_wait_lets_the_follow_up_run_after_all_whatever_their_ends(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        last, (a, b, c) = await fan_in(d, 3, on_failure="wait")
        await d.end(a, "dead")
        await harness.store.cancel([b])
        assert await d.states(last) == ["waiting"]
        await d.end(c)
        assert await d.states(last) == ["ready"]
        expected = Group(id=GROUP, size=3, remaining=0, failed=2, on_failure="wait")
        assert await harness.store.groups([GROUP]) == [expected]

    async def test_D30_a_replayed_member_is_counted_again(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        last, (a, b, c) = await fan_in(d, 3)
        await d.end(a, "dead")
        await d.end(b, "dead")
        await d.end(c)
        assert await harness.store.replay([a]) == ["replayed"]
        assert await harness.store.groups([GROUP]) == [Group(id=GROUP, size=3, remaining=1, failed=1)]
        assert await d.states(last) == ["cancelled"], "the other one is still dead"
        assert await harness.store.replay([b]) == ["replayed"]
        assert await harness.store.groups([GROUP]) == [Group(id=GROUP, size=3, remaining=2, failed=0)]
        assert await d.states(last) == ["waiting"]
        await d.end(a)
        await d.end(b)
        assert await d.states(last) == ["ready"]

    async def test_two_may_wait_on_one_group_and_groups_may_be_nested(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        inner, (a, b) = await fan_in(d, 2, group=OTHER_GROUP)
        last, other = await d.add(waits_on=OTHER_GROUP), await d.add(waits_on=GROUP)
        await d.end(a)
        await d.end(b)
        assert await d.states(inner, other, last) == ["ready", "ready", "waiting"]
        await d.end(inner)
        assert await d.states(last) == ["ready"]

    async def test_a_group_is_kept_while_a_job_waits_on_it(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first, [member] = await fan_in(d, 1)
        second = await d.add(waits_on=GROUP)
        await harness.store.cancel([first])
        await harness.store.delete([first])
        await d.end(member)
        assert await d.states(second) == ["ready"]

    async def test_unknown_groups_are_none(self, harness: StoreHarness) -> None:
        assert await harness.store.groups([OTHER_GROUP]) == [None]


async def fan_in(
    d: Driver, number: int, *, on_failure: OnFailure = "stop", group: str | None = None, name: str = GROUP
) -> tuple[str, list[str]]:
    """A group of so many members and the job that waits on it, which may be in a group of one itself."""
    members = [d.new(group=name) for _ in range(number)]
    last = d.new(waits_on=name, group=group)
    groups = [NewGroup(id=name, size=number, on_failure=on_failure)]
    if group is not None:
        groups.append(NewGroup(id=group, size=1))
    await d.harness.store.add([*members, last], groups)
    return last.id, [each.id for each in members]
