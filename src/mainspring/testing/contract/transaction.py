"""Transactions of the store's own, in which attempts run, and what the store says of those of others (RULES H2)."""

from __future__ import annotations

import pytest

from mainspring.errors import AppError, JobNotFound, StoreClosed, Unsupported, WrongTransaction
from mainspring.model.record import Hook, JobRecord, NewGroup, Settlement
from mainspring.store.base import Added, Transaction
from mainspring.testing.contract.harness import GROUP, StoreHarness, settlement
from mainspring.testing.contract.states import Driver


class TransactionContract:
    """`Transactions`. A store without them refuses, and that is all there is to hold."""

    async def test_what_is_no_transaction_is_refused(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        expected = WrongTransaction if harness.store.features.transaction else Unsupported
        with pytest.raises(expected):
            await harness.store.add_within(3, [d.new()])
        with pytest.raises(expected):
            harness.store.add_within_sync(object(), [d.new()])
        if not harness.store.features.transaction:
            with pytest.raises(Unsupported):
                await harness.store.transaction("w1", "j")

    async def test_a_closed_store_begins_none(self, harness: StoreHarness) -> None:
        if not harness.store.features.transaction:
            return
        await harness.store.close()
        with pytest.raises(StoreClosed):
            await harness.store.transaction("w1", "j")

    async def test_H2_completion_and_what_was_added_are_one_commit(self, harness: StoreHarness) -> None:
        begun = await begin(harness)
        if begun is None:
            return
        d, job, transaction = begun
        new, follow_up = d.new(unique="k"), d.new()
        assert await transaction.add([new]) == [Added(new.id, True)]
        assert await harness.store.get([new.id]) == [None], "nobody sees it before the commit"
        answer = await transaction.settle(settlement(job, "complete", result=b"7", follow_ups=(follow_up,), ran=0.5))
        assert answer == "accepted"
        assert transaction.over
        ended = await d.job(job.id)
        assert (ended.state, ended.result, ended.settled) == ("completed", b"7", job.lease)
        assert await d.states(new.id, follow_up.id) == ["ready", "ready"]
        await transaction.rollback()
        assert await d.states(job.id, new.id) == ["completed", "ready"], "it had ended already"

    async def test_H2_a_plain_completion_too(self, harness: StoreHarness) -> None:
        begun = await begin(harness)
        if begun is None:
            return
        d, job, transaction = begun
        assert await transaction.settle(settlement(job, "complete", result=b"1")) == "accepted"
        await transaction.rollback()
        assert (await d.job(job.id)).result == b"1"
        assert await d.settle(job, "complete", result=b"1") == "accepted", "as for every repeat"

    @pytest.mark.parametrize("linked", [True, False])
    async def test_H2_a_lost_lease_takes_everything_back(self, harness: StoreHarness, *, linked: bool) -> None:
        begun = await begin(harness, unique="k" if linked else None)
        if begun is None:
            return
        d, job, transaction = begun
        new = d.new()
        await transaction.add([new])
        stale = Settlement(job=job.id, lease=job.lease - 1, kind="complete")
        assert await transaction.settle(stale) == "stale"
        await transaction.rollback()
        assert await harness.store.get([new.id]) == [None]
        assert (await d.job(job.id)).state == "running"
        assert await d.settle(job, "complete") == "accepted"

    async def test_a_rollback_leaves_nothing(self, harness: StoreHarness) -> None:
        begun = await begin(harness)
        if begun is None:
            return
        d, job, transaction = begun
        first, second = d.new(unique="k"), d.new(group=GROUP)
        await transaction.add([first])
        await transaction.add([second], [NewGroup(id=GROUP, size=1)])
        await transaction.rollback()
        await transaction.rollback()
        assert await harness.store.get([first.id, second.id]) == [None, None]
        assert await harness.store.groups([GROUP]) == [None]
        assert await harness.store.add([d.new(task="other", unique="k")])
        assert await d.settle(job, "retry") == "accepted"

    async def test_after_its_end_nothing_can_be_added(self, harness: StoreHarness) -> None:
        begun = await begin(harness)
        if begun is None:
            return
        d, _, transaction = begun
        await transaction.rollback()
        assert transaction.over
        with pytest.raises(AppError, match="over"):
            await transaction.add([d.new()])

    async def test_adds_in_it_see_each_other(self, harness: StoreHarness) -> None:
        begun = await begin(harness)
        if begun is None:
            return
        d, job, transaction = begun
        first, again, member, after = d.new(unique="k"), d.new(unique="k"), d.new(group=GROUP), d.new(waits_on=GROUP)
        await transaction.add([first])
        assert await transaction.add([again]) == [Added(first.id, False)]
        assert await transaction.add([first]) == [Added(first.id, False)]
        await transaction.add([member, after], [NewGroup(id=GROUP, size=1)])
        assert await transaction.settle(settlement(job, "complete")) == "accepted"
        await transaction.rollback()
        assert await d.states(first.id, member.id, after.id) == ["ready", "ready", "waiting"]
        await d.end(member.id)
        assert await d.states(after.id) == ["ready"]

    async def test_an_add_that_is_refused_leaves_the_rest(self, harness: StoreHarness) -> None:
        begun = await begin(harness)
        if begun is None:
            return
        d, job, transaction = begun
        good, bad = d.new(), d.new(waits_on=d.new().id)
        await transaction.add([good])
        with pytest.raises(JobNotFound):
            await transaction.add([bad])
        assert await transaction.settle(settlement(job, "complete")) == "accepted"
        await transaction.rollback()
        assert await d.states(good.id) == ["ready"]
        assert await harness.store.get([bad.id]) == [None]

    async def test_an_end_in_it_has_its_consequences(self, harness: StoreHarness) -> None:
        """RULES C5: one way to end, in a transaction, too."""
        begun = await begin(harness, unique="k", hooks=(Hook(on="dead", task="on_dead"),), group=GROUP)
        if begun is None:
            return
        d, job, transaction = begun
        waits = d.new(waits_on=job.id)
        await transaction.add([waits])
        assert await transaction.settle(settlement(job, "dead")) == "accepted"
        await transaction.rollback()
        assert len(await d.tasked("on_dead")) == 1
        assert await d.states(waits.id) == ["cancelled"]
        assert (await harness.store.add([d.new(task="again", unique="k")]))[0].created


async def begin(
    harness: StoreHarness, *, unique: str | None = None, hooks: tuple[Hook, ...] = (), group: str | None = None
) -> tuple[Driver, JobRecord, Transaction] | None:
    """A running job, and a transaction for its attempt; None when the store says that it has none."""
    if not harness.store.features.transaction:
        return None
    d = Driver(harness)
    new = d.new(unique=unique, hooks=hooks, group=group)
    await harness.store.add([new], [] if group is None else [NewGroup(id=group, size=1)])
    job = await d.start(new.id)
    return d, job, await harness.store.transaction("w1", job.id)
