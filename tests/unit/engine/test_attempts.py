"""How attempts end: errors, timeouts, cancels, and what a task raises."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from mainspring.engine.context import Context
from mainspring.engine.options import pack
from mainspring.errors import CancelJob, GiveUp, RetryLater, Snooze
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from tests.unit.engine.workshop import virtual, workshop

TWICE = Retry(on=Exception, attempts=2, backoff=constant(10))


def broken(error: BaseException) -> float | None:
    raise LookupError("no header")


@virtual
async def test_an_error_without_a_policy_ends_the_job_dead() -> None:
    async def fail() -> None:
        raise ValueError("no such file")

    async with workshop() as shop:
        shop.task(fail)
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert record.state == "dead"
        assert record.error is not None
        assert (record.error.type, record.error.message) == ("ValueError", "no such file")
        assert "mainspring/engine" not in record.error.traceback
        assert 'raise ValueError("no such file")' in record.error.traceback


@virtual
async def test_RET_035_a_failed_attempt_is_repeated_by_the_policy() -> None:
    """RET-035: attempt numbers go up, and the wait is the policy's."""
    attempts: list[tuple[int, float]] = []

    async with workshop() as shop:

        async def fail(ctx: Context) -> None:
            attempts.append((ctx.attempt, round(shop.loop.time(), 1)))
            raise OSError("down")

        shop.task(fail, context=True, retry=Retry(on=OSError, attempts=3, backoff=constant(60)))
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert [number for number, _ in attempts] == [1, 2, 3]
        assert [attempts[1][1] - attempts[0][1], attempts[2][1] - attempts[1][1]] == pytest.approx([60, 60], abs=0.2)
        assert record.state == "dead"
        history = await shop.store.attempts(job)
        assert [each.ending for each in history] == ["retried", "retried", "dead"]


@virtual
async def test_the_wait_may_be_told_by_the_error() -> None:
    class Busy(Exception):
        retry_after = 120

    times: list[float] = []

    async with workshop() as shop:

        async def fail() -> None:
            times.append(shop.loop.time())
            raise Busy

        shop.task(fail, retry=TWICE)
        job = await shop.add()
        async with shop.worker():
            await shop.ended(job)
        assert times[1] - times[0] == pytest.approx(120, abs=0.2)


@pytest.mark.parametrize(
    ("wait_hint", "wait"),
    [(lambda error: 40.0, 40), (lambda error: None, 10), (broken, 10)],
    ids=["seconds", "none", "fails"],
)
def test_the_wait_hint_of_the_policy_stands_in_place_of_what_the_error_says(
    wait_hint: Callable[[BaseException], float | None], wait: float, caplog: pytest.LogCaptureFixture
) -> None:
    class Busy(Exception):
        retry_after = 120

    times: list[float] = []

    @virtual
    async def scenario() -> None:
        async with workshop() as shop:

            async def fail() -> None:
                times.append(shop.loop.time())
                raise Busy

            shop.task(fail, retry=Retry(on=Busy, attempts=2, backoff=constant(10), wait_hint=wait_hint))
            job = await shop.add()
            async with shop.worker():
                (record,) = await shop.ended(job)
            assert record.error is not None
            assert record.error.type.endswith("Busy")

    scenario()
    assert times[1] - times[0] == pytest.approx(wait, abs=0.2)
    failed = [each for each in caplog.messages if "the wait_hint of its policy failed; its backoff decides" in each]
    assert len(failed) == (2 if wait_hint is broken else 0)


@virtual
async def test_the_policy_of_a_job_wins_over_its_tasks() -> None:
    calls: list[int] = []

    async def fail() -> None:
        calls.append(1)
        raise ValueError

    async with workshop() as shop:
        shop.task(fail, retry=TWICE)
        job = await shop.add(options=pack(retry=Retry(on=ValueError, attempts=4, backoff=constant(0))))
        async with shop.worker():
            await shop.ended(job)
        assert len(calls) == 4


@virtual
async def test_D19_ends_that_a_task_raises() -> None:
    seen: dict[str, int] = {}

    async def work(ctx: Context, how: str) -> None:
        seen[how] = seen.get(how, 0) + 1
        if seen[how] > 1:
            return
        match how:
            case "later":
                raise RetryLater(30)
            case "snooze":
                raise Snooze(30)
            case "give up":
                raise GiveUp("useless")
            case "cancel":
                raise CancelJob("not needed")

    async with workshop() as shop:
        shop.task(work, context=True, retry=TWICE)
        ways = ("later", "snooze", "give up", "cancel")
        jobs = [await shop.add(arguments={"how": how}) for how in ways]
        async with shop.worker():
            later, snoozed, gave_up, cancelled = await shop.ended(*jobs)
        assert (later.state, later.attempt) == ("completed", 2)
        assert (snoozed.state, snoozed.attempt) == ("completed", 1)
        assert (gave_up.state, gave_up.reason) == ("dead", "useless")
        assert (cancelled.state, cancelled.reason) == ("cancelled", "not needed")


