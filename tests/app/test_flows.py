"""Chains and groups, run by a worker."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mainspring import App, JobCancelled, Retry, chain, group
from tests.app.virtual_app import run


@dataclass
class Order:
    id: int
    steps: list[str]


def test_WFL_001_the_result_goes_on_as_the_first_argument() -> None:
    async def main(app: App) -> None:
        @app.task(name="validate")
        async def validate(order: Order) -> Order:
            return Order(order.id, [*order.steps, "validated"])

        @app.task(name="ship")
        def ship(order: Order, fast: bool = False) -> str:
            return f"{order.id} {order.steps} {fast}"

        async with app.running():
            job = await app.enqueue(chain(validate.bind(Order(1, [])), validate, ship))
            assert (job.task, job.state) == ("ship", "waiting")
            assert await job.result(10) == "1 ['validated', 'validated'] False"

    run(main)


def test_D29_a_bound_task_gets_nothing_passed() -> None:
    async def main(app: App) -> None:
        @app.task(name="double")
        async def double(n: int) -> int:
            return n * 2

        async with app.running():
            job = await app.enqueue(chain(double.bind(1), double.bind(10), double))
            assert await job.result(10) == 40

    run(main)


def test_WFL_007_when_a_step_dies_those_behind_never_run() -> None:
    async def main(app: App) -> None:
        ran: list[str] = []

        @app.task(name="step")
        async def step(name: str) -> str:
            ran.append(name)
            if name == "b":
                raise ValueError(name)
            return name + "!"

        async with app.running():
            job = await app.enqueue(chain(step.bind("a"), step.bind("b"), step))
            with pytest.raises(JobCancelled, match="parent dead"):
                await job.result(10)
            assert ran == ["a", "b"]
            dead = (await app.jobs.find(states=["dead"])).jobs[0]
            assert await app.jobs.replay(dead.id) == "replayed"
            assert (await job.refresh()).state in {"waiting", "cancelled"}

    run(main)


def test_WFL_026_029_a_fan_in_runs_once_after_all_in_member_order() -> None:
    async def main(app: App) -> None:
        failures = [OSError("once")]
        totals: list[list[int]] = []

        @app.task(name="count", retry=Retry(on=OSError, attempts=3))
        async def count(n: int) -> int:
            if n == 2 and failures:
                raise failures.pop()
            return n

        @app.task(name="total")
        def total(numbers: list[int]) -> int:
            totals.append(numbers)
            return sum(numbers)

        async with app.running():
            members = [count.options(delay=10 - n).bind(n) for n in range(5)]
            job = await app.enqueue(chain(group(*members), total))
            assert await job.result(100) == 10
            assert totals == [[0, 1, 2, 3, 4]]

    run(main)


def test_WFL_028_a_member_that_dies_stops_what_follows() -> None:
    async def main(app: App) -> None:
        @app.task(name="count")
        async def count(n: int) -> int:
            return 1 // n

        @app.task(name="total")
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        async with app.running():
            job = await app.enqueue(chain(group(count.bind(1), count.bind(0)), total))
            with pytest.raises(JobCancelled):
                await job.result(10)

    run(main)


def test_WFL_031_members_of_the_same_task_do_not_overwrite_each_other() -> None:
    async def main(app: App) -> None:
        @app.task(name="same")
        async def same(n: int) -> dict[str, int]:
            return {"n": n}

        @app.task(name="total")
        async def total(each: list[dict[str, int]]) -> list[int]:
            return [one["n"] for one in each]

        async with app.running():
            job = await app.enqueue(chain(group(*(same.bind(n) for n in range(20))), total))
            assert await job.result(10) == list(range(20))

    run(main)


def test_M8_members_have_the_last_job_as_their_root() -> None:
    async def main(app: App) -> None:
        task = app.remote("t")
        job = await app.enqueue(chain(group(task.bind(), task.bind()), task, task))
        found = (await app.jobs.find()).jobs
        assert len(found) == 4
        assert {each.record.root for each in found if each.record} == {job.id}

    run(main)


def test_WFL_021_a_result_that_does_not_fit_the_next_step_ends_it_dead() -> None:
    async def main(app: App) -> None:
        @app.task(name="text")
        async def text() -> str:
            return "x"

        @app.task(name="number")
        async def number(n: int) -> int:
            return n

        async with app.running():
            job = await app.enqueue(chain(text.bind(), number))  # type: ignore[misc]  # the case
            with pytest.raises(Exception, match="parameter 'n'"):
                await job.result(10)

    run(main)
