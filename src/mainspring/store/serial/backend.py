"""What a store with one writer is built on: a backend that runs functions over its rows, one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from mainspring.clock import Clock, SystemClock
from mainspring.ids import IdSource, new_id
from mainspring.store.base import Finding
from mainspring.store.serial import upkeep
from mainspring.store.serial.rows import Rows

T = TypeVar("T")


class Backend(ABC):
    """A backend gives `_write` and `_read`, which run a function over its rows alone, and says who has `_lapsed`."""

    def __init__(self, *, clock: Clock | None = None, ids: IdSource = new_id) -> None:
        self._clock = SystemClock() if clock is None else clock
        self._ids = ids

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def check(self) -> list[Finding]: ...

    @abstractmethod
    async def wait(self, queues: Sequence[str], timeout: float) -> bool: ...

    @abstractmethod
    async def wait_schedules(self, timeout: float) -> bool: ...

    @abstractmethod
    async def _write(self, verb: Callable[[Rows], T]) -> T:
        """Run it as one atomic step; return when it is committed, and who waits here for what became ready is woken."""

    @abstractmethod
    async def _read(self, verb: Callable[[Rows], T]) -> T:
        """Run it on a state that holds everything acknowledged so far."""

    def _hint_schedules(self) -> None:  # noqa: B027  # none is needed where the wait sees for itself
        """A schedule was put, changed or dropped: wake who waits for that in this process."""

    def _lapsed(self, rows: Rows, worker: str, now: float) -> upkeep.Lapsed | None:
        """How to know a dead worker; None when this worker may not judge now. Here: by the silence of its beats."""
        return upkeep.silent(now) if upkeep.steady(rows, now, worker) else None