@virtual
async def test_CAN_016_a_timeout_is_a_failure_like_any_other() -> None:
    """CAN-016: the first attempt hangs, the second is well."""
    calls: list[int] = []

    async def hang() -> str:
        calls.append(1)
        if len(calls) == 1:
            await asyncio.sleep(3600)
        return "well"

    async with workshop() as shop:
        shop.task(hang, timeout=0.05, retry=Retry(on=TimeoutError, attempts=2, backoff=constant(0)))
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert (record.state, record.attempt) == ("completed", 2)
        first = (await shop.store.attempts(job))[0]
        assert first.error is not None
        assert first.error.type.endswith("AttemptTimeout")


@virtual
async def test_CAN_017_the_timeout_of_a_job_wins_over_its_tasks() -> None:
    """CAN-017."""

    async def work() -> None:
        await asyncio.sleep(0.05)

    async with workshop() as shop:
        shop.task(work, timeout=0.01)
        long, short = await shop.add(options=pack(timeout=1.0)), await shop.add()
        async with shop.worker():
            records = await shop.ended(long, short)
        assert [record.state for record in records] == ["completed", "dead"]


@virtual
async def test_CAN_018_a_function_that_ignores_its_timeout_has_failed_all_the_same() -> None:
    """CAN-018: its slot is taken meanwhile."""

    async def stubborn() -> str:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            await asyncio.sleep(5)
        return "ok"

    async with workshop() as shop:
        shop.task(stubborn, timeout=0.05)
        job = await shop.add()
        began = shop.loop.time()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert record.state == "dead"
        assert shop.loop.time() - began > 5


@virtual
async def test_cleaning_up_is_not_interrupted_by_a_second_reason_to_end() -> None:
    cleaned: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(30)  # the beat that brings the cancel request comes meanwhile
            cleaned.append(True)

    async with workshop() as shop:
        shop.task(work, timeout=5.0)
        job = await shop.add()
        async with shop.worker(lease_time=30.0) as worker:
            await shop.until(lambda: job in worker.running)
            await asyncio.sleep(6)
            await shop.store.cancel([job])
            (record,) = await shop.ended(job)
        assert cleaned == [True]
        assert record.state == "dead"


@virtual
async def test_CAN_020_expires_bounds_the_start_only() -> None:
    """CAN-020."""

    async def work() -> None:
        await asyncio.sleep(60)

    async with workshop() as shop:
        shop.task(work)
        job = await shop.add(expires_in=10.0)
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert record.state == "completed"


@virtual
async def test_CAN_021_a_retry_past_expires_ends_the_job_expired() -> None:
    """CAN-021."""

    async def fail() -> None:
        raise OSError

    async with workshop() as shop:
        shop.task(fail, retry=Retry(on=OSError, attempts=9, backoff=constant(60)))
        job = await shop.add(expires_in=30.0)
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert (record.state, record.attempt) == ("expired", 1)


@virtual
async def test_CAN_025_a_running_job_that_is_cancelled_is_interrupted_and_stays_cancelled() -> None:
    """CAN-025, CAN-002: at the next beat."""
    cleaned: list[bool] = []

    async def work(ctx: Context) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(ctx.cancelled)

    async with workshop() as shop:
        shop.task(work, context=True, retry=TWICE)
        job = await shop.add()
        async with shop.worker(lease_time=30.0) as worker:
            await shop.until(lambda: job in worker.running)
            asked = shop.loop.time()
            assert await shop.store.cancel([job]) == ["requested"]
            (record,) = await shop.ended(job)
        assert record.state == "cancelled"
        assert cleaned == [True]
        assert shop.loop.time() - asked <= 10.1


@virtual
async def test_a_function_that_ends_well_after_a_cancel_has_completed() -> None:
    """RULES C4: `complete` is taken as it is."""

    async def work() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "done before"
        return "never"

    async with workshop() as shop:
        shop.task(work)
        job = await shop.add()
        async with shop.worker() as worker:
            await shop.until(lambda: job in worker.running)
            await shop.store.cancel([job])
            (record,) = await shop.ended(job)
        assert (record.state, record.result) == ("completed", b'"done before"')


@virtual
async def test_C4_cancel_beats_retry() -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise OSError

    async with workshop() as shop:
        shop.task(fail, retry=TWICE)
        job = await shop.add()
        async with shop.worker() as worker:
            await shop.until(lambda: job in worker.running)
            await shop.store.cancel([job])
            (record,) = await shop.ended(job)
        assert (record.state, record.attempt) == ("cancelled", 1)


