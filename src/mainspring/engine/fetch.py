"""Claiming: asks for work when there is room, and for nothing that is not asked for twice.

A claim that ended without an answer is sent again under its number, and gets what it had been given (RULES C2). The
worker's leases are compared with the store's between claims only, so that no claim is in flight meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from mainspring.engine.buffer import Buffer, Entry
from mainspring.engine.context import Surroundings
from mainspring.engine.gate import APART, Gate
from mainspring.engine.leases import Leases
from mainspring.engine.limits import Limits, Wish
from mainspring.engine.patient import patiently
from mainspring.engine.runner import Runners
from mainspring.engine.running import Register
from mainspring.engine.settler import Settler
from mainspring.model.record import JobRecord, Settlement
from mainspring.store.base import Claim, Claimed, Store

log = logging.getLogger("mainspring.engine")

STALE: Final = 1.0
"""Seconds after which a fast job that was fetched ahead, and has not been started, is handed back."""

COMPARED_APART: Final = 1.0
"""Seconds between two comparisons of leases with the store."""

COMES_BACK: Final = 1.0
"""Seconds after which a job comes back whose older attempt was still running here."""


class Fetch:
    """The loop that claims. `hint()` says that there may be work, `room()` that there may be room for it."""

    def __init__(
        self,
        store: Store,
        worker: str,
        *,
        poll: float,
        limits: Limits,
        buffer: Buffer,
        register: Register,
        gate: Gate,
        runners: Runners,
        settler: Settler,
        leases: Leases,
        mine: dict[str, int],
        around: Surroundings,
        beat: Callable[[], Awaitable[object]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._worker = worker
        self._poll = poll
        self._limits = limits
        self._buffer = buffer
        self._register = register
        self._gate = gate
        self._runners = runners
        self._settler = settler
        self._leases = leases
        self._mine = mine
        self._around = around
        self._beat = beat
        self._wake = asyncio.Event()
        self._number = 0
        self._more = True
        self._limited = False
        self._unlooked = True
        self._looked = self._loop.time()
        self._tidied = self._looked
        self._suspects_asked = float("-inf")
        self._suspect: str | None = None
        self._compare = False
        self._heard: frozenset[str] = frozenset()
        self._compared = float("-inf")
        self._task: asyncio.Task[object] | None = None
        self.paused: frozenset[str] = frozenset()
        """The queues that are paused, as the last beat said."""

    @property
    def torn_down(self) -> bool:
        """Whether its loop was cancelled: the worker ends, or the event loop does, which cancels all at once."""
        return self._task is not None and (self._task.done() or self._task.cancelling() > 0)

    def hint(self) -> None:
        """There may be something new to claim."""
        self._more = self._unlooked = True
        self._wake.set()

    def notice(self, queue: str) -> None:
        """This process has added a job to this queue; many stores have said so themselves by now."""
        if queue not in self._heard:
            self.hint()

    def room(self) -> None:
        """There may be room for more."""
        if self._limited or self._suspect_is_over():
            self._more = True
        if self._more:
            self._wake.set()

    def compare(self) -> None:
        """Compare leases with the store soon: an answer did not come, or it is time to."""
        self._compare = True
        self._wake.set()

    def pause(self, queues: Sequence[str]) -> None:
        """Hand back what was fetched ahead from these queues."""
        self.paused = paused = frozenset(queues)
        if paused:
            self._settler.hand_back(self._buffer.take(lambda entry: entry.job.queue in paused))

    async def run(self) -> None:
        """Until nothing may start any more."""
        self._task = asyncio.current_task()
        while not self._gate.closed:
            await self._wake.wait()
            self._wake.clear()
            if self._gate.in_doubt or (self._compare and self._may_compare()):
                await self._reconcile()
            while await self._claim():  # noqa: ASYNC110  # nothing is waited for
                # A store in memory answers without ever letting go of the loop; the others want their turn.
                await asyncio.sleep(0)

    async def run_hints(self) -> None:
        """Wait for hints of the store; poll where none come."""
        # A store that looks for what others add sees what this process adds first of all.
        tells = self._store.features.wake == "poll"
        while True:
            queues = self._limits.queues
            self._heard = frozenset(queues if tells else ())
            await self._store.wait(queues, self._poll)
            if self._loop.time() - self._tidied >= STALE:
                self._hand_back_stale()
            self.hint()

    async def _claim(self) -> bool:
        """Claim once, if there is room and may be work; whether to try again at once."""
        gate = self._gate
        if not self._more or self._settler.full or gate.closed or gate.in_doubt or gate.apart:
            return False
        began = self._loop.time()
        wish = self._limits.wish(len(self._register), self._buffer.lanes(), still=began - gate.moved)
        if wish is None:
            return await self._look(began, empty=not self._limits.queues)
        self._more = False
        claimed = await self._ask(wish, began)
        now = self._loop.time()
        self._around.offset = claimed.now - now
        if claimed.jobs:
            self._limits.claimed(now - began)
            self._take(claimed.jobs, now)
        cut_short = wish.may_leave(claimed.jobs)
        self._more = self._more or cut_short
        self._limited = wish.limited or cut_short
        return await self._look(now, empty=not claimed.jobs) or self._more

    async def _ask(self, wish: Wish, now: float) -> Claimed:
        self._number += 1
        request = Claim(self._worker, self._number, wish.lanes, wish.limit, self._suspects(now))
        asked = False

        async def ask() -> Claimed:
            nonlocal request, asked
            if asked:
                request = request._replace(repeat=True)
            asked = True
            return await self._store.claim(request)

        return await patiently(ask, "claim", unclear=self._note_unclear)

    def _suspects(self, now: float) -> int:
        """A suspect is best asked for when it can start at once; yet at least now and then, else it never could."""
        if not self._gate.calm and now - self._suspects_asked < APART:
            return 0
        self._suspects_asked = now
        return 1

    def _suspect_is_over(self) -> bool:
        """Whether the store knows by now how the last suspect ended: it gives out the next one only then."""
        if self._suspect is None or self._suspect in self._mine:
            return False
        self._suspect = None
        return True

    def _take(self, jobs: Sequence[JobRecord], now: float) -> None:
        entries: list[Entry] = []
        mine, lane_of = self._mine, self._limits.lane
        key, lane = ("", "", ""), None
        for job in jobs:
            if job.id in mine and self._still_here(job):
                continue
            mine[job.id] = job.lease
            if lane is None or key != (job.queue, job.task, job.version):
                key = (job.queue, job.task, job.version)
                lane = lane_of(*key)
            entry = Entry(job, lane, now)
            if job.suspect:
                self._suspect = job.id
                self._gate.hold(entry)
            else:
                entries.append(entry)
        if self._gate.cancelled:
            self._gate.cancelled.difference_update(job.id for job in jobs)
        self._buffer.push(entries)
        self._runners.go()
        if self._gate.closed:
            self.hand_back_all()

    def _still_here(self, job: JobRecord) -> bool:
        """A lease was lost without our knowledge, and its job came back to us: two attempts must not run here at once.

        True when the older attempt runs: it is ended, and the job handed back until it is gone.
        """
        self._buffer.take(lambda entry: entry.job.id == job.id)
        if job.id not in self._register:
            return False
        log.warning("job %s: its lease was lost and came back as %d; the older attempt is ended", job.id, job.lease)
        self._register.end([job.id], "lost")
        self._settler.put(Settlement(job=job.id, lease=job.lease, kind="release", after=COMES_BACK))
        return True

    async def _look(self, now: float, *, empty: bool) -> bool:
        """Look for lanes that nobody told us of: after a hint that brought nothing, and once in a while.

        Returns whether there are any.
        """
        if (empty and self._unlooked) or now - self._looked >= self._poll:
            self._unlooked = False
            self._looked = now
            found = await patiently(self._store.lanes, "lanes")
            if self._limits.learn_all(found):
                self._more = True
                return True
        return False

    def hand_back_all(self) -> None:
        """Hand back everything that was claimed and has not been started."""
        self._settler.hand_back([*self._buffer.take(lambda _: True), *self._gate.take_back()])

    def _note_unclear(self) -> None:
        self._compare = True

    def _may_compare(self) -> bool:
        """Not again at once: what a comparison hands back may be refused, and then call for the next one."""
        again = self._compared + COMPARED_APART
        if self._loop.time() >= again:
            return True
        self._loop.call_at(again, self._wake.set)
        return False

    async def _reconcile(self) -> None:
        if self._gate.in_doubt:
            await patiently(self._beat, "beat")
        self._compare = False
        self._compared = self._loop.time()
        await self._leases.compare()
        if self._gate.in_doubt:
            self._gate.open_after_doubt()

    def _hand_back_stale(self) -> None:
        """What was fetched ahead, and is stuck behind slower jobs, is somebody else's to run (RULES H8)."""
        self._tidied = self._loop.time()
        before = self._tidied - STALE
        self._settler.hand_back(self._buffer.take(lambda entry: entry.came < before))
