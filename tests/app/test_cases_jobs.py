"""Cases of the seeds that concern jobs: how often they run, how they are cancelled, and what a stop does to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mainspring import App, Context, Job, JobCancelled, Retry, RetryLater, constant
from mainspring.clock import FakeClock
from mainspring.errors import AppClosed, InvalidPolicy
from mainspring.ids import UuidSource
from mainspring.model.record import Answer, Settlement
from mainspring.model.states import State
from mainspring.store.memory import MemoryStore
from mainspring.testing.virtual import run_virtual
from tests.app.virtual_app import run

THRICE = Retry(on=OSError, attempts=3, backoff=constant(10))
NOT_BEGUN: tuple[State, ...] = ("scheduled", "waiting", "ready")


def now() -> float:
    return asyncio.get_running_loop().time()


async def end_of(job: Job[Any], within: float = 600.0) -> State:
    """The state in which a job has ended, without asking for its result."""
    async with asyncio.timeout(within):
        while not (record := await job.refresh()).terminal:
            await asyncio.sleep(0.05)
    return record.state


async def begun(calls: Sequence[object], number: int = 1) -> None:
    async with asyncio.timeout(600):
        while len(calls) < number:
            await asyncio.sleep(0.01)


# --- how often a job runs


@pytest.mark.parametrize(
    ("own", "attempts"), [({}, 3), ({"retry": None}, 3), ({"retry": Retry(on=OSError, attempts=1)}, 1)]
)
def test_RET_036_a_task_that_says_nothing_has_the_policy_of_its_app(own: dict[str, Any], attempts: int) -> None:
    """RET-036, RET-038: unset is None and means the app's; no retry is `attempts=1`, whatever the app says."""

    async def main(app: App) -> None:
        @app.task(name="fail", **own)
        async def fail() -> None:
            raise OSError("down")

        async with app.running():
            job = await fail.enqueue()
            assert await end_of(job) == "dead"
            assert (await job.refresh()).attempt == attempts

    run(main, retry=THRICE)


@pytest.mark.parametrize("attempts", [0, -1])
def test_RET_038_none_at_all_is_never_spelled_0(attempts: int) -> None:
    """RET-038, RET-039: 0 and negative counts are refused."""
    with pytest.raises(InvalidPolicy, match="attempts must be a whole number of runs, 1 or more"):
        App(retry=Retry(on=OSError, attempts=attempts))


def test_RET_040_a_task_may_ask_for_another_attempt_at_once() -> None:
    """RET-040: it uses one up."""
    runs: list[tuple[int, float]] = []

    async def main(app: App) -> None:
        @app.task(name="not yet", retry=THRICE)
        async def not_yet(ctx: Context) -> str:
            runs.append((ctx.attempt, now()))
            if ctx.attempt == 1:
                raise RetryLater(0)
            return "done"

        async with app.running():
            job = await not_yet.enqueue()
            assert await job.result(60) == "done"
        assert [attempt for attempt, _ in runs] == [1, 2]
        assert runs[1][1] - runs[0][1] < 1  # and not after the ten seconds of the policy

    run(main)


@pytest.mark.parametrize(
    ("policy", "attempts"), [(THRICE, 3), (Retry(on=OSError, attempts=1), 1), (None, 5)], ids=["three", "one", "none"]
)
def test_RET_041_who_asks_too_often_for_another_attempt_has_failed(policy: Retry | None, attempts: int) -> None:
    """RET-041: the job ends dead and not completed. Without a policy five runs may ask."""

    async def main(app: App) -> None:
        @app.task(name="never", retry=policy)
        async def never() -> None:
            raise RetryLater(0, "the file is not there")

        async with app.running():
            job = await never.enqueue()
            assert await end_of(job) == "dead"
            record = await job.refresh()
            assert (record.attempt, record.reason) == (attempts, "attempts spent")
            assert record.error is not None
            assert record.error.message == "the file is not there"

    run(main)


def test_ATT_014_a_replayed_job_has_all_its_attempts_again() -> None:
    """ATT-014: the numbers go on, the counts begin anew."""
    seen: list[int] = []

    async def main(app: App) -> None:
        @app.task(name="fail", retry=THRICE)
        async def fail(ctx: Context) -> None:
            seen.append(ctx.attempt)
            raise OSError("down")

        async with app.running():
            job = await fail.enqueue()
            assert await end_of(job) == "dead"
            assert await app.jobs.replay(job.id) == "replayed"
            assert await end_of(job) == "dead"
            assert seen == [1, 2, 3, 4, 5, 6]
            endings = [each.ending for each in await app.jobs.attempts(job.id)]
            assert endings == ["retried", "retried", "dead", "retried", "retried", "dead"]

    run(main)


# --- cancelling


def test_CAN_005_asking_twice_for_the_end_is_no_error() -> None:
    """CAN-005: of a job that waits, of one that runs, and of an app."""
    calls: list[int] = []

    async def main(app: App) -> None:
        @app.task(name="long")
        async def long() -> None:
            calls.append(1)
            await asyncio.sleep(3600)

        async with app.running():
            job, later = await long.enqueue(), await long.options(delay=60).enqueue()
            assert [await later.cancel(), await later.cancel()] == ["cancelled", "ended"]
            await begun(calls)
            assert [await job.cancel(), await job.cancel()] == ["requested", "requested"]
            assert await end_of(job) == "cancelled"
            assert await job.cancel() == "ended"
        await app.close()
        await app.close()

    run(main)


