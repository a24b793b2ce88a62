"""Putting, getting, listing and dropping schedules, and what is due."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from mainspring.errors import StoreClosed, Unsupported
from mainspring.model.record import FOREVER, Hook, NewJob
from mainspring.model.schedule import VANISHED, Definition, Fire, ScheduleRecord, SlotJob
from mainspring.store.base import RunNow, SchedulePut, Store
from mainspring.testing.contract.harness import StoreHarness, hooks
from mainspring.testing.contract.scheduling import MINUTE, NIGHTLY, ScheduleDriver, SchedulesFixture

SCHEDULE = ScheduleRecord(
    id=NIGHTLY,
    definition=Definition(trigger=b"{}", template=NewJob(id="", task="work")),
    begin=0.0,
    next=1.0,
    due=1.0,
    created=0.0,
    changed=0.0,
)
SLOT = SlotJob(1.0, "019b7600-0000-7000-8000-000000000003", "019b7600-0000-7000-8000-000000000004")
FIRE = Fire(schedule=NIGHTLY, revision=1, expected=1.0, slots=(SLOT,), to=1.0, next=2.0, due=2.0)

VERBS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "get_schedules": lambda store: store.get_schedules([NIGHTLY]),
    "list_schedules": lambda store: store.list_schedules(),
    "put_schedules": lambda store: store.put_schedules([SchedulePut(SCHEDULE, None)]),
    "drop_schedules": lambda store: store.drop_schedules([NIGHTLY]),
    "due_schedules": lambda store: store.due_schedules(),
    "fire": lambda store: store.fire([FIRE]),
    "trigger": lambda store: store.trigger([RunNow(NIGHTLY, SLOT)]),
    "runs": lambda store: store.runs(NIGHTLY),
    "prune_runs": lambda store: store.prune_runs(),
    "wait_schedules": lambda store: store.wait_schedules(0.0),
}

FULL = Definition(
    trigger=b'{"kind":"cron","expression":"0 9 * * 1-5","text":"\xc3\xa9\\u0000"}',
    template=NewJob(
        id="",
        task="report.send",
        version="v2",
        queue="mail",
        payload=b'{"to": ["a", 1e-7, -0.0]}',
        priority=-3,
        delay=2.5,
        expires_in=30.25,
        unique="k\u00e9 ",
        unique_for=FOREVER,
        tags=("x", "y"),
        metadata=b'{"a": {"b": null}}',
        options=b'{"timeout":3}',
        hooks=(*hooks(), Hook(on="dead", task="again", version="w", options=b"{}")),
        correlation="c",
        trace="00-aa-bb-01",
    ),
    from_end=True,
    misfire="all",
    misfire_limit=7,
    misfire_grace=0.125,
    overlap="queue",
    start_at=1_767_225_600.000001,
    end_at=4_102_444_800.999999,
    max_runs=5,
    jitter=1.5,
    stop_after=3,
    keep=9,
    keep_for=3600.5,
)


class SchedulesContract(SchedulesFixture):
    """`Schedules`, but for firing: see `FiresContract`, `OverlapContract`, `RunsContract`."""

    @pytest.mark.parametrize("verb", VERBS)
    async def test_a_store_without_schedules_refuses_them(self, harness: StoreHarness, verb: str) -> None:
        if not harness.store.features.schedules:
            with pytest.raises(Unsupported):
                await VERBS[verb](harness.store)
        else:
            await VERBS[verb](harness.store)

    @pytest.mark.parametrize("verb", VERBS)
    async def test_a_closed_store_says_so_about_schedules(self, d: ScheduleDriver, verb: str) -> None:
        await d.store.close()
        with pytest.raises(StoreClosed):
            await VERBS[verb](d.store)

    # --- put and get

    async def test_what_is_put_comes_back_as_it_was(self, d: ScheduleDriver) -> None:
        """S3-26: every field, to the microsecond: decisions compare them."""
        now = d.clock.now()
        record = ScheduleRecord(
            id="a b/\u4e2d'\"",
            definition=FULL,
            declared_by="shop",
            revision=41,
            begin=now - 0.000001,
            next=now + 0.1,
            due=now + 0.300001,
            fired_to=now - 0.7,
            runs=3,
            missed=4,
            skipped=5,
            number=12,
            paused=VANISHED,
            created=now - 5.123456,
            changed=now - 1.654321,
        )
        assert await d.write(record, None) == "put"
        seen = await d.store.get_schedules([record.id])
        assert (seen.schedules, seen.now) == ([record], now)

    async def test_a_put_is_seen_by_who_opens_the_store_later(self, harness: StoreHarness, d: ScheduleDriver) -> None:
        record = await d.put()
        await d.fire()
        after = await d.stored()
        if harness.store.features.survives == "nothing":
            return
        await harness.reopen()
        assert (await harness.store.get_schedules([record.id])).schedules == [after]
        assert [run.number for run in await harness.store.runs(record.id)] == [1]

    @pytest.mark.parametrize("way", ["revised", "fired", "skipped", "triggered", "dropped", "put first"])
    async def test_H13_a_put_decided_on_an_old_read_is_a_conflict(self, d: ScheduleDriver, way: str) -> None:
        """Whatever happened meanwhile: the watermark, the counts and the numbers of runs are never set back."""
        read = None if way == "put first" else await d.put(overlap="skip" if way == "skipped" else "allow")
        if way == "skipped":
            assert [await d.fire() for _ in range(2)] == ["fired", "skipped"]
            read = await d.stored()
        match way:
            case "revised":
                await d.change(keep=7)
            case "fired" | "skipped":
                await d.fire()
            case "triggered":
                await d.trigger()
            case "dropped":
                await d.store.drop_schedules([NIGHTLY])
            case _:
                await d.put(keep=9)
        before = await d.stored()
        late = d.record(keep=8) if read is None else d.changed(read, keep=8)
        assert await d.write(late, read) == "conflict"
        assert await d.stored() == before
        assert await d.write(replace(late, fired_to=before.fired_to, revision=before.revision + 1), before) == "put"

    async def test_two_that_make_the_same_schedule_do_not_both_win(self, d: ScheduleDriver) -> None:
        records = [d.record(keep=number + 1) for number in range(6)]
        answers = await asyncio.gather(*(d.write(record, None) for record in records))
        assert sorted(answers) == ["conflict"] * 5 + ["put"]
        assert await d.stored() == records[answers.index("put")]

    async def test_C3_a_repeated_put_is_put_again(self, d: ScheduleDriver) -> None:
        record = await d.put()
        assert await d.write(record, None) == "put"
        changed = await d.change(keep=3)
        assert await d.write(changed, record) == "put"
        assert await d.stored() == changed

    async def test_a_batch_is_answered_each(self, d: ScheduleDriver) -> None:
        there = await d.put("there")
        new, other = d.record("new"), d.changed(there, keep=2)
        puts = [SchedulePut(new, None), SchedulePut(other, None), SchedulePut(other, there), SchedulePut(new, new)]
        assert await d.store.put_schedules(puts) == ["put", "conflict", "put", "put"]
        assert (await d.store.get_schedules(["new", "there"])).schedules == [new, other]
        assert await d.store.put_schedules([]) == []

    async def test_get_in_byte_order_what_there_is(self, d: ScheduleDriver) -> None:
        ids = ["B", "a", "a.b", "a_b", "ab", "\u00e9", "\u4e2d", "\U0001f600"]
        await d.store.put_schedules([SchedulePut(d.record(each), None) for each in reversed(ids)])
        await d.store.drop_schedules(["a_b"])
        seen = await d.store.get_schedules([*reversed(ids), "other", "B"])
        assert [record.id for record in seen.schedules] == ids, "dropped ones, too"
        assert [record.dropped for record in seen.schedules] == [
            d.clock.now() if each == "a_b" else None for each in ids
        ]
        assert (await d.store.get_schedules([])).schedules == []

    async def test_list_page_by_page(self, d: ScheduleDriver) -> None:
        ids = ["B", "a", "a.b", "a_b", "ab", "\u00e9", "\U0001f600"]
        records = [replace(d.record(each), declared_by="shop" if each > "a_" else "") for each in ids]
        await d.store.put_schedules([SchedulePut(record, None) for record in records])
        await d.pause("a")
        await d.finish("ab")
        await d.store.drop_schedules(["a.b"])
        left = [each for each in ids if each != "a.b"]
        found: list[str] = []
        while page := (await d.store.list_schedules(after=found[-1] if found else "", limit=2)).schedules:
            assert len(page) <= 2
            found += [record.id for record in page]
        assert found == left
        assert [each.id for each in (await d.store.list_schedules(declared_by=["shop"])).schedules] == left[2:]
        assert [
            each.id for each in (await d.store.list_schedules(declared_by=["", "shop"], limit=3)).schedules
        ] == left[:3]
        assert (await d.store.list_schedules(declared_by=[])).schedules == []
        assert (await d.store.list_schedules()).now == d.clock.now()

    # --- drop

    async def test_drop_once(self, d: ScheduleDriver) -> None:
        record = await d.put()
        await d.put("other")
        assert await d.store.drop_schedules([NIGHTLY, "nothing", NIGHTLY]) == [True, False, False]
        assert await d.store.drop_schedules([NIGHTLY]) == [False]
        now = d.clock.now()
        assert await d.stored() == replace(record, dropped=now, changed=now)
        assert (await d.stored("other")).dropped is None

    async def test_H13_a_dropped_schedule_comes_back_above_its_watermark(self, d: ScheduleDriver) -> None:
        """Who puts it again has to know the row that is left; one who does not has a conflict."""
        await d.put()
        await d.fire()
        await d.store.drop_schedules([NIGHTLY])
        left = await d.stored()
        fresh = d.record()
        assert await d.write(fresh, None) == "conflict"
        again = replace(fresh, revision=left.revision + 1, fired_to=left.fired_to, number=left.number)
        assert await d.write(again, left) == "put"
        assert await d.stored() == again
        old = replace(d.decided(again), slots=(d.slot_job(left.fired_to),))
        assert await d.store.fire([old]) == ["stale"]
        assert len(await d.jobs_of()) == 1

    # --- due

    async def test_due_in_order_and_when_the_next_will_be(self, d: ScheduleDriver) -> None:
        now = d.clock.now()
        offsets = {"c": 3.0, "a": 5.0, "b": 3.0, "late": 90.0, "latest": 400.0}
        puts = [replace(d.record(each), next=now + offset, due=now + offset) for each, offset in offsets.items()]
        await d.store.put_schedules([SchedulePut(each, None) for each in puts])
        assert await d.store.due_schedules() == ([], now, now + 3.0)
        d.clock.advance(2.999999)
        assert (await d.store.due_schedules()).schedules == []
        d.clock.advance(2.000001)
        due = await d.store.due_schedules()
        assert [each.schedule for each in due.schedules] == [puts[2], puts[0], puts[1]], "by due, then by id"
        assert (due.now, due.next_due) == (now + 5.0, now + 90.0)
        assert not any(each.active or each.ended for each in due.schedules)
        few = await d.store.due_schedules(2)
        assert ([each.schedule.id for each in few.schedules], few.next_due) == (["b", "c"], now + 5.0)
        assert (await d.store.due_schedules(3)).next_due == now + 90.0

    async def test_due_without_some(self, d: ScheduleDriver) -> None:
        """S3-21: one that cannot be read stands in nobody's way."""
        now = d.clock.now()
        await d.store.put_schedules([SchedulePut(d.record(each), None) for each in "abcd"])
        late = replace(d.record("e"), due=now + 900)
        await d.write(late, None)
        d.clock.advance(MINUTE)
        due = await d.store.due_schedules(2, without={"a", "c", "nothing"})
        assert ([each.schedule.id for each in due.schedules], due.next_due) == (["b", "d"], now + 900)
        assert (await d.store.due_schedules(without={"e"})).next_due is None
        assert len((await d.store.due_schedules()).schedules) == 4, "asking changes nothing"

    async def test_due_follows_what_is_changed(self, d: ScheduleDriver) -> None:
        await d.put()
        d.clock.advance(MINUTE)
        assert set(await d.due()) == {NIGHTLY}
        await d.pause()
        assert await d.due() == {}
        await d.pause(reason="")
        assert set(await d.due()) == {NIGHTLY}
        stored = await d.stored()
        later = replace(stored, revision=stored.revision + 1, due=d.clock.now() + 1)
        assert await d.write(later, stored) == "put"
        due = await d.store.due_schedules()
        assert (due.schedules, due.next_due) == ([], d.clock.now() + 1)
        d.clock.advance(1)
        assert await d.fire(NIGHTLY) == "fired"
        assert await d.due() == {}
        d.clock.advance(MINUTE)
        assert set(await d.due()) == {NIGHTLY}
        await d.finish()
        assert await d.store.due_schedules() == ([], d.clock.now(), None)

    async def test_due_after_the_clock_was_set_back(self, d: ScheduleDriver) -> None:
        record = await d.put()
        d.clock.advance(MINUTE)
        assert set(await d.due()) == {NIGHTLY}
        d.clock.step(-1)
        assert await d.store.due_schedules() == ([], d.clock.now(), record.due)
        d.clock.step(1)
        assert set(await d.due()) == {NIGHTLY}

    async def test_many_due_page_by_page(self, d: ScheduleDriver) -> None:
        now = d.clock.now()
        puts = [replace(d.record(f"{n:03}"), next=now + n, due=now + n) for n in range(250)]
        assert set(await d.store.put_schedules([SchedulePut(each, None) for each in puts])) == {"put"}
        d.clock.advance(199)
        seen: list[str] = []
        while True:
            due = await d.store.due_schedules(70)
            if not due.schedules:
                break
            fires = [d.decided(each.schedule) for each in due.schedules]
            fires = [replace(each, next=each.expected + 999, due=each.expected + 999) for each in fires]
            assert set(await d.store.fire(fires)) == {"fired"}
            seen += [each.schedule for each in fires]
        assert seen == [each.id for each in puts[:200]]
        assert due.next_due == now + 200
        assert [len(await d.jobs_of(each)) for each in seen[::40]] == [1] * 5

    # --- news

    async def test_a_put_wakes_who_waits(self, d: ScheduleDriver) -> None:
        record = await d.put()
        for _ in range(50):
            if not await d.store.wait_schedules(0.02):
                break
        else:
            raise AssertionError("there is news all the time")
        for way in ("put", "drop"):
            waiting = asyncio.ensure_future(d.store.wait_schedules(20.0))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            if way == "put":
                assert await d.write(replace(record, revision=2), record) == "put"
            else:
                await d.store.drop_schedules([NIGHTLY])
            assert await waiting is True
