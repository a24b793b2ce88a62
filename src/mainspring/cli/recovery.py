"""How soon a worker process that died is replaced: at once, but never in a hot loop. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mainspring.retries.backoff import exponential
from mainspring.service.restarts import FailureRate, Restarts

LONGEST_WAIT: Final = 30.0
BACKOFF: Final = exponential(0.25, cap=LONGEST_WAIT)
NO_FAILURES: Final = FailureRate()
RESTARTS: Final = Restarts(half_life=30.0)


@dataclass(frozen=True, slots=True)
class Recovery:
    """The deaths of one worker process and its replacements, as a number that decays.

    The first death costs no wait; the more come in quick succession, the longer the next replacement waits.

    >>> recovery = Recovery()
    >>> for at in (0.0, 0.1, 0.5, 1.5):
    ...     recovery = recovery.died(at)
    ...     print(f"{recovery.wait:.2f}")
    0.00
    0.25
    0.50
    1.00
    """

    rate: FailureRate = NO_FAILURES
    restarts: Restarts = RESTARTS

    def died(self, at: float) -> Recovery:
        """One death more, at a monotonic time in seconds."""
        return Recovery(self.rate.failed(at, self.restarts), self.restarts)

    @property
    def wait(self) -> float:
        """Seconds until the replacement starts."""
        if self.rate.count < 1.5:
            return 0.0
        return max(BACKOFF(round(self.rate.count) - 2), self.restarts.least_wait(self.rate))