def test_CAN_027_jobs_are_cancelled_by_tag() -> None:
    """CAN-027: what `find` finds is cancelled, and each job says why."""

    async def main(app: App) -> None:
        task = app.remote("t")
        a1, a2, b = [await task.options(delay=60, tags=tags).enqueue() for tags in (["a"], ["a", "b"], ["b"])]
        while found := (await app.jobs.find(tags=["a"], states=NOT_BEGUN, limit=1)).jobs:
            for job in found:
                assert await job.cancel("not needed") == "cancelled"
        for job in (a1, a2):
            record = await job.refresh()
            assert (record.state, record.reason) == ("cancelled", "not needed")
            assert record.finished is not None
        assert (await b.refresh()).state == "scheduled"

    run(main)


def test_CAN_029_a_job_that_never_began_is_cancelled_without_a_trace_of_a_run() -> None:
    """CAN-029: it never runs, and its empty history can still be read."""
    calls: list[int] = []

    async def main(app: App) -> None:
        @app.task(name="call")
        async def call() -> None:
            calls.append(1)

        async with app.running():
            job = await call.options(delay=60).enqueue()
            assert await job.cancel() == "cancelled"
            await asyncio.sleep(120)
            assert calls == []
            assert await app.jobs.attempts(job.id) == []
            assert (await job.refresh()).attempt == 0

    run(main)


def test_CAN_030_a_job_in_flight_is_interrupted_and_its_run_says_so() -> None:
    """CAN-030: who waits for it is told as well."""
    calls: list[int] = []

    async def main(app: App) -> None:
        @app.task(name="long", retry=Retry(on=Exception, attempts=None))
        async def long() -> None:
            calls.append(1)
            await asyncio.sleep(3600)

        async with app.running():
            job = await long.enqueue()
            await begun(calls)
            assert await job.cancel("wrong address") == "requested"
            with pytest.raises(JobCancelled, match="wrong address"):
                await job.result(60)
            (attempt,) = await app.jobs.attempts(job.id)
            assert attempt.ending == "cancelled"
            assert calls == [1]

    run(main)


def test_CAN_033_a_job_does_not_end_with_who_enqueued_it() -> None:
    """CAN-033."""
    done: list[int] = []

    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> None:
            done.append(1)

        async def short_lived() -> None:
            async with asyncio.timeout(1):
                await work.options(delay=60).enqueue()
                await asyncio.sleep(3600)

        async with app.running():
            with pytest.raises(TimeoutError):
                await short_lived()
            await asyncio.sleep(120)
            assert done == [1]

    run(main)


def test_CAN_034_a_job_that_waits_for_a_slot_can_be_cancelled() -> None:
    """CAN-034: also when a busy worker has fetched it ahead; no slot need become free."""
    calls: list[int] = []

    async def main(app: App) -> None:
        @app.task(name="work")
        async def work(n: int) -> None:
            if n >= 30:  # those before are quick, so the worker fetches ahead
                calls.append(n)
                await asyncio.sleep(3600)

        async with app.running(concurrency=1, grace=0):
            jobs = await app.enqueue_many(work.bind(n) for n in range(40))
            await begun(calls)
            asked, waiting = now(), jobs[31:]
            assert {await job.cancel() for job in waiting} == {"requested"}  # they are claimed, and wait for the slot
            assert {await end_of(job) for job in waiting} == {"cancelled"}
            assert now() - asked < 5
            assert calls == [30]
            assert (await jobs[30].refresh()).state == "running"

    run(main)


# --- stopping


def test_RUN_017_a_job_that_runs_at_the_stop_ends_within_the_grace() -> None:
    """RUN-017: its result is stored, and nothing is raised."""
    calls: list[int] = []

    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> str:
            calls.append(1)
            await asyncio.sleep(0.1)
            return "done"

        async with app:
            async with app.running(grace=5):
                job = await work.enqueue()
                await begun(calls)
                began = now()
            assert now() - began < 1
            assert await job.result(5) == "done"

    run(main)


def test_RUN_020_RUN_021_a_stopped_app_takes_nothing_and_may_be_started_again() -> None:
    """RUN-020, RUN-021."""

    async def main(app: App) -> None:
        @app.task(name="work")
        async def work() -> int:
            return 1

        async with app.running():
            assert await (await work.enqueue()).result(60) == 1
        with pytest.raises(AppClosed, match="async with app"):
            await work.enqueue()
        async with app.running():
            assert await (await work.enqueue()).result(60) == 1

    run(main)


class SlowToWrite(MemoryStore):
    """A memory store that takes a second to write how an attempt ended."""

    writing = False

    async def settle(self, settlements: Sequence[Settlement]) -> list[Answer]:
        self.writing = True
        await asyncio.sleep(1)
        return await super().settle(settlements)


@pytest.mark.parametrize("cancels", [1, 2])
def test_RUN_023_how_a_job_ended_is_written_whoever_cancels_the_stop(cancels: int) -> None:
    """RUN-023: the last write is not part of what is cancelled."""
    clock = FakeClock()
    store = SlowToWrite(clock=clock)
    app = App(store=store, clock=clock, ids=UuidSource())
    calls: list[int] = []

    @app.task(name="work")
    async def work() -> str:
        calls.append(1)
        await asyncio.sleep(1)
        return "done"

    async def serve() -> None:
        async with app.running(grace=60):
            await asyncio.sleep(3600)

    async def main() -> None:
        async with app:
            serving = asyncio.create_task(serve())
            job = await work.enqueue()
            await begun(calls)
            serving.cancel()
            for _ in range(cancels - 1):
                while not store.writing:
                    await asyncio.sleep(0.01)
                serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert await job.result(5) == "done"
            assert calls == [1]

    run_virtual(main(), clock)
