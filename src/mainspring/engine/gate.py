"""Which claimed job may start next: none in doubt, none after a stop, and suspects apart from all others (RULES C6).

A suspect was running when its worker died, and may have killed it. So that it can be told from innocents, it starts
only while no other start is younger than a second, and nothing else starts before it has run a second or ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from mainspring.engine.buffer import Buffer, Entry
from mainspring.engine.liveness import Liveness
from mainspring.engine.running import Register, Running

APART: Final = 1.0
"""Seconds between the start of a suspect and any other start."""

_SOON: Final = APART - 0.001
"""When a second is over: a timer may ring a little early, and must not be set again for the rest."""

CHECKED_EVERY: Final = 0.001
"""Seconds for which it is good to know that the leases hold and that not too many settlements wait."""


class Gate:
    """Opens for one job after the other. `go` is called when it may open again; `doubt` when the lease is in doubt."""

    def __init__(
        self,
        *,
        register: Register,
        liveness: Liveness,
        full: Callable[[], bool],
        go: Callable[[], None],
        doubt: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._register = register
        self._liveness = liveness
        self._full = full
        self._go = go
        self._doubt = doubt
        self._waiting: Entry | None = None
        self._suspect: Running | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._checked = float("-inf")
        self.moved = float("-inf")
        """When a job was taken out last, or could have been (time of the loop)."""
        self.closed = False
        """Nothing starts any more: the worker stops."""
        self.in_doubt = False
        """Nothing starts until the store has said which leases still hold."""
        self.cancelled: set[str] = set()
        """Claimed jobs that somebody wants cancelled before they start."""

    def hold(self, suspect: Entry) -> None:
        """A suspect has been claimed. It comes before everything in the buffer, and is never part of it."""
        self._waiting = suspect

    @property
    def apart(self) -> bool:
        """Whether a suspect waits for its start, or started a moment ago: nothing else should be claimed now."""
        return self._waiting is not None or (self._suspect is not None and self._keeps_apart(self._loop.time()))

    @property
    def calm(self) -> bool:
        """Whether a suspect could start at once."""
        if self.apart:
            return False
        youngest = self._register.youngest() if self._register else None
        return youngest is None or self._loop.time() - youngest >= _SOON

    def open_for(self, buffer: Buffer) -> bool:
        """Whether there is anything to be started, and no reason that will last."""
        return (len(buffer) > 0 or self._waiting is not None) and not self.closed and not self.in_doubt

    def next(self, buffer: Buffer, now: float) -> Entry | None:
        """Take out the next job, if it may start `now` (time of the loop)."""
        if now - self._checked > CHECKED_EVERY:
            if self._full() or not self._sure():
                return None
            self._checked = now
        if self.closed or self.in_doubt:
            return None
        if self._suspect is not None and self._keeps_apart(now):
            self._again_at(self._suspect.since + APART)
            return None
        if self._waiting is not None:
            return self._next_suspect(now)
        self.moved = now
        return buffer.pop()

    def started(self, entry: Entry, running: Running) -> None:
        """A job has started and waits for something."""
        if entry.job.suspect:
            self._suspect = running

    def ended(self, running: Running) -> None:
        """A job that had waited has ended."""
        if self._suspect is running:
            self._suspect = None

    def take_back(self, wanted: Callable[[Entry], bool] = lambda _: True) -> list[Entry]:
        """Give up the suspect that waits for its start, if it is wanted back."""
        entry = self._waiting
        if entry is None or not wanted(entry):
            return []
        self._waiting = None
        return [entry]

    def close(self) -> None:
        """Start nothing any more."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()

    def open_after_doubt(self) -> None:
        """The store has said which leases hold."""
        self.in_doubt = False
        self._go()

    @property
    def waiting(self) -> Entry | None:
        """The suspect that waits for its start."""
        return self._waiting

    def cancel(self, jobs: Sequence[str], buffer: Buffer) -> None:
        """These jobs are to be cancelled; those in the buffer are when their turn comes."""
        wanted = set(jobs)
        held = [*buffer] if self._waiting is None else [*buffer, self._waiting]
        self.cancelled |= {entry.job.id for entry in held if entry.job.id in wanted}

    def _next_suspect(self, now: float) -> Entry | None:
        youngest = self._register.youngest()
        if youngest is not None and now - youngest < _SOON:
            self._again_at(youngest + APART)
            return None
        entry, self._waiting = self._waiting, None
        return entry

    def _keeps_apart(self, now: float) -> bool:
        return self._suspect is not None and now - self._suspect.since < _SOON

    def _sure(self) -> bool:
        if self._liveness.sure:
            return True
        self.in_doubt = True
        self._doubt()
        return False

    def _again_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._go)
