"""How soon a worker process that died is replaced: at once, but never in a hot loop. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mainspring.service.restarts import FailureRate, Restarts

FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 30.0
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
    0.49
    0.94
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
        exponent = min(self.rate.count - 2.0, 10.0)  # beyond it the cap has long been reached
        backoff: float = FIRST_WAIT * 2.0**exponent
        return min(LONGEST_WAIT, max(backoff, self.restarts.least_wait(self.rate)))
