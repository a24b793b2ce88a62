"""Our own process pool: one child for each running job, which can be killed without hurting another (RULES H17).

A child is a fresh interpreter, never a fork: no locks, threads or connections of the parent come along. It decodes
the arguments and encodes the result itself, so the parent's loop stays free. It dies with its parent: the kernel
tells it when the parent's end of a pipe closes, whatever it is doing at that moment.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from mainspring.clock import outside_loop
from mainspring.codec import DEFAULT_LIMIT, clean_text
from mainspring.engine.outcomes import failure_of, outcome_of
from mainspring.engine.processes.carried import rebuilt
from mainspring.engine.processes.children import Child, Death
from mainspring.engine.processes.frames import Began, Order, Progress, Raised, Returned, Taken
from mainspring.engine.processes.importable import importable_path
from mainspring.engine.registry import Registered
from mainspring.errors import AttemptTimeout, InvalidOption, ProcessCrashed
from mainspring.model.conclude import Completed, Crashed, Failed, Outcome, Released, Stopped
from mainspring.model.record import JobRecord

log = logging.getLogger("mainspring.engine")

Why = Literal["timeout", "cancel", "shutdown"]

IMPORT_LIMIT: Final = 60.0
"""Seconds that a child may take to import the module of a task, before the attempt's own timeout begins."""

STARTS: Final = 3
"""How many children may die without having taken the job before it is handed back."""

START_WAIT: Final = 5.0
"""Seconds after which a job comes again for which no child could be started."""


@dataclass(slots=True, eq=False)
class Run:
    """One job in the pool: in which child, why it is killed, whom to tell that it began and how far it is."""

    order: Order
    timeout: float | None
    began: Callable[[], None]
    progress: Callable[[bytes], None]
    child: Child | None = None
    taken: bool = False
    why: Why | None = None
    limit: float = IMPORT_LIMIT

    def kill(self, why: Why) -> None:
        """End the child under it; the first reason stands."""
        self.why = self.why or why
        if self.child is not None:
            self.child.kill()


