"""Knowing without asking that nothing was committed: what costs next to nothing may be done often."""

from __future__ import annotations

import os
from time import monotonic
from typing import Final

from mainspring.store.base import Swept
from mainspring.store.sqlite.liveness import Liveness

DOUBT: Final = 1.0
"""Seconds that a commit may take from the change of the log until it can be seen."""

SAME_TIME: Final = 0.025
"""Seconds within which two changes of a file may bear the same time: the clock of files is coarse."""

LONGEST_TRUST: Final = 0.25
"""Seconds after which what is committed is looked at whatever the times say."""


class LogFile:
    """A cheap look, by the file's times, whether the expensive one at what was committed can show anything.

    A change of the log comes before its commit can be seen, which waits for the disk, and two changes may bear the same
    time. So after a change it is in doubt until something was seen and a moment has passed; and now and then anyway.

    >>> LogFile("/no/such/file").may_have_grown()
    True
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._last: tuple[int, int] | None = None
        self._doubt_until = 0.0
        self._asked = 0.0

    def may_have_grown(self) -> bool:
        """Whether to look at what was committed."""
        now = monotonic()
        try:
            found = os.stat(self._path)  # noqa: PTH116  # a hundred times a second
            state = (found.st_mtime_ns, found.st_size)
        except OSError:
            return True
        if state != self._last:
            self._last = state
            self._doubt_until = now + DOUBT
        elif now >= self._doubt_until and now < self._asked + LONGEST_TRUST:
            return False
        self._asked = now
        return True

    def seen(self) -> None:
        """A commit was seen: what comes with the same time comes very soon."""
        self._doubt_until = min(self._doubt_until, monotonic() + SAME_TIME)

    def doubt(self) -> None:
        """The look failed."""
        self._doubt_until = monotonic() + DOUBT


class LastSweep:
    """The last sweep of a store that found nothing to do, which is the answer of the next as long as nothing changes.

    What may change it: a commit, the time of what is due, the death of another worker.
    """

    def __init__(self, log: str, liveness: Liveness) -> None:
        self._log = LogFile(log)
        self._liveness = liveness
        self._found: Swept | None = None
        self._others: list[str] = []

    def answer(self, worker: str, now: float) -> Swept | None:
        """The same again; None: the store must look."""
        if self._log.may_have_grown() or self._found is None or now < self._found.now:
            return None
        due = self._found.next_due
        if due is not None and due <= now:
            return None
        if any(each != worker and self._liveness.look(each) != "lives" for each in self._others):
            return None
        return self._found._replace(now=now)

    def keep(self, found: Swept | None, others: list[str]) -> None:
        """What a look found, and whom it saw; None: there was something to do."""
        self._found = found
        self._others = others
