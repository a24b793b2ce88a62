"""Flows: chains and groups of jobs as pure data, compiled to the jobs and groups that a store adds as one step.

A job of a chain waits on the one before it; what follows a group waits on the group's id. All jobs of a flow have the
id of its last job as their root, so that none is pruned while the flow goes on. Ids are made in the order of the
members: the results of a group, ordered by id, are in member order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from mainspring.model.record import NewGroup, NewJob

Given = Literal["value", "list"]
"""What a step can be given: the result of one job, or the results of a group."""


class One(Struct, frozen=True):
    """A single job, its id still to be made.

    `given_value`, `given_list`: the options (NewJob.options) that it has instead when it takes the result of what
    comes before it as its first argument; None: it has arguments of its own, and nothing is passed (API.md D29).
    """

    job: NewJob
    given_value: bytes | None = None
    given_list: bytes | None = None


class Chain(Struct, frozen=True):
    """Steps that run one after the other."""

    steps: tuple[Node, ...]


class Fan(Struct, frozen=True):
    """Members that run side by side; what follows waits for all of them."""

    members: tuple[Node, ...]


Node = One | Chain | Fan


class Flow(NamedTuple):
    """What one add stores: the jobs, each behind what it waits on, and the groups."""

    jobs: tuple[NewJob, ...]
    groups: tuple[NewGroup, ...] = ()

    @property
    def last(self) -> NewJob:
        """The job whose result is the flow's."""
        return self.jobs[-1]


def compile_flow(node: Node, make_id: Callable[[], str]) -> Flow:
    """The jobs and groups of a flow. It must end in a single job (see `last_of`).

    >>> ids = iter("123456789")
    >>> def one(task: str) -> One:
    ...     return One(NewJob(id="", task=task), given_value=b"value", given_list=b"list")
    >>> flow = compile_flow(Chain((Fan((one("a"), one("b"))), one("total"))), lambda: next(ids))
    >>> [(job.id, job.task, job.group, job.waits_on, job.options) for job in flow.jobs]
    [('2', 'a', '1', None, b''), ('3', 'b', '1', None, b''), ('4', 'total', None, '1', b'list')]
    """
    if isinstance(node, One):
        return Flow((replace(node.job, id=make_id()),))
    compiler = _Compiler(make_id)
    compiler.place(node, _START, None)
    root = compiler.jobs[-1].id
    return Flow(tuple(replace(job, root=root) for job in compiler.jobs), tuple(compiler.groups))


def last_of(node: Node) -> One | Fan:
    """What a flow ends with: the job whose result is the flow's, or a group, which has none of its own."""
    while isinstance(node, Chain):
        node = node.steps[-1]
    return node


class _After(NamedTuple):
    """What comes before a step: the id to wait on, and what that gives."""

    id: str | None
    gives: Given


_START: Final = _After(None, "value")


class _Compiler:
    """The jobs and groups placed so far."""

    def __init__(self, make_id: Callable[[], str]) -> None:
        self._make_id = make_id
        self.jobs: list[NewJob] = []
        self.groups: list[NewGroup] = []

    def place(self, node: Node, after: _After, group: str | None) -> _After:
        """Add the jobs of a node behind what came before; returns what comes before the next one."""
        match node:
            case One():
                return self._place_one(node, after, group)
            case Chain(steps):
                for step in steps[:-1]:
                    after = self.place(step, after, None)
                return self.place(steps[-1], after, group)
            case Fan(members):
                identifier = self._make_id()
                for member in members:
                    self.place(member, after, identifier)
                self.groups.append(NewGroup(id=identifier, size=len(members)))
                return _After(identifier, "list")

    def _place_one(self, one: One, after: _After, group: str | None) -> _After:
        given = None
        if after.id is not None:
            given = one.given_value if after.gives == "value" else one.given_list
        options = one.job.options if given is None else given
        job = replace(one.job, id=self._make_id(), waits_on=after.id, group=group, options=options)
        self.jobs.append(job)
        return _After(job.id, "value")
