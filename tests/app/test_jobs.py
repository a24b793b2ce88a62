"""`app.jobs`: looking at jobs, and what a person does to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainspring import App, JobNotFound
from mainspring.clock import moment
from mainspring.errors import InvalidOption
from tests.app.virtual_app import run


async def filled(app: App) -> list[str]:
    task = app.remote("mail.send")
    return [
        (await task.options(tags=["a"], queue="mail").enqueue(n=0)).id,
        (await task.options(tags=["a", "b"], correlation="c").enqueue(n=1)).id,
        (await app.remote("other").options(delay=60).enqueue(n=2)).id,
    ]


def test_find_takes_all_conditions() -> None:
    async def main(app: App) -> None:
        ids = await filled(app)

        async def found(**conditions: Any) -> list[int]:
            return [ids.index(job.id) for job in (await app.jobs.find(**conditions)).jobs]

        assert await found() == [0, 1, 2]
        assert await found(newest=True) == [2, 1, 0]
        assert await found(task="mail.send") == [0, 1]
        assert await found(queue="mail") == [0]
        assert await found(tags=["b", "a"]) == [1]
        assert await found(states=["scheduled"]) == [2]
        assert await found(correlation="c", task="other") == []
        assert await found(created_from=moment(0), created_to=datetime(2020, 1, 1, tzinfo=UTC)) == []

    run(main)


def test_pages_follow_each_other() -> None:
    async def main(app: App) -> None:
        ids = await filled(app)
        first = await app.jobs.find(limit=2)
        second = await app.jobs.find(limit=2, cursor=first.cursor)
        assert [job.id for job in (*first.jobs, *second.jobs)] == ids
        assert second.cursor is None

    run(main)


@pytest.mark.parametrize(
    "conditions",
    [{"states": "dead"}, {"tags": "a"}, {"limit": 0}, {"created_from": datetime(2026, 1, 1)}],  # noqa: DTZ001
)
def test_conditions_are_checked(conditions: dict[str, Any]) -> None:
    async def main(app: App) -> None:
        with pytest.raises(InvalidOption):
            await app.jobs.find(**conditions)

    run(main)


def test_a_person_can_cancel_replay_reschedule_and_delete() -> None:
    async def main(app: App) -> None:
        job = await app.remote("t").options(delay=60).enqueue()
        assert await app.jobs.reschedule(job.id, delay=timedelta(hours=1))
        record = await job.refresh()
        assert record.due == record.created + 3600
        assert await app.jobs.reschedule(job.id, run_at=moment(record.created + 5))
        assert (await job.refresh()).due == record.created + 5
        assert not await app.jobs.delete(job.id)
        assert await app.jobs.replay(job.id) == "refused"
        assert await app.jobs.cancel(job.id, reason="wrong") == "cancelled"
        assert (await job.refresh()).reason == "wrong"
        assert await app.jobs.replay(job.id) == "replayed"
        assert (await job.refresh()).state == "ready"
        await job.cancel()
        assert not await app.jobs.reschedule(job.id, delay=1)
        assert await app.jobs.delete(job.id)
        for verb in (app.jobs.get, app.jobs.cancel, app.jobs.replay, app.jobs.delete):
            with pytest.raises(JobNotFound):
                await verb(job.id)
        with pytest.raises(JobNotFound):
            await app.jobs.reschedule(job.id, delay=1)
        for ask in (app.jobs.reschedule(job.id), app.jobs.reschedule(job.id, delay=1, run_at=moment(0))):
            with pytest.raises(InvalidOption):
                await ask

    run(main)


def test_attempts_and_counts() -> None:
    async def main(app: App) -> None:
        @app.task(name="fail")
        async def fail() -> None:
            raise ValueError("x")

        async with app.running():
            job = await fail.enqueue()
            await app.idle()
            (attempt,) = await app.jobs.attempts(job.id)
            assert (attempt.ending, attempt.error and attempt.error.message) == ("dead", "x")
            (count,) = await app.jobs.counts()
            assert (count.task, count.state, count.number) == ("fail", "dead", 1)

    run(main)


def test_idle_waits_for_retries_but_not_for_delays() -> None:
    async def main(app: App) -> None:
        import asyncio

        from mainspring import Retry, constant

        @app.task(name="fail", retry=Retry(on=ValueError, attempts=3, backoff=constant(10)))
        async def fail() -> None:
            raise ValueError("x")

        loop = asyncio.get_running_loop()
        async with app.running():
            begun = loop.time()
            job = await fail.enqueue()
            later = await fail.options(delay=86400).enqueue()
            await app.remote("of somebody else").enqueue()
            await app.idle()
            assert 20 <= loop.time() - begun < 30
            assert (await job.refresh()).attempt == 3
            assert (await later.refresh()).state == "scheduled"

    run(main)
