"""How fast something fails, as a number that decays: the brake on a service that fails over and over.

The idea is that of the `suture` supervisor trees (thejerf/suture): each failure adds one, and what was counted
halves every `half_life`. Pure: the time is given, no clock is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mainspring.clock import Duration, seconds
from mainspring.errors import InvalidOption


@dataclass(frozen=True, slots=True)
class Restarts:
    """When to slow down restarts, whatever the retry policy says.

    While the decayed number of failures is above `threshold`, a service waits at least `pause` before it runs
    again. With the defaults that takes more than 20 failures in quick succession; failures a second apart or
    more never get there, so a backoff of a second is left as it is. Raises InvalidOption for values that are
    not above 0.

    >>> rate = FailureRate()
    >>> for _ in range(21):
    ...     rate = rate.failed(at=100.0, restarts=Restarts())
    >>> Restarts().least_wait(rate), Restarts(threshold=50).least_wait(rate)
    (10.0, 0.0)
    """

    threshold: float = 20.0
    half_life: Duration = 10.0
    pause: Duration = 10.0

    def __post_init__(self) -> None:
        threshold: object = self.threshold
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise InvalidOption(f"threshold of Restarts must be a number of failures, not {threshold!r}")
        for field in ("threshold", "half_life", "pause"):
            value = seconds(getattr(self, field), f"{field} of Restarts")
            if not math.isfinite(value) or value <= 0:
                raise InvalidOption(f"{field} of Restarts must be above 0, not {value!r}")
            object.__setattr__(self, field, value)

    def least_wait(self, rate: FailureRate) -> float:
        """Seconds to wait at least after the failure that was counted last; 0 when the policy alone decides."""
        return seconds(self.pause) if rate.count > self.threshold else 0.0


@dataclass(frozen=True, slots=True)
class FailureRate:
    """The decayed number of failures at the time of the last one."""

    count: float = 0.0
    last: float = 0.0

    def failed(self, at: float, restarts: Restarts) -> FailureRate:
        """One failure more, at a monotonic time in seconds."""
        return replace(self, count=self.decayed(at, restarts) + 1.0, last=max(at, self.last))

    def decayed(self, at: float, restarts: Restarts) -> float:
        """What is left of the count at a time; a time before the last failure counts as that failure's."""
        passed = max(0.0, at - self.last)
        return float(self.count * 0.5 ** (passed / seconds(restarts.half_life)))
