"""The verbs about steps and signals: durable points inside a job. Bodies come with part 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol


class Step(NamedTuple):
    """A step's result, or with `result=None` the intent to run it (RULES C14)."""

    job: str
    lease: int
    round: int
    name: str
    result: bytes | None
    arguments: bytes = b""


class StepAnswer(NamedTuple):
    """`exists`: the first write won, and `result` is what it wrote."""

    answer: Literal["saved", "stale", "exists"]
    result: bytes | None = None


class Steps(Protocol):
    """What durable steps ask of a store."""

    async def save_steps(self, steps: Sequence[Step]) -> list[StepAnswer]:
        """Remember results, fenced by the lease; the first write of (job, round, name) wins."""
        ...

    async def load_steps(self, job: str, round: int) -> list[Step]:  # noqa: A002  # the glossary's word
        """The remembered steps of one round, in the order in which they were saved."""
        ...

    async def signal(self, job: str, name: str, value: bytes) -> bool:
        """Send a named value to a job that has not ended; kept, in order, until it is waited for."""
        ...