@virtual
async def test_arguments_that_do_not_fit_fail_the_job_by_its_policy() -> None:
    async def add(a: int) -> int:
        return a + 1

    async with workshop() as shop:
        shop.task(add)
        bad, good = await shop.add(arguments={"a": "x"}), await shop.add(arguments={"a": 1})
        async with shop.worker():
            failed, well = await shop.ended(bad, good)
        assert failed.state == "dead"
        assert failed.error is not None
        assert failed.error.type.endswith("ArgumentsInvalid")
        assert "a" in failed.error.message
        assert well.result == b"2"


@virtual
async def test_M10_a_result_that_cannot_be_stored_ends_the_job_dead_and_is_not_retried() -> None:
    async def work(big: bool) -> object:
        return "x" * 600_000 if big else object()

    async with workshop() as shop:
        shop.task(work, retry=TWICE)
        jobs = [await shop.add(arguments={"big": big}) for big in (True, False)]
        async with shop.worker():
            records = await shop.ended(*jobs)
        for record in records:
            assert (record.state, record.attempt) == ("dead", 1)
            assert record.error is not None
            assert "ResultNotEncodable" in record.error.type


@virtual
async def test_a_task_may_keep_no_result() -> None:
    async def work() -> object:
        return object()

    async with workshop() as shop:
        shop.task(work, store_result=False)
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert (record.state, record.result) == ("completed", None)


@virtual
async def test_a_sync_task_may_raise_anything() -> None:
    def work(how: str) -> None:
        raise StopIteration if how == "stop" else SystemExit(3)

    async with workshop() as shop:
        shop.task(work, mode="sync")
        jobs = [await shop.add(arguments={"how": how}) for how in ("stop", "exit")]
        async with shop.worker():
            records = await shop.ended(*jobs)
        assert [record.state for record in records] == ["dead", "dead"]


@virtual
async def test_an_async_task_may_raise_anything() -> None:
    async def work(how: str) -> None:
        if how == "later":
            await asyncio.sleep(1)
        if how == "cancelled":
            raise asyncio.CancelledError
        raise SystemExit(3)

    async with workshop() as shop:
        shop.task(work)
        jobs = [await shop.add(arguments={"how": how}) for how in ("now", "later", "cancelled")]
        async with shop.worker():
            records = await shop.ended(*jobs)
        assert [record.state for record in records] == ["dead", "dead", "dead"]
        assert records[2].error is not None
        assert "nobody had cancelled it" in records[2].error.message


@virtual
async def test_D25_a_late_sync_function_keeps_its_slot_until_it_returns() -> None:
    go = threading.Event()
    flagged: list[bool] = []

    def work(ctx: Context) -> None:
        go.wait(20)
        flagged.append(ctx.cancelled)

    async with workshop() as shop:
        shop.task(work, mode="sync", context=True, timeout=5.0)
        job = await shop.add()
        async with shop.worker(lease_time=60.0) as worker:
            while job not in worker.running:
                await asyncio.sleep(0)  # no time passes while a thread is at work
            await shop.loop.advance(8, wait_outside=False)  # type: ignore[attr-defined]
            assert (await shop.job(job)).state == "running"
            assert job in worker.running
            go.set()
            (record,) = await shop.ended(job)
        assert flagged == [True]
        assert record.state == "dead"
        assert record.error is not None
        assert "timeout" in record.error.message


def test_a_backoff_that_fails_costs_no_attempt(caplog: pytest.LogCaptureFixture) -> None:
    @virtual
    async def run() -> None:
        async def fail() -> None:
            raise OSError("down")

        def broken(_index: int) -> float:
            raise ZeroDivisionError

        async with workshop() as shop:
            shop.task(fail, retry=Retry(on=OSError, attempts=3, backoff=broken))
            job = await shop.add()
            async with shop.worker():
                (record,) = await shop.ended(job)
            assert (record.state, record.reason, record.attempt) == ("dead", "attempts spent", 3)

    run()
    assert caplog.text.count("the backoff of its policy failed, so it waits as by default: ZeroDivisionError()") == 2


@virtual
async def test_a_policy_that_fails_ends_its_job_only() -> None:
    async def fail() -> None:
        raise OSError("down")

    def broken(_error: BaseException) -> bool:
        raise ZeroDivisionError

    async with workshop() as shop:
        shop.task(fail, retry=Retry(on=broken, attempts=3))
        job = await shop.add()
        async with shop.worker():
            (record,) = await shop.ended(job)
        assert (record.state, record.reason) == ("dead", "its retry policy failed")
