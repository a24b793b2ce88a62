"""The verbs about schedules: stored triggers that add jobs. Bodies come with part 4; the shapes are settled here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from mainspring.model.record import NewJob


class ScheduleRecord(NamedTuple):
    """A schedule as stored. `revision` grows with each change; `fired_to` is a watermark that only grows (H13)."""

    id: str
    trigger: bytes
    template: NewJob
    options: bytes = b""
    revision: int = 0
    fired_to: float = 0.0
    next: float | None = None
    paused: bool = False
    runs: int = 0
    missed: int = 0


class Fire(NamedTuple):
    """A request to fire: succeeds only if revision and next are still these, and every slot is above the watermark."""

    schedule: str
    revision: int
    expected: float
    slots: tuple[tuple[float, str], ...]
    next: float | None
    missed: int = 0


FireAnswer = Literal["fired", "skipped", "stale", "paused", "unknown"]


class Schedules(Protocol):
    """What a scheduler asks of a store."""

    async def put_schedules(self, schedules: Sequence[ScheduleRecord]) -> list[ScheduleRecord]:
        """Create or update; the watermark, counts and pause of an existing one are kept."""
        ...

    async def drop_schedules(self, ids: Sequence[str]) -> list[bool]:
        """Remove; the watermark of a removed id is kept for 24 h."""
        ...

    async def due_schedules(self, limit: int = 1000) -> tuple[list[ScheduleRecord], float]:
        """Those whose `next` has come, and the store's now."""
        ...

    async def fire(self, fires: Sequence[Fire]) -> list[FireAnswer]:
        """Add the jobs of these slots and advance the schedules, by compare-and-set: no slot twice, ever."""
        ...

    async def pause_schedules(self, ids: Sequence[str], paused: bool) -> list[bool]:
        """Pause or resume."""
        ...

    async def schedules(self) -> list[ScheduleRecord]:
        """All, by id."""
        ...
