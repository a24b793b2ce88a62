"""Chains and groups compiled to jobs."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mainspring.model.flow import Chain, Fan, Flow, Node, One, compile_flow, last_of
from mainspring.model.record import NewGroup, NewJob


def one(task: str, *, bound: bool = False, **options: Any) -> One:
    job = NewJob(id="", task=task, options=b"own", **options)
    return One(job) if bound else One(job, given_value=b"value", given_list=b"list")


def compiled(node: Node) -> Flow:
    numbers = count(1)
    return compile_flow(node, lambda: f"{next(numbers):03}")


def test_a_single_job_has_no_root_and_waits_for_nothing() -> None:
    (job,) = compiled(one("a")).jobs
    assert (job.id, job.root, job.waits_on, job.options) == ("001", None, None, b"own")


def test_WFL_001_each_step_waits_on_the_one_before() -> None:
    flow = compiled(Chain((one("a", bound=True), one("b"), one("c"))))
    assert [(job.id, job.task, job.waits_on) for job in flow.jobs] == [
        ("001", "a", None), ("002", "b", "001"), ("003", "c", "002"),
    ]  # fmt: skip
    assert flow.last.task == "c"


def test_D29_a_task_is_given_the_result_before_a_bound_one_nothing() -> None:
    flow = compiled(Chain((one("a", bound=True), one("b"), one("c", bound=True))))
    assert [job.options for job in flow.jobs] == [b"own", b"value", b"own"]


def test_the_first_step_is_given_nothing() -> None:
    assert compiled(Chain((one("a"), one("b")))).jobs[0].options == b"own"


def test_WFL_026_a_fan_in_waits_on_its_group() -> None:
    flow = compiled(Chain((Fan((one("a"), one("b"))), one("total"))))
    assert flow.groups == (NewGroup(id="001", size=2),)
    assert [(job.id, job.group, job.waits_on, job.options) for job in flow.jobs] == [
        ("002", "001", None, b"own"), ("003", "001", None, b"own"), ("004", None, "001", b"list"),
    ]  # fmt: skip


def test_the_root_of_every_member_is_the_last_job() -> None:
    flow = compiled(Chain((Fan((one("a"), one("b"))), one("total"), one("end"))))
    assert {job.root for job in flow.jobs} == {flow.last.id}


def test_only_the_last_job_of_a_member_counts_for_its_group() -> None:
    flow = compiled(Chain((Fan((Chain((one("a"), one("b"))), one("c"))), one("total"))))
    assert [(job.task, job.group) for job in flow.jobs] == [("a", None), ("b", "001"), ("c", "001"), ("total", None)]


def test_a_group_behind_a_step_waits_on_it() -> None:
    flow = compiled(Chain((one("first"), Fan((one("a"), one("b", bound=True))), one("total"))))
    first = flow.jobs[0].id
    assert [(job.task, job.waits_on, job.options) for job in flow.jobs[1:3]] == [
        ("a", first, b"value"), ("b", first, b"own"),
    ]  # fmt: skip


def test_what_a_flow_ends_with() -> None:
    fan = Fan((one("a"),))
    assert last_of(Chain((fan, one("end")))) == one("end")
    assert last_of(Chain((one("a"), Chain((one("b"), fan))))) is fan


leaves = st.builds(one, st.sampled_from("abc"), bound=st.booleans())
nodes = st.recursive(
    leaves,
    lambda inner: (
        st.builds(lambda steps, end: Chain((*steps, end)), st.lists(inner, min_size=1, max_size=3), leaves)
        | st.builds(
            lambda members, end: Chain((Fan(tuple(members)), end)), st.lists(inner, min_size=1, max_size=3), leaves
        )
    ),
    max_leaves=12,
)


@given(nodes)
def test_every_flow_is_in_order_and_its_groups_are_full(node: Node) -> None:
    flow = compiled(node)
    known = {group.id for group in flow.groups}
    for job in flow.jobs:
        assert job.waits_on is None or job.waits_on in known
        known.add(job.id)
    members = [job.group for job in flow.jobs if job.group is not None]
    assert {group.id: group.size for group in flow.groups} == {each: members.count(each) for each in members}
    assert [job.id for job in flow.jobs] == sorted(job.id for job in flow.jobs)
