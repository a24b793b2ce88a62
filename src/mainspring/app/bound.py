"""Bound tasks: tasks with their options and arguments, not yet stored; and the chains and groups made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from mainspring.errors import InvalidOption
from mainspring.ids import IdSource
from mainspring.model.flow import Chain, Fan, Flow, Node, One, compile_flow, last_of

if TYPE_CHECKING:
    from mainspring.engine.arguments import Parameters

A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
R_co = TypeVar("R_co", covariant=True)


class BoundTask(Generic[R_co]):
    """The template of a job, or of a flow of jobs: what `chain`, `group`, `app.enqueue` and `enqueue_many` take.

    Made by `task.bind(…)`. The arguments are encoded when it is made: later changes of a list do not show.
    """

    __slots__ = ("_name", "node", "returns")

    def __init__(self, node: Node, returns: Parameters | None, name: str) -> None:
        self.node = node
        self.returns = returns
        self._name = name

    def bind(self, value: object, /) -> BoundTask[R_co]:
        """Raises InvalidOption: it is bound already, and no step of a chain passes it anything.

        It is here for type checkers, so that a bound task fits where one that `Accepts` a value is wanted.
        """
        raise InvalidOption(f"{self!r} is bound already; it cannot be given {value!r}")

    def compile(self, ids: IdSource) -> Flow:
        """The jobs and groups to store, with fresh ids; the last job is the one whose result is wanted.

        Raises InvalidOption for a group with nothing behind it: no job would hold its results.
        """
        if isinstance(last_of(self.node), Fan):
            raise InvalidOption(
                "a group on its own has no job that holds its results; end it with one: chain(group(…), total)"
            )
        return compile_flow(self.node, ids)

    def __repr__(self) -> str:
        return f"<BoundTask {self._name}>"


class Accepts(Protocol[A_contra, R_co]):
    """A task that can be given one value: the next step of a chain whose last one returns such a value."""

    def bind(self, value: A_contra, /) -> BoundTask[R_co]:
        """The task with this value as its only argument."""
        ...


class Step(Protocol):
    """What a flow is made of, seen from inside: a task, or a bound one."""

    @property
    def node(self) -> Node:
        """Its place in a flow."""
        ...

    @property
    def returns(self) -> Parameters | None:
        """What decodes its result."""
        ...


@overload
def chain(a: BoundTask[A], b: Accepts[A, B], /) -> BoundTask[B]: ...
@overload
def chain(a: BoundTask[A], b: Accepts[A, B], c: Accepts[B, C], /) -> BoundTask[C]: ...
@overload
def chain(
    a: BoundTask[A],
    b: Accepts[A, B],
    c: Accepts[B, C],
    d: Accepts[C, D],
    /,
) -> BoundTask[D]: ...
@overload
def chain(
    a: BoundTask[A],
    b: Accepts[A, B],
    c: Accepts[B, C],
    d: Accepts[C, D],
    e: Accepts[D, E],
    /,
) -> BoundTask[E]: ...
def chain(*steps: Any) -> BoundTask[Any]:
    """Steps that run one after the other; the result of the chain is that of its last step.

    A task gets the result of the step before as its first argument (of a group: the list of its results, in the
    order of the members). A bound task has its own arguments, and nothing is passed. When a step dies,
    is cancelled or expires, those behind it are cancelled. Longer chains: `chain(chain(a, b, c), d)`.

    Raises InvalidOption for what cannot be a step.

        await app.enqueue(chain(validate.bind(order), charge, ship))
        await app.enqueue(chain(group(*(count.bind(file) for file in files)), total))
    """
    if len(steps) < 2:
        raise InvalidOption("a chain has two steps or more")
    if not isinstance(steps[0], BoundTask):
        raise InvalidOption(f"the first step of a chain needs its arguments: {steps[0]!r}.bind(…)")
    nodes = tuple(_node_of(step) for step in steps)
    last: Step = steps[-1]
    return BoundTask(Chain(nodes), last.returns, f"chain of {len(steps)}")


def group(*members: BoundTask[A]) -> BoundTask[list[A]]:
    """Members that run side by side. Used in a chain: `chain(group(a.bind(1), b.bind(2)), total)`.

    What follows runs once, when all have completed, with the list of their results in the order given here. When
    one of them does not complete, what follows is cancelled; the other members go on.

    Raises InvalidOption for no members, and for members that end in a group themselves.
    """
    if not members:
        raise InvalidOption("a group has one member or more")
    for member in members:
        if not isinstance(member, BoundTask):
            raise InvalidOption(f"a member of a group needs its arguments: {member!r}.bind(…)")
        if isinstance(last_of(member.node), Fan):
            raise InvalidOption("a member of a group cannot end in a group itself: end it with a task")
    return BoundTask(Fan(tuple(_node_of(member) for member in members)), None, f"group of {len(members)}")


def _node_of(step: object) -> Node:
    node: object = getattr(step, "node", None)
    if not isinstance(node, One | Chain | Fan):
        raise InvalidOption(f"{step!r} cannot be a step: give a task or a bound task")
    if isinstance(node, One) and node.job.unique is not None:
        raise InvalidOption(
            f"{step!r} is unique: if its key were taken, the jobs behind it would wait for one that was never added; "
            "give the key to a job that enqueues the flow"
        )
    return node
