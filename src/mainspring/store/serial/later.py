# the shapes are settled, the bodies come with parts 5 and 7
"""What the stores of this version cannot do yet. `Features` says so, and each verb does too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

from mainspring.errors import Unsupported
from mainspring.model.record import NewGroup, NewJob
from mainspring.store.base import Added, Features, Step, StepAnswer, Transaction


class LaterParts(ABC):
    """Refuses, with a clear error, what has no body yet."""

    @property
    @abstractmethod
    def features(self) -> Features: ...

    async def set_limit(self, key: str, concurrency: int | None) -> None:
        raise self._unsupported("limits over the whole fleet")

    def dump(self) -> AsyncIterator[bytes]:
        raise self._unsupported("dump")

    async def restore(self, lines: AsyncIterator[bytes]) -> dict[str, int]:
        raise self._unsupported("restore")

    async def save_steps(self, steps: Sequence[Step]) -> list[StepAnswer]:
        raise self._unsupported("steps")

    async def load_steps(self, job: str, round: int) -> list[Step]:  # noqa: A002
        raise self._unsupported("steps")

    async def signal(self, job: str, name: str, value: bytes) -> bool:
        raise self._unsupported("signals")

    async def transaction(self, worker: str, job: str) -> Transaction:
        raise self._no_transactions()

    async def add_within(self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        raise self._no_transactions()

    def add_within_sync(self, tx: object, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
        raise self._no_transactions()

    def _no_transactions(self) -> Unsupported:
        return Unsupported(
            f"the {self.features.name} store takes part in no transaction: keep the jobs in the database that it is in,"
            " a SQLite file or PostgreSQL"
        )

    def _unsupported(self, what: str) -> Unsupported:
        return Unsupported(f"the {self.features.name} store of this version has no {what}; see its Features")
