"""The small parent of `mainspring run` (RULES C8): keeps worker processes up, and stops them in order.

It holds none of the user's code. It reads what the workers say on their pipes, replaces those that die, tells the
store at once which jobs a dead one had started, beats for one whose loop is busy, and kills one that stands still.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import sys
from pathlib import Path
from typing import Final

from mainspring.cli.recovery import Recovery
from mainspring.cli.reload import changes
from mainspring.cli.settings import Exit, RunSettings
from mainspring.cli.witness import Witness
from mainspring.cli.words import Ready
from mainspring.cli.workers import End, WorkerProcess
from mainspring.engine.patient import LOOP_RETRY
from mainspring.service import Service, Supervisor
from mainspring.service.signals import caught

log = logging.getLogger("mainspring.run")

START_LIMIT: Final = 60.0
"""Seconds of silence that a worker process has until it is up, when `stall_limit` is shorter: imports may be slow."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the silence of the workers; fewer for a short `stall_limit` or lease time."""

STOP_MARGIN: Final = 10.0
"""Seconds that a worker has beyond its grace to hand back and to leave, before it is killed."""

START_TRIES: Final = 3
"""How many worker processes may fail at their start, one after the other, before the first one has come up."""

SEVERITY: Final = (Exit.CLEAN, Exit.FAILED, Exit.LOST, Exit.STALLED, Exit.USAGE)


