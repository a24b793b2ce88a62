"""Bound tasks, chains and groups: what they hold, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring import App, BoundTask, chain, group
from mainspring.errors import ArgumentsInvalid, InvalidOption
from mainspring.ids import UuidSource

app = App("memory://")
ids = UuidSource()


@app.task(name="count")
async def count(path: str, *, deep: bool = False) -> int:
    return len(path)


@app.task(name="total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="two")
def two(a: int, b: int) -> None: ...


@app.task(name="none")
def none() -> None: ...


def payloads(bound: BoundTask[Any]) -> list[bytes]:
    return [job.payload for job in bound.compile(ids).jobs]


def test_D6_a_bound_task_has_the_arguments_and_the_options() -> None:
    job = count.options(queue="q", priority=2).bind("a", deep=True).compile(ids).last
    assert (job.task, job.payload, job.queue, job.priority) == ("count", b'{"path":"a","deep":true}', "q", 2)


def test_D6_each_job_of_a_bound_task_is_another() -> None:
    bound = count.bind("a")
    assert bound.compile(ids).last.id != bound.compile(ids).last.id


def test_WFL_005_018_arguments_are_taken_when_they_are_bound() -> None:
    numbers = [1]
    bound = total.bind(numbers)
    numbers.append(2)
    assert payloads(bound) == [b'{"numbers":[1]}']


def test_a_wrong_call_is_refused_when_it_is_bound() -> None:
    with pytest.raises(ArgumentsInvalid, match="'count'"):
        count.bind()  # type: ignore[call-arg]  # the case


def test_D29_a_step_has_no_arguments_of_its_own() -> None:
    assert payloads(chain(group(count.bind("a"), count.bind("b")), total)) == [b'{"path":"a"}', b'{"path":"b"}', b"{}"]


@pytest.mark.parametrize("step", [two, none])
def test_a_step_that_cannot_take_one_value_is_refused(step: Any) -> None:
    with pytest.raises(InvalidOption, match=r"with bind\("):
        chain(count.bind("a"), step)


def test_a_remote_task_can_be_a_step() -> None:
    flow = chain(count.bind("a"), app.remote("elsewhere")).compile(ids)
    assert flow.last.task == "elsewhere"


@pytest.mark.parametrize("steps", [(), (count.bind("a"),), (count, total), (count.bind("a"), print)])
def test_what_is_no_chain_is_refused(steps: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidOption):
        chain(*steps)


@pytest.mark.parametrize("members", [(), (count,), (group(count.bind("a")),), (print,)])
def test_what_is_no_group_is_refused(members: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidOption):
        group(*members)


def test_a_group_alone_cannot_be_stored() -> None:
    with pytest.raises(InvalidOption, match="chain"):
        group(count.bind("a")).compile(ids)


def test_a_unique_job_cannot_be_a_step() -> None:
    with pytest.raises(InvalidOption, match="unique"):
        chain(count.options(unique="k").bind("a"), count.bind("b"))
    with pytest.raises(InvalidOption, match="unique"):
        group(count.options(unique="k").bind("a"))


def test_a_bound_task_cannot_be_bound_again() -> None:
    with pytest.raises(InvalidOption, match="bound already"):
        count.bind("a").bind("b")


def test_chains_can_be_put_into_chains() -> None:
    inner = chain(count.bind("a"), count.bind("b"))
    flow = chain(inner, count.bind("c")).compile(ids)
    assert [job.waits_on for job in flow.jobs] == [None, flow.jobs[0].id, flow.jobs[1].id]
