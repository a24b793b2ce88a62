"""Adding jobs: every field comes back, ids make an add repeatable, batches are one by one and all or none."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

import pytest
from msgspec.structs import asdict, replace

from mainspring.codec import encode
from mainspring.errors import JobNotFound
from mainspring.model.record import FOREVER, JobRecord, NewGroup
from mainspring.model.states import SettleKind, State
from mainspring.store.base import Filter
from mainspring.testing.contract.harness import GROUP, StoreHarness, hooks
from mainspring.testing.contract.states import HOUR, Driver, lane

ODD_TEXTS = ("größer 漢字 😀", "a' OR '1'='1", 'quote " backslash \\ percent %s', "line\nbreak\ttab", "\\u0000", "null")


class AddContract:
    """`Jobs.add`, without unique keys."""

    async def test_an_empty_batch_is_fine(self, harness: StoreHarness) -> None:
        store = harness.store
        assert await store.add([]) == []
        assert await store.settle([]) == []
        assert await store.cancel([]) == []
        assert await store.replay([]) == []
        assert await store.reschedule([], 0.0) == []
        assert await store.delete([]) == []
        assert await store.get([]) == []
        assert await store.groups([]) == []

    async def test_answers_come_in_order(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        old = d.new()
        await harness.store.add([old])
        batch = [d.new(), old, d.new()]
        assert await harness.store.add(batch) == [(batch[0].id, True), (old.id, False), (batch[2].id, True)]

    async def test_STO_034_everything_that_was_added_comes_back(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        parent, root = await d.add(), await d.add()
        new = d.new(
            "mail.send",
            version="3",
            queue="mail",
            payload=encode({"to": "a@example.com"}),
            priority=-4,
            unique="k",
            unique_for=FOREVER,
            tags=("b", "a"),
            metadata=encode({"by": "x"}),
            options=encode({"timeout": 3}),
            hooks=hooks(),
            parent=parent,
            root=root,
            correlation="c",
            trace="00-aa-bb-01",
            schedule="nightly",
            slot=1_767_225_600.25,
            group=GROUP,
        )
        await harness.store.add([new], [NewGroup(id=GROUP, size=1)])
        stored = asdict(await d.job(new.id))
        added = asdict(new)
        assert {name: stored[name] for name in added if name in stored} == {
            name: value for name, value in added.items() if name in stored
        }
        assert (stored["unique_until"], stored["linked"]) == (FOREVER, True)

    async def test_a_new_job_has_nothing_behind_it(self, harness: StoreHarness) -> None:
        """JOB-001, JOB-012."""
        d = Driver(harness)
        job = await d.job(await d.add())
        assert (job.state, job.reason, job.created, job.due) == ("ready", "", d.clock.now(), d.clock.now())
        assert (job.lease, job.settled, job.attempt, job.round, job.crashes, job.rescues) == (0, 0, 0, 0, 0, 0)
        assert (job.worker, job.claimed, job.begun, job.finished, job.result, job.error) == (None,) * 6
        assert not job.cancel_requested
        assert not job.suspect
        assert await harness.store.attempts(job.id) == []

    @pytest.mark.parametrize("text", ODD_TEXTS)
    async def test_C10_any_clean_text_is_kept(self, harness: StoreHarness, text: str) -> None:
        d = Driver(harness)
        identifier = await d.add(
            task=text, queue=text, version=text, unique=text, tags=(text,), correlation=text, payload=encode([text])
        )
        job = await d.job(identifier)
        assert (job.task, job.queue, job.version, job.unique) == (text,) * 4
        assert (job.tags, job.correlation, job.payload) == ((text,), text, encode([text]))
        assert (await harness.store.find(Filter(task=text, queue=text, tags=(text,)))).jobs == [job]
        [taken] = await d.claim(lane(text, queue=text, version=text))
        assert taken.id == identifier

    @pytest.mark.parametrize(
        "value",
        [2**63 - 1, -(2**63), 2**64 - 1, 0.1, True, None, "😀", [1, [2.5]], {"a": {"b": [None, "ü"]}}],
        ids=repr,
    )
    async def test_STO_033_payloads_stay_what_they_are(self, harness: StoreHarness, value: object) -> None:
        d = Driver(harness)
        payload = encode({"value": value})
        assert (await d.job(await d.add(payload=payload))).payload == payload

    async def test_large_payloads_are_kept(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        payload = encode({"text": "x" * 500_000})
        identifier = await d.add(payload=payload)
        job = await d.start(identifier)
        assert job.payload == payload
        assert await d.settle(job, "complete", result=payload) == "accepted"
        assert (await d.job(identifier)).result == payload

    async def test_H9_durations_are_added_to_the_clock_of_the_store(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        now = d.clock.now()
        delayed = await d.job(await d.add(delay=60, expires_in=90, unique="k", unique_for=120))
        assert (delayed.state, delayed.reason) == ("scheduled", "delay")
        assert (delayed.due, delayed.expires, delayed.unique_until) == (now + 60, now + 90, now + 120)
        absolute = await d.job(await d.add(run_at=now + 7.5, expires_at=now + 8.5))
        assert (absolute.state, absolute.due, absolute.expires) == ("scheduled", now + 7.5, now + 8.5)
        past = await d.job(await d.add(run_at=now - 60))
        assert (past.state, past.due) == ("ready", now)

    async def test_STO_025_created_never_changes(self, harness: StoreHarness) -> None:
        """STO-026."""
        d = Driver(harness)
        identifier, created = await d.add(), d.clock.now()
        d.clock.advance(5)
        await d.end(identifier, "retry")
        d.clock.advance(5)
        await d.sweep()
        await d.end(identifier)
        assert (await d.job(identifier)).created == created

    # --- ids

    async def test_C3_the_same_id_again_changes_nothing(self, harness: StoreHarness) -> None:
        """STO-001."""
        d = Driver(harness)
        new = d.new()
        assert await harness.store.add([new, new]) == [(new.id, True), (new.id, False)]
        before = await d.job(new.id)
        other = d.new("other", priority=5, payload=b"[1]")
        assert await harness.store.add([replace(other, id=new.id)]) == [(new.id, False)]
        assert await d.job(new.id) == before

    @pytest.mark.parametrize("kind", ["complete", "dead", "cancelled"])
    async def test_C3_add_again_after_the_job_has_ended(self, harness: StoreHarness, kind: SettleKind) -> None:
        """The client's own retry of an add whose answer was lost must not run the job twice."""
        d = Driver(harness)
        new = d.new("once", unique="k", hooks=hooks())
        await harness.store.add([new])
        await d.end(new.id, kind)
        ended = await d.job(new.id)
        assert await harness.store.add([new]) == [(new.id, False)]
        assert await d.job(new.id) == ended
        assert await d.claim(lane("once")) == []

    async def test_C3_a_repeated_batch_with_a_group_counts_it_once(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        members = [d.new(group=GROUP) for _ in range(2)]
        batch = [*members, d.new(waits_on=GROUP)]
        await harness.store.add(batch, [NewGroup(id=GROUP, size=2)])
        await d.end(members[0].id)
        assert await harness.store.add(batch, [NewGroup(id=GROUP, size=2)]) == [(new.id, False) for new in batch]
        [group] = await harness.store.groups([GROUP])
        assert group is not None
        assert (group.remaining, group.failed) == (1, 0)
        await d.end(members[1].id)
        assert await d.states(batch[2].id) == ["ready"]

    async def test_concurrent_adds_of_one_id_make_one_job(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        new = d.new("once")
        answers = await asyncio.gather(*(harness.store.add([new, d.new()]) for _ in range(10)))
        assert sum(answer[0].created for answer in answers) == 1
        assert all(answer[1].created for answer in answers)
        assert len(await d.claim(lane("once"))) == 1

    # --- waiting for others

    async def test_a_job_waits_on_one_that_has_not_ended(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        states: tuple[State, ...] = ("scheduled", "waiting", "ready", "running")
        for state in states:
            first = await d.bring(state)
            job = await d.job(await d.add(waits_on=first.id))
            assert job.state == "waiting"
            assert job.reason

    async def test_a_job_that_waits_on_a_completed_one_is_let_go_at_once(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = (await d.bring("completed")).id
        assert await d.states(await d.add(waits_on=first)) == ["ready"]
        delayed = await d.job(await d.add(waits_on=first, delay=HOUR))
        assert (delayed.state, delayed.due) == ("scheduled", d.clock.now() + HOUR)

    @pytest.mark.parametrize("state", ["dead", "expired", "cancelled"])
    async def test_D30_a_job_that_waits_on_a_failed_one_is_cancelled_at_once(
        self, harness: StoreHarness, state: State
    ) -> None:
        d = Driver(harness)
        first = (await d.bring(state)).id
        last = d.new(waits_on=first, unique="k", hooks=hooks())
        assert await harness.store.add([last]) == [(last.id, True)]
        job = await d.job(last.id)
        assert job.state == "cancelled"
        assert job.reason
        assert [hook.parent for hook in await d.tasked("on_cancelled")] == [last.id]
        assert (await d.job(await d.add(unique="k"))).state == "ready"

    async def test_a_chain_may_be_added_in_one_batch(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = d.new()
        second = d.new(waits_on=first.id)
        third = d.new(waits_on=second.id)
        await harness.store.add([first, second, third])
        assert await d.states(first.id, second.id, third.id) == ["ready", "waiting", "waiting"]

    async def test_D30_a_chain_behind_a_failed_job_is_cancelled_whole(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.bring("cancelled")
        second = d.new(waits_on=first.id)
        third = d.new(waits_on=second.id)
        await harness.store.add([second, third])
        assert await d.states(second.id, third.id) == ["cancelled", "cancelled"]

    async def test_all_or_none(self, harness: StoreHarness) -> None:
        """A job that waits on nothing would wait for ever, so the whole batch is refused."""
        d = Driver(harness)
        good, bad = d.new(unique="k"), d.new(waits_on=d.new().id)
        with pytest.raises(JobNotFound):
            await harness.store.add([good, bad], [NewGroup(id=GROUP, size=1)])
        assert await harness.store.get([good.id, bad.id]) == [None, None]
        assert await harness.store.groups([GROUP]) == [None]
        assert (await d.job(await d.add(unique="k"))).state == "ready"

    async def test_C3_an_add_may_be_repeated_when_what_it_waited_on_is_gone(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first = await d.add()
        second = d.new(waits_on=first)
        await harness.store.add([second])
        await d.end(first)
        await harness.store.delete([first])
        assert await harness.store.add([second]) == [(second.id, False)]
        assert await d.states(second.id) == ["ready"]

    # --- copies

    async def test_STO_011_what_a_caller_does_to_its_copy_hurts_nobody(self, harness: StoreHarness) -> None:
        """JOB-013, WFL-005. Records are frozen; the counters in them are a dict."""
        d = Driver(harness)
        identifier = await d.add()
        counters = {"rule": 1}
        await d.end(identifier, "retry", counters=counters)
        counters["rule"] = 99
        for read in (d.job(identifier), self._found(harness), self._started(d, identifier)):
            record = await read
            with suppress(TypeError):  # a store may hand out what cannot be changed
                cast("dict[str, int]", record.counters)["rule"] = 98
        assert (await d.job(identifier)).counters == {"rule": 1}

    async def _found(self, harness: StoreHarness) -> JobRecord:
        return (await harness.store.find(Filter())).jobs[0]

    async def _started(self, d: Driver, identifier: str) -> JobRecord:
        await d.sweep()
        return await d.start(identifier)