class Parent:
    """Runs worker processes until they have drained, a signal comes, or the app is refused or never comes up.

    `run` returns the exit code. The first SIGTERM or SIGINT asks the workers to stop within their grace, the second
    one to hand back now, the third kills them.
    """

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._workers: set[WorkerProcess] = set()
        self._witness = Witness(settings.lease_time)
        self._stop = asyncio.Event()
        self._signals = 0
        self._failed_starts = 0
        self._kill_at: float | None = None
        stall_limit = math.inf if settings.stall_limit is None else settings.stall_limit
        self._look_every = min(LOOK_EVERY, settings.lease_time / 20, stall_limit / 4)
        self._looked = asyncio.get_running_loop().time()
        self._outdated: set[WorkerProcess] = set()
        self._fresh = asyncio.Event()
        self._exit = Exit.CLEAN
        self._first: asyncio.Future[Ready | None] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Keep the workers up. Raises nothing that a user could do something about: the log has said it."""
        with caught(self._signalled):
            try:
                async with Supervisor(grace=0) as supervisor:
                    supervisor.add(Service("look", self._look, every=self._look_every, retry=LOOP_RETRY))
                    await self._keep_all()
            finally:
                await self._witness.close()
        return int(self._exit)

    async def _keep_all(self) -> None:
        """The first worker alone, so that what is wrong with the app is said once; then the others beside it."""
        keeping = [asyncio.create_task(self._keep(1))]
        ready = await self._first
        reloading: asyncio.Task[None] | None = None
        if ready is not None:
            keeping += [asyncio.create_task(self._keep(number)) for number in range(2, self._settings.processes + 1)]
            if self._settings.reload:
                reloading = asyncio.create_task(self._reload(Path(ready.code), ready.since))
        try:
            await asyncio.gather(*keeping)
        finally:
            if reloading is not None:
                reloading.cancel()
                await asyncio.gather(reloading, return_exceptions=True)

    def _refuse(self, text: str, code: Exit) -> None:
        print(f"mainspring: {text}", file=sys.stderr)
        self._worse(code)
        self._stop.set()

    # --- one place, and the workers that fill it one after the other

    async def _keep(self, number: int) -> None:
        recovery = Recovery()
        while not self._stop.is_set():
            try:
                worker = await WorkerProcess.start(self._settings, number)
            except OSError:
                log.exception("worker process %d could not be started", number)
            else:
                end = await self._follow(worker, number)
                if self._is_over(end, number):
                    break
                if worker in self._outdated:
                    self._outdated.discard(worker)
                    continue
            recovery = recovery.died(asyncio.get_running_loop().time())
            await self._pause(recovery.wait)
        if not self._first.done():
            self._first.set_result(None)

    async def _follow(self, worker: WorkerProcess, number: int) -> End:
        self._workers.add(worker)
        if self._stop.is_set():
            worker.ask_to_stop(now=self._signals > 1)
        try:
            while (word := await worker.listen()) is not None:
                if isinstance(word, Ready):
                    log.info("worker process %d (pid %d) is up: %s", number, worker.pid, word.worker)
                    self._witness.know(word)
                    if not self._first.done():
                        self._first.set_result(word)
        finally:
            self._workers.discard(worker)
            end = await worker.end()
        self._tell(end, number)
        await self._witness.ended(end)
        return end

    def _tell(self, end: End, number: int) -> None:
        if end.left is not None:
            log.info(
                "worker process %d has left: %d finished, %d handed back, %d lost settlements, %d left behind",
                number,
                end.left.finished,
                end.left.handed_back,
                end.left.lost,
                end.left.left_behind,
            )
        elif end.refused is None:
            known = "unknown" if end.started is None else len(end.started)
            log.error("worker process %d %s; jobs it had started: %s", number, end.cause, known)

    def _is_over(self, end: End, number: int) -> bool:
        """Whether this place is to stay empty."""
        if end.refused is not None and not self._first.done():
            self._refuse(end.refused, Exit.USAGE)
            return True
        if self._stop.is_set():
            self._worse(_code_of(end))
            return True
        if self._settings.drain and end.left is not None and end.code in {Exit.CLEAN, Exit.LOST}:
            self._worse(_code_of(end))
            return True
        if end.refused is not None:
            log.error("worker process %d cannot start: %s", number, end.refused)
        return not self._first.done() and self._gives_up(end)

    def _gives_up(self, end: End) -> bool:
        """Whether the app has failed to come up too often; a store that is away is waited for."""
        if end.not_up is not None and end.not_up.wait:
            return False
        self._failed_starts += 1
        if self._failed_starts < START_TRIES:
            return False
        if end.not_up is not None:
            why = end.not_up.text
        else:
            why = "it stood still, and was killed" if end.silent else f"it {end.cause}"
        self._refuse(f"{self._settings.app} did not come up in {START_TRIES} tries: {why}", _code_of(end))
        return True

    # --- stopping

    def _signalled(self, each: signal.Signals) -> None:
        self._signals += 1
        if self._signals == 1:
            log.info("%s: stopping; running jobs have %g s", each.name, self._settings.grace)
            self._begin_stop(now=False)
        elif self._signals == 2:
            log.warning("%s again: handing back now", each.name)
            self._begin_stop(now=True)
        else:
            log.warning("%s once more: killing the workers", each.name)
            for worker in self._workers:
                worker.kill()

    def _begin_stop(self, *, now: bool) -> None:
        self._stop.set()
        grace = 0.0 if now else self._settings.grace
        self._kill_at = asyncio.get_running_loop().time() + grace + STOP_MARGIN
        for worker in self._workers:
            worker.ask_to_stop(now=now)

    def _worse(self, code: Exit) -> None:
        self._exit = max(self._exit, code, key=SEVERITY.index)

    async def _pause(self, wait: float) -> None:
        """Wait, until this process stops or the code has changed."""
        waiting = [asyncio.create_task(self._stop.wait()), asyncio.create_task(self._fresh.wait())]
        try:
            await asyncio.wait(waiting, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    # --- looking after

    async def _look(self) -> None:
        loop, limit = asyncio.get_running_loop(), self._settings.stall_limit
        # No more than this process was awake for: after a stop of its own, the ticks wait to be read.
        passed, self._looked = min(loop.time() - self._looked, 2 * self._look_every), loop.time()
        for worker in list(self._workers):
            worker.look()
            worker.silence += passed
            allowed = (
                None if limit is None else max(limit, START_LIMIT if worker.ready is None else worker.longest_timeout)
            )
            if allowed is not None and worker.silence > allowed:
                log.error("pid %d has stood still for %.3g s (stall_limit): it is killed", worker.pid, allowed)
                worker.kill(silent=True)
            elif self._kill_at is not None and loop.time() > self._kill_at:
                log.error("pid %d has not stopped in time: it is killed", worker.pid)
                worker.kill()
        self._witness.beat(self._workers)

    async def _reload(self, folder: Path, since: float) -> None:
        """Replace the workers whenever the code has changed; for development."""
        async for path in changes(folder, since):
            log.info("%s has changed: the workers start anew", Path(path).name)
            self._fresh.set()  # those that wait after a failure need not any longer
            self._fresh.clear()
            self._outdated |= self._workers
            for worker in self._workers:
                worker.ask_to_stop(now=True)


def _code_of(end: End) -> Exit:
    """What the end of a worker says about the whole."""
    if end.silent or end.code == Exit.STALLED:
        return Exit.STALLED
    if end.left is None or end.code not in {Exit.CLEAN, Exit.LOST}:
        return Exit.FAILED
    return Exit.LOST if end.left.lost else Exit.CLEAN
