"""A worker process of `mainspring run`: imports the app, works its jobs, tells its parent, stops when it is told to.

Started as `python -m mainspring.cli.child ORDER`. It stops when the parent says so, by SIGTERM, or when the pipe to
the parent ends: then the parent is dead.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn, TextIO

import msgspec

from mainspring.app.app import App
from mainspring.cli.loading import NotLoaded, home_of, load_app
from mainspring.cli.logs import configure
from mainspring.cli.settings import Exit, WorkerOrder
from mainspring.cli.started import Started
from mainspring.cli.words import TICK, Left, Longest, NotUp, Ready, Refused, Stop, Word, line, tick_every, word_of
from mainspring.engine.drained import Stopped
from mainspring.engine.events import JobEnded, JobStarted, LeaseLost, WorkerStopped
from mainspring.engine.patient import LOOP_RETRY
from mainspring.engine.settings import WorkerSettings
from mainspring.engine.worker import Worker
from mainspring.errors import InvalidOption, MainspringError, StoreUnavailable
from mainspring.service import Service, Supervisor
from mainspring.service.signals import caught

log = logging.getLogger("mainspring.run")

IMPORT_FAILED: Final = "the app could not be imported; the traceback above says why"


def main() -> None:
    """The whole life of this process."""
    order = msgspec.json.decode(sys.argv[1], type=WorkerOrder)
    configure(order.settings.log_level, order.settings.log_format)
    for end in (order.pipe, order.table):
        os.set_inheritable(end, False)
    pipe = socket.socket(fileno=order.pipe)
    pipe.setblocking(False)
    # Else a process that a task forks would hold it, and hide the death of this one.
    os.register_at_fork(after_in_child=pipe.close)
    since = time.time()
    try:
        app = load_app(order.settings.app)
    except NotLoaded as error:
        _refuse(pipe, str(error))
    except Exception:
        log.exception("%s could not be imported", order.settings.app)
        _refuse(pipe, IMPORT_FAILED)
    try:
        report = asyncio.run(WorkerChild(app, order, pipe, since).run())
    except StoreUnavailable as error:  # the next one tries again; a traceback each time would say no more
        log.error("worker process %d has failed: %s", order.number, error)  # noqa: TRY400  # see above
        raise SystemExit(Exit.FAILED) from None
    except Exception:
        log.exception("worker process %d has failed", order.number)
        raise SystemExit(Exit.FAILED) from None
    if report.left_behind:
        # Python would wait for their threads, maybe for ever; what they hold has been handed back.
        _leave(Exit.LOST if report.lost else Exit.CLEAN)
    raise SystemExit(Exit.LOST if report.lost else Exit.CLEAN)


class WorkerChild:
    """Runs one worker of the app, and is its mouth and ear towards the parent."""

    def __init__(self, app: App, order: WorkerOrder, pipe: socket.socket, since: float) -> None:
        self._app = app
        self._since = since
        self._settings = order.settings
        self._number = order.number
        self._pipe = pipe
        self._started = Started(order.table)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._worker: Worker | None = None
        self._announced = False
        self._told = 0.0
        self._report = Stopped()

    async def run(self) -> Stopped:
        """Work until told to stop, or until nothing is due with `drain`."""
        with caught(self._signalled), self._listening():
            async with Supervisor(grace=0) as supervisor:
                ticks = tick_every(self._settings.lease_time)
                supervisor.add(Service("tick", self._tick, every=ticks, retry=LOOP_RETRY))
                supervisor.add(Service("hear", self._hear, retry=LOOP_RETRY))
                try:
                    await self._work()
                except Exception as error:
                    if not self._announced:
                        self._tell_of_start(error)
                    raise
        report = self._report
        self._say(Left(report.finished, report.handed_back, report.lost, report.left_behind))
        return report

    async def _work(self) -> None:
        await self._check_store()
        # What was imported stays. A full collection that looks at all of it holds every job up, for 45 ms or more.
        gc.freeze()
        async with self._app.working(self._worker_settings()) as worker:
            self._worker = worker
            await self._announce(worker)
            await self._until_stopped(worker)
            await self._stop_worker(worker)

    def _worker_settings(self) -> WorkerSettings:
        given = self._settings
        return WorkerSettings(
            concurrency=given.concurrency,
            queues=given.queues,
            lease_time=given.lease_time,
            grace=given.grace,
            stall_limit=given.stall_limit,
            name=f"{given.app}#{self._number}",
        )

    async def _check_store(self) -> None:
        store = await self._app.store()
        if not store.features.shared:
            raise InvalidOption(
                "its store is in the memory of one process, so nobody else could enqueue; take one that several "
                'can use, such as App("sqlite:///work.db"). For tests see mainspring.testing'
            )

    async def _announce(self, worker: Worker) -> None:
        store = await self._app.store()
        code = str(home_of(self._settings.app))
        self._say(Ready(worker.id, self._app.url, store.features.shared, code, self._since))
        self._announced = True

    async def _until_stopped(self, worker: Worker) -> None:
        waiting: set[asyncio.Task[object]] = {asyncio.create_task(self._stop.wait())}
        if self._settings.drain:
            waiting.add(asyncio.create_task(self._drained(worker)))
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _drained(self, worker: Worker) -> None:
        await worker.hold_schedules()  # slots that come as fast as their jobs run would let it never end
        await self._app.idle()

    async def _stop_worker(self, worker: Worker) -> None:
        stopping = asyncio.create_task(worker.stop())
        hurrying = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                await worker.stop(now=True)
            self._report = await stopping
        finally:
            hurrying.cancel()

    def _tell_of_start(self, error: Exception) -> None:
        """Why no worker came up: what the app's own code raises may pass, what our checks say does not."""
        if isinstance(error, StoreUnavailable):
            self._say(NotUp(str(error), wait=True))
        elif isinstance(error, MainspringError):
            _refuse(self._pipe, f"{self._settings.app} cannot be run: {error}")
        else:
            self._say(NotUp("".join(traceback.format_exception_only(error)).strip()))

    # --- what the parent is told

    @contextmanager
    def _listening(self) -> Generator[None]:
        """Follow the engine's events: the table of started jobs, and the worker's last report."""
        events = self._app.events
        ends = [
            events.subscribe(JobStarted, lambda event: self._started.put(event.job)),
            events.subscribe(JobEnded, lambda event: self._started.drop(event.job)),
            events.subscribe(LeaseLost, lambda event: self._started.drop(event.job)),
            events.subscribe(WorkerStopped, self._stopped),
        ]
        try:
            yield
        finally:
            for end in ends:
                end()

    def _stopped(self, event: WorkerStopped) -> None:
        self._report = event.report

    async def _tick(self) -> None:
        longest = 0.0 if self._worker is None else self._worker.longest_timeout
        if longest != self._told:
            self._say(Longest(longest))
            self._told = longest
        self._send(TICK)

    def _say(self, word: Word) -> None:
        self._send(line(word))

    def _send(self, data: bytes) -> None:
        # A pipe that is full has a parent that does not read: it has missed nothing but ticks.
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            self._pipe.send(data)

    # --- what the parent and the system tell

    async def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        rest = b""
        while said := await self._received(loop):
            *lines, rest = (rest + said).split(b"\n")
            for each in lines:
                word = word_of(each)
                if isinstance(word, Stop):
                    self._stop.set()
                    if word.now:
                        self._hurry.set()
        log.warning("the parent process is gone: stopping")
        self._stop.set()

    async def _received(self, loop: asyncio.AbstractEventLoop) -> bytes:
        try:
            return await loop.sock_recv(self._pipe, 4096)
        except ConnectionError:
            return b""

    def _signalled(self, each: signal.Signals) -> None:
        """A signal never means "now" here: a service manager signals this process beside its parent, which decides."""
        log.info("%s: stopping", each.name)
        self._stop.set()


def _refuse(pipe: socket.socket, text: str) -> NoReturn:
    with suppress(OSError):  # the parent is gone: nobody is left to be told
        pipe.send(line(Refused(text)))
    _leave(Exit.USAGE)


def _leave(code: Exit) -> NoReturn:
    """End this process without waiting for threads."""
    streams: list[TextIO] = [sys.stdout, sys.stderr]
    for stream in streams:
        with suppress(OSError, ValueError):  # closed
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
