"""Looking things up: by id, by filter with pages, counted."""

from __future__ import annotations

import pytest

from mainspring.model.states import STATES, State
from mainspring.store.base import Beat, Count, Filter, Worker
from mainspring.testing.contract.harness import GROUP, StoreHarness
from mainspring.testing.contract.states import Driver, lane


class ReadsContract:
    """`Reads`."""

    async def test_JOB_016_get_answers_in_the_order_of_the_ids(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        first, done = await d.bring("ready"), await d.bring("completed")
        assert await harness.store.get([done.id, d.new().id, first.id, done.id]) == [done, None, first, done]

    @pytest.mark.parametrize("state", STATES)
    async def test_find_shows_the_same_as_get(self, harness: StoreHarness, state: State) -> None:
        d = Driver(harness)
        job = await d.bring(state, tags=("x",))
        assert (await harness.store.find(Filter(tags=("x",)))).jobs == [job]

    async def test_JOB_015_find_by_states(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        jobs = {state: (await d.bring(state, tags=("x",))).id for state in STATES}
        choices: list[tuple[State, ...]] = [("ready",), ("dead", "completed"), ("scheduled", "running"), STATES]
        for wanted in choices:
            found = (await harness.store.find(Filter(states=wanted, tags=("x",)))).jobs
            assert [job.id for job in found] == sorted(jobs[state] for state in wanted)

    async def test_find_by_each_field(self, harness: StoreHarness) -> None:
        """JOB-034, STO-029; CAN-028: every store finds by tags, so none has to refuse a cancel of what it finds."""
        d = Driver(harness)
        parent = await d.add("p")
        one = await d.add("a", queue="q", tags=("x", "y"), parent=parent, correlation="c", schedule="s", group=GROUP)
        two = await d.add("a", tags=("x", "z"), correlation="C")
        assert await found(d, Filter(task="a")) == [one, two]
        assert await found(d, Filter(task="A")) == []
        assert await found(d, Filter(queue="q")) == [one]
        assert await found(d, Filter(queue="default")) == [parent, two]
        assert await found(d, Filter(tags=("x",))) == [one, two]
        assert await found(d, Filter(tags=("y", "x"))) == [one]
        assert await found(d, Filter(tags=("x", "q"))) == []
        assert await found(d, Filter(parent=parent)) == [one]
        assert await found(d, Filter(correlation="c")) == [one]
        assert await found(d, Filter(schedule="s")) == [one]
        assert await found(d, Filter(group=GROUP)) == [one]
        assert await found(d, Filter()) == [parent, one, two]
        assert await found(d, Filter(task="a", queue="default", tags=("z",))) == [two]

    async def test_a_tag_is_a_whole_word(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        odd = await d.add(tags=('a"b', "50%", "x_y", "a,b", "[c]"))
        for tag in ("a", "b", "50", "xzy", "x", "c", '"', ",", "%", "_"):
            assert await found(d, Filter(tags=(tag,))) == []
        for tag in ('a"b', "50%", "x_y", "a,b", "[c]"):
            assert await found(d, Filter(tags=(tag,))) == [odd]

    async def test_JOB_020_created_is_from_inclusive_to_exclusive(self, harness: StoreHarness) -> None:
        """JOB-021: one rule everywhere."""
        d = Driver(harness)
        start = d.clock.now()
        jobs: list[str] = []
        for _ in range(5):
            jobs.append(await d.add())
            d.clock.advance(3600)
        assert await found(d, Filter(created_from=start + 7200)) == jobs[2:]
        assert await found(d, Filter(created_to=start + 10_800)) == jobs[:3]
        assert await found(d, Filter(created_from=start + 3600, created_to=start + 7200)) == [jobs[1]]

    @pytest.mark.parametrize("newest", [False, True])
    @pytest.mark.parametrize("limit", [1, 3, 5, 6, 100])
    async def test_JOB_017_pages_hold_every_job_once(self, harness: StoreHarness, limit: int, newest: bool) -> None:
        d = Driver(harness)
        jobs: list[str] = []
        for number in range(10):
            identifier = await d.add("t")
            if number % 2:
                await harness.store.cancel([identifier])
            jobs.append(identifier)
        seen: list[str] = []
        cursor = None
        for _ in range(len(jobs) + 1):
            page = await harness.store.find(Filter(task="t"), cursor=cursor, limit=limit, newest=newest)
            assert len(page.jobs) <= limit
            seen += [job.id for job in page.jobs]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == sorted(jobs, reverse=newest)

    async def test_a_page_is_not_disturbed_by_jobs_that_come_and_go(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        jobs = [(await d.bring("cancelled")).id for _ in range(6)]
        page = await harness.store.find(Filter(), limit=3)
        assert [job.id for job in page.jobs] == jobs[:3]
        await harness.store.delete([jobs[1], jobs[2], jobs[4]])
        last = await d.add()
        rest = await harness.store.find(Filter(), cursor=page.cursor, limit=9)
        assert [job.id for job in rest.jobs] == [jobs[3], jobs[5], last]
        assert rest.cursor is None

    async def test_counts_are_by_queue_task_version_and_state(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        assert await harness.store.counts() == []
        for _ in range(3):
            await d.add("a", version="2", queue="q")
        await d.add("b")
        [job, _] = await d.claim(lane("a", queue="q", version="2"), limit=2)
        await d.settle(job, "dead")
        expected = {("q", "a", "2", "ready", 1), ("q", "a", "2", "running", 1), ("q", "a", "2", "dead", 1)}
        assert {count[:5] for count in await harness.store.counts()} == {*expected, ("default", "b", "", "ready", 1)}
        await harness.store.delete([job.id])
        assert Count("q", "a", "2", "dead", 1) not in await harness.store.counts()

    @pytest.mark.parametrize("state", STATES)
    async def test_counts_follow_a_job_into_every_state(self, harness: StoreHarness, state: State) -> None:
        d = Driver(harness)
        job = await d.bring(state)
        assert [count.state for count in await harness.store.counts() if count.task == job.task] == [state]

    async def test_progress_is_what_the_beat_said_last(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        job = await d.start(await d.add())
        assert await harness.store.progress(job.id) is None
        for data in (b"[1,2]", b'{"done":"\xc3\xbc"}'):
            await harness.store.beat(Beat("w1", progress=[(job.id, data)]))
            assert await harness.store.progress(job.id) == data
        await harness.store.beat(Beat("w1", progress=[(d.new().id, b"1")]))
        assert await harness.store.progress(d.new().id) is None

    async def test_workers_are_those_that_joined_and_did_not_leave(self, harness: StoreHarness) -> None:
        d = Driver(harness)
        assert await harness.store.workers() == []
        worker = Worker("w1", name="n", host="h", pid=7, queues=("a", "b"), lease_time=12.0)
        joined = d.clock.now()
        assert await harness.store.join(worker) == joined
        d.clock.advance(3)
        await harness.store.beat(Beat("w1", stalled=True))
        await d.add("t")
        await d.claim(lane("t"), worker="w2")
        first, second = sorted(await harness.store.workers(), key=lambda seen: seen.worker.id)
        assert first == (worker, joined, joined + 3, True, 0)
        assert (second.worker.id, second.running, second.stalled) == ("w2", 1, False)
        await harness.store.leave("w1")
        assert [seen.worker.id for seen in await harness.store.workers()] == ["w2"]


async def found(d: Driver, filter: Filter) -> list[str]:  # noqa: A002  # as in `Reads.find`
    """The ids of the jobs of this filter, in the order in which they come."""
    return [job.id for job in (await d.harness.store.find(filter)).jobs]
