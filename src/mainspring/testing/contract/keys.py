"""Unique keys: rows of their own, taken by add, freed by the end of their job unless a window lasts (RULES H12)."""

from __future__ import annotations

import asyncio

import pytest

from mainspring.model.record import FOREVER, Group, NewGroup
from mainspring.model.states import LIVE, TERMINAL, SettleKind, State
from mainspring.testing.contract.harness import GROUP, StoreHarness, settlement
from mainspring.testing.contract.states import HOUR, Driver

LIVE_STATES = sorted(LIVE)
TERMINAL_STATES = sorted(TERMINAL)


class KeysContract:
    """What `unique` and `unique_for` promise."""

    @pytest.mark.parametrize("state", LIVE_STATES)
    async def test_STO_043_a_key_is_held_by_a_job_that_has_not_ended(self, harness: StoreHarness, state: State) -> None:
        d = Driver(harness)
        holder = await d.bring(state, unique="k")
        second = d.new(unique="k")
        assert await harness.store.add([second]) == [(holder.id, False)]
        assert await harness.store.get([second.id]) == [None]
        assert await d.job(holder.id) == holder

    @pytest.mark.parametrize("state", TERMINAL_STATES)
    async def test_STO_044_a_key_is_free_when_its_job_has_ended(self, harness: StoreHarness, state: State) -> None:
        d = Driver(harness)
        await d.bring(state, unique="k")
        holder = await d.add(unique="k")
        assert await harness.store.add([d.new(unique="k")]) == [(holder, False)]

    async def test_H12_a_window_outlives_the_job(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.bring("completed", unique="k", unique_for=60.0)
        d.clock.advance(59)
        assert await harness.store.add([d.new(unique="k")]) == [(first.id, False)]
        d.clock.advance(1)
        await d.add(unique="k")

    async def test_H12_the_job_outlives_a_window(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.add(unique="k", unique_for=60.0)
        d.clock.advance(61)
        assert await harness.store.add([d.new(unique="k")]) == [(first, False)]
        await d.end(first)
        await d.add(unique="k")

    async def test_H12_a_later_holder_is_not_disturbed_by_the_first(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.bring("dead", unique="k", unique_for=60.0)
        d.clock.advance(60)
        second = await d.add(unique="k")
        assert await harness.store.delete([first.id]) == ["changed"]
        assert await harness.store.add([d.new(unique="k")]) == [(second, False)]

    async def test_H12_forever_lasts_until_the_job_is_removed(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.bring("completed", unique="k", unique_for=FOREVER)
        d.clock.advance(1000 * 24 * HOUR)
        assert await harness.store.add([d.new(unique="k")]) == [(first.id, False)]
        assert await harness.store.prune({"completed": 60.0}) == 1
        second = await d.bring("completed", unique="k", unique_for=FOREVER)
        assert await harness.store.delete([second.id]) == ["changed"]
        await d.add(unique="k")

    async def test_H12_keys_compare_byte_by_byte(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        keys = ["a", "A", "a ", " a", "ä", "a\u0308", "Ä", "ß", "ss", "a\t", "😀", "k" * 255]
        batch = [d.new(unique=key) for key in keys]
        assert await harness.store.add(batch) == [(new.id, True) for new in batch]
        for new in batch:
            assert await harness.store.add([d.new(unique=new.unique)]) == [(new.id, False)]

    async def test_H7_two_equal_keys_in_one_batch_count_one_by_one(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        batch = [d.new(unique=key) for key in ("x", "y", "x", None, "y", "x")]
        x, y = batch[0].id, batch[1].id
        answers = await harness.store.add(batch)
        assert answers == [(x, True), (y, True), (x, False), (batch[3].id, True), (y, False), (x, False)]
        assert [job is not None for job in await harness.store.get([new.id for new in batch])] == [
            True, True, False, True, False, False,
        ]  # fmt: skip

    async def test_concurrent_adds_of_one_key_make_one_job(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        answers = await asyncio.gather(*(harness.store.add([d.new(), d.new(unique="k")]) for _ in range(20)))
        assert sum(answer[1].created for answer in answers) == 1
        assert len({answer[1].id for answer in answers}) == 1
        assert all(answer[0].created for answer in answers)

    async def test_keys_in_opposite_orders_do_not_block_each_other(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        for number in range(5):
            keys = [f"{number}-{name}" for name in "abcdef"]
            forwards = [d.new(unique=key) for key in keys]
            backwards = [d.new(unique=key) for key in reversed(keys)]
            first, second = await asyncio.gather(harness.store.add(forwards), harness.store.add(backwards))
            assert [answer.id for answer in first] == [answer.id for answer in reversed(second)]

    # --- follow-ups

    async def test_H11_a_job_may_be_followed_by_one_with_its_own_key(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        parent = await d.start(await d.add(unique="k"))
        child = d.new(unique="k", parent=parent.id)
        assert await d.settle(parent, "complete", follow_ups=(child,)) == "accepted"
        assert await d.states(parent.id, child.id) == ["completed", "ready"]
        assert await harness.store.add([d.new(unique="k")]) == [(child.id, False)]

    async def test_STO_046_a_follow_up_whose_key_is_taken_is_left_out(self, harness: StoreHarness) -> None:
        """H12: it must not fail the settlement, and the parent says who holds the key."""
        d = Driver(harness)
        holder = await d.add(unique="k")
        parent, other = await d.start(await d.add()), await d.start(await d.add())
        child, sibling = d.new(unique="k"), d.new()
        answers = await harness.store.settle(
            [settlement(parent, "complete", follow_ups=(child, sibling), result=b"1"), settlement(other, "complete")]
        )
        assert answers == ["accepted", "accepted"]
        assert await harness.store.get([child.id]) == [None]
        assert await d.states(parent.id, other.id, sibling.id) == ["completed", "completed", "ready"]
        assert holder in (await d.job(parent.id)).reason

    # --- what hangs on a job that was left out

    @pytest.mark.parametrize("state", LIVE_STATES)
    async def test_H12_what_would_wait_on_a_left_out_job_waits_on_the_holder(
        self, harness: StoreHarness, state: State
    ) -> None:
        d = Driver(harness)
        holder = await d.bring(state, unique="k")
        first = d.new(unique="k")
        second = d.new(waits_on=first.id)
        third = d.new(waits_on=second.id)
        for created in (True, False):
            assert await harness.store.add([first, second, third]) == [
                (holder.id, False),
                (second.id, created),
                (third.id, created),
            ]
            assert await d.states(second.id, third.id) == ["waiting", "waiting"]
        if state == "running":
            await d.settle(holder, "complete")
            assert await d.states(second.id, third.id) == ["ready", "waiting"]
        else:
            await harness.store.cancel([holder.id])
            assert await d.states(second.id, third.id) == ["cancelled", "cancelled"]

    @pytest.mark.parametrize(("kind", "state"), [("complete", "ready"), ("dead", "cancelled")])
    async def test_H12_the_holder_may_have_ended_in_its_window(
        self, harness: StoreHarness, kind: SettleKind, state: State
    ) -> None:
        d = Driver(harness)
        holder = await d.add(unique="k", unique_for=FOREVER)
        await d.end(holder, kind)
        first = d.new(unique="k")
        second = d.new(waits_on=first.id)
        assert await harness.store.add([first, second]) == [(holder, False), (second.id, True)]
        assert await d.states(second.id) == [state]

    async def test_H12_a_group_counts_a_left_out_member_as_ended(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        holder = await d.add(unique="k")
        batch = [d.new(group=GROUP, unique="k"), d.new(group=GROUP), d.new(waits_on=GROUP)]
        for created in (True, False):
            answers = await harness.store.add(batch, [NewGroup(id=GROUP, size=2)])
            assert answers == [(holder, False), (batch[1].id, created), (batch[2].id, created)]
            assert await harness.store.groups([GROUP]) == [Group(id=GROUP, size=2, remaining=1)]
        await d.end(batch[1].id)
        assert await d.states(batch[2].id, holder) == ["ready", "ready"]

    async def test_H12_a_group_of_left_out_members_holds_nobody(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        await d.add(unique="k")
        twice = [d.new(group=GROUP, unique="k") for _ in range(2)]
        last = d.new(waits_on=GROUP)
        await harness.store.add([*twice, last], [NewGroup(id=GROUP, size=2)])
        assert await d.states(last.id) == ["ready"]

    async def test_H12_a_member_that_was_left_out_is_not_counted_when_a_repeat_adds_it(
        self, harness: StoreHarness
    ) -> None:
        """The answer was lost, and before the batch is sent again the key has become free."""
        d = Driver(harness)
        holder = await d.add(unique="k")
        batch = [d.new(group=GROUP, unique="k"), d.new(group=GROUP), d.new(waits_on=GROUP)]
        await harness.store.add(batch, [NewGroup(id=GROUP, size=2)])
        await d.end(holder)
        await harness.store.add(batch, [NewGroup(id=GROUP, size=2)])
        if (await harness.store.get([batch[0].id])) != [None]:
            await d.end(batch[0].id)
        assert await d.states(batch[2].id) == ["waiting"], "the other member has not ended"
        await d.end(batch[1].id)
        assert await d.states(batch[2].id) == ["ready"]

    async def test_STO_046_a_left_out_follow_up_wedges_nothing(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        holder = await d.add(unique="k")
        parent = await d.start(await d.add())
        left_out = d.new(unique="k", group=GROUP)
        member, last, chained = d.new(group=GROUP), d.new(waits_on=GROUP), d.new(waits_on=left_out.id)
        follow_ups = (left_out, member, last, chained)
        for _ in range(2):
            answer = await d.settle(parent, "complete", follow_ups=follow_ups, groups=(NewGroup(id=GROUP, size=2),))
            assert answer == "accepted"
        assert await harness.store.get([left_out.id]) == [None]
        assert await d.states(last.id, chained.id) == ["waiting", "waiting"]
        await d.end(member.id)
        assert await d.states(last.id, chained.id) == ["ready", "waiting"]
        await d.end(holder)
        assert await d.states(chained.id) == ["ready"]

    # --- replay

    @pytest.mark.parametrize("state", ["dead", "expired", "cancelled"])
    async def test_H12_replay_onto_a_taken_key_is_a_conflict(self, harness: StoreHarness, state: State) -> None:
        """STO-045, D43."""
        d = Driver(harness)
        old = await d.bring(state, unique="k")
        holder = await d.add(unique="k")
        assert await harness.store.replay([old.id]) == ["conflict"]
        assert await d.job(old.id) == old
        await d.end(holder)
        assert await harness.store.replay([old.id]) == ["replayed"]
        assert await harness.store.add([d.new(unique="k")]) == [(old.id, False)]

    async def test_H12_of_two_replays_one_gets_the_key(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first, second = await d.bring("dead", unique="k"), await d.bring("dead", unique="k")
        assert await harness.store.replay([first.id, second.id]) == ["replayed", "conflict"]

    async def test_H12_a_job_in_its_own_window_may_be_replayed(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.bring("dead", unique="k", unique_for=HOUR)
        assert await harness.store.replay([job.id]) == ["replayed"]
        assert await harness.store.add([d.new(unique="k")]) == [(job.id, False)]