class ProcessPool:
    """Runs jobs of `process=True` tasks, each in a child process of its own, at most `size` at once.

    Children start when they are first needed and are used again; with `max_jobs` one is replaced after so many.
    Raises InvalidOption for a size or `max_jobs` below 1.
    """

    def __init__(self, size: int, *, max_jobs: int | None = None) -> None:
        if size < 1 or (max_jobs is not None and max_jobs < 1):
            raise InvalidOption(f"a process pool needs a size and max_jobs of 1 or more, not {size} and {max_jobs}")
        self._size = size
        self._max_jobs = max_jobs
        self._room = asyncio.Semaphore(size)
        self._idle: list[Child] = []
        self._runs: dict[str, Run] = {}
        self._reaping: set[asyncio.Future[Death]] = set()
        self._closed = False

    async def run(
        self,
        task: Registered,
        job: JobRecord,
        *,
        input: bytes | None = None,  # noqa: A002  # the word of JobOptions
        timeout: float | None = None,
        began: Callable[[], None] | None = None,
        progress: Callable[[bytes], None] | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Outcome:
        """Run one job and say how it went; never raises for what the task does.

        `input`: what the job gets of what it waited on, as JSON. `timeout`: seconds from the moment when the function
        begins in its child; then the child is killed. `began` is called at that moment,
        `progress` with each JSON that the function tells. `limit`: bytes that the result may have.
        Cancelling the caller kills the child. Raises TaskDefinitionError for a function that a child cannot import.
        """
        if self._closed:
            return Released()
        order = Order(
            path=importable_path(task.fn),
            job=job,
            input=input,
            takes_context=task.takes_context,
            store_result=task.store_result,
            limit=limit,
        )
        run = Run(order, timeout, began or _nothing, progress or _nothing)
        self._runs[job.id] = run
        try:
            with outside_loop(asyncio.get_running_loop()):
                async with self._room:
                    return await self._in_some_child(run)
        finally:
            if self._runs.get(job.id) is run:
                del self._runs[job.id]

    def kill(self, job_id: str, why: Why) -> bool:
        """End a running job: by timeout it has failed, by cancel it is stopped, by shutdown it is handed back.

        Answers False when the job is not here, or no longer.
        """
        run = self._runs.get(job_id)
        if run is not None:
            run.kill(why)
        return run is not None

    async def aclose(self) -> None:
        """Kill every child and wait until all are gone. What still runs, or comes later, is handed back."""
        if self._closed:
            return
        self._closed = True
        for run in list(self._runs.values()):
            run.kill("shutdown")
        for _ in range(self._size):  # the last place is free when the last run has ended
            await self._room.acquire()
        while self._idle:
            self._dismiss(self._idle.pop())
        if self._reaping:
            await asyncio.wait(self._reaping)

    async def _in_some_child(self, run: Run) -> Outcome:
        for _ in range(STARTS):
            if run.why is not None or self._closed:
                break
            try:
                run.child = await self._child()
            except OSError as error:
                log.error("no process could be started for job %s: %s", run.order.job.id, error)  # noqa: TRY400  # no stack
                return Released(START_WAIT)
            outcome = await self._in_child(run, run.child)
            if outcome is not None:
                return outcome
        if run.why is not None or self._closed:
            return _killed(run)
        log.error("%d child processes died before they took job %s; it comes again", STARTS, run.order.job.id)
        return Released(START_WAIT)

    async def _child(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            if child.idle_and_well:
                return child
            self._dismiss(child)
        return await Child.start()

    async def _in_child(self, run: Run, child: Child) -> Outcome | None:
        """The outcome; None when the child died before it had taken the job."""
        try:
            outcome = await self._listen(run, child)
        except BaseException:
            self._dismiss(child)
            raise
        finally:
            run.child = None
        worn = self._max_jobs is not None and child.jobs >= self._max_jobs
        if outcome is not None and run.why is None and not worn and not self._closed:
            self._idle.append(child)
            return outcome
        reaping = self._reaped(child)
        if outcome is not None:
            return outcome
        death = await asyncio.shield(reaping)
        if run.why is not None:
            return _killed(run)
        return _crashed(death) if run.taken else None

    async def _listen(self, run: Run, child: Child) -> Outcome | None:
        """Follow what the child says until it has ended the job, or has ended itself."""
        if run.why is not None:
            return None
        child.send(run.order)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(IMPORT_LIMIT, run.kill, "timeout")
        try:
            while (word := await child.word()) is not None:
                match word:
                    case Taken():
                        run.taken = True
                        child.jobs += 1
                    case Began():
                        timer.cancel()
                        if run.timeout is not None:
                            run.limit = run.timeout
                            timer = loop.call_later(run.timeout, run.kill, "timeout")
                        run.began()
                    case Progress(data):
                        run.progress(data)
                    case Returned(result):
                        return Completed(result)
                    case Raised():
                        return _raised(word)
        finally:
            timer.cancel()
        return None

    def _dismiss(self, child: Child) -> None:
        self._reaping.add(self._reaped(child))

    def _reaped(self, child: Child) -> asyncio.Future[Death]:
        """End a child; its death, when it has come."""
        child.kill()
        reaping = asyncio.ensure_future(child.gone())
        self._reaping.add(reaping)
        reaping.add_done_callback(self._reaping.discard)
        return reaping


def _raised(word: Raised) -> Outcome:
    outcome = outcome_of(rebuilt(word.error), word.failure)
    return dataclasses.replace(outcome, wait_hint=word.wait_hint) if isinstance(outcome, Failed) else outcome


def _killed(run: Run) -> Outcome:
    match run.why:
        case "timeout":
            error = AttemptTimeout(f"the attempt ran longer than {run.limit:g} s; its process was killed")
            return Failed(error, failure_of(error))
        case "cancel":
            return Stopped("cancelled by request")
        case _:
            return Released()


def _crashed(death: Death) -> Crashed:
    told = failure_of(ProcessCrashed(f"{death.cause} while it ran the job"))
    return Crashed(msgspec.structs.replace(told, traceback=clean_text(death.last_words)))


def _nothing(*_: object) -> None:
    """Told to nobody."""
