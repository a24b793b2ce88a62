"""From where a sweep looks for what is due and what is late, while dead entries cannot be removed (RULES H4).

What was promoted or has expired stays in its index as long as somebody's transaction may see it, at the lower end, where
a sweep looks. As long as that costs next to nothing it looks from the bottom; else for a small share of the time, and
otherwise from where it has found nothing before.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from mainspring.store.postgres.claims import CHEAP, LATE, Ration


class Floor(NamedTuple):
    """Nothing is due before `due`, nor expires before `expires`, but what was committed late; seconds since 1970."""

    due: float = -math.inf
    expires: float = -math.inf


class Floors:
    """What one process knows of it. `floor`: where to look for what the last look has found."""

    def __init__(self, cheap: float = CHEAP) -> None:
        """`cheap`: seconds that a look from the bottom may cost without being put off the next time."""
        self.floor = Floor()
        self.forgotten = 0
        self._cheap = cheap
        self._ration = Ration(cheap=cheap)
        self._now = -math.inf

    def begin(self, now: float) -> Floor:
        """Where to look next. `now` is that of the loop or of `time.monotonic`."""
        return Floor() if self._ration.allows(now) else self.floor

    def took(self, floor: Floor, cost: float, now: float) -> None:
        """A look from there took so long (seconds), also one that failed."""
        if floor == Floor():
            self._ration.took(cost, now)

    def found(self, now: float, due: float | None, expires: float | None) -> None:
        """The first that a look has found; `now` is the store's. What is added later lies above that.

        When the store's clock has stepped back, the next look is from the bottom.
        """
        if now < self._now - LATE:
            self._ration = Ration(cheap=self._cheap)
        self._now = now
        self.floor = Floor(
            min(now - LATE, math.inf if due is None else due), min(now - LATE, math.inf if expires is None else expires)
        )

    def forget(self) -> None:
        """Something may have been added below: the next look is from the bottom, whatever it costs.

        Who looks just now does not know of it: what they find is not to be remembered (`forgotten` has grown).
        """
        self.floor = Floor()
        self.forgotten += 1

    def joined(self, now: float) -> None:
        """A worker has joined: if not even the first look ends, what is added from now on is found."""
        if self.floor == Floor():
            self.floor = Floor(now - LATE, now - LATE)
