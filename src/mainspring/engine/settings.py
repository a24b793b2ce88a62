"""How one worker is set up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mainspring.errors import InvalidOption

DAY: Final = 86_400.0

DEFAULT_RETENTION: Final[Mapping[str, float]] = {
    "completed": DAY,
    "expired": DAY,
    "cancelled": DAY,
    "dead": 30 * DAY,
}
"""Seconds for which ended jobs are kept, by state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The settings of a worker; times are seconds. Raises InvalidOption for what cannot be meant.

    `concurrency`: jobs at once in this process. `queues`: None means every queue that holds jobs of known tasks.
    `lease_time`: how long the worker may be silent before others rescue what it runs. `poll`: how long new work may
    lie unseen when no hint comes. `grace`: what running jobs have to end when the worker stops. `prefetch`: how many
    jobs it holds at most beyond those it can start (only fast tasks are fetched ahead). `stall_warn`, `stall_limit`:
    after how long a loop that stands still is logged, and the process ended (None: never). `retention`: by state,
    what is not named is kept; pruned every `prune_every`. `schedules`: whether it fires the schedules of the store, as
    far as the store has any. `name` is for people.

    >>> WorkerSettings(concurrency=100).lease_time
    30.0
    """

    concurrency: int = 10
    queues: tuple[str, ...] | None = None
    lease_time: float = 30.0
    poll: float = 1.0
    grace: float = 30.0
    prefetch: int = 500
    stall_warn: float = 5.0
    stall_limit: float | None = None
    retention: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_RETENTION))
    prune_every: float = 60.0
    schedules: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InvalidOption(f"concurrency must be at least 1, not {self.concurrency!r}")
        if self.prefetch < 0:
            raise InvalidOption(f"prefetch must be 0 or more, not {self.prefetch!r}")
        if self.queues is not None and not self.queues:
            raise InvalidOption("queues must name at least one queue; None means all")
        for name in ("lease_time", "poll", "stall_warn", "prune_every"):
            self._check(name, above=True)
        self._check("grace", above=False)
        if self.stall_limit is not None:
            self._check("stall_limit", above=True)

    def _check(self, name: str, *, above: bool) -> None:
        value: float = getattr(self, name)
        if not math.isfinite(value) or value < 0 or (above and value == 0):
            least = "above 0" if above else "0 or more"
            raise InvalidOption(f"{name} must be {least} seconds, not {value!r}")
