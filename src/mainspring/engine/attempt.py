"""One attempt: how the function of a task is called, and what its end says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context as Variables
from functools import partial
from types import CoroutineType, coroutine
from typing import Any, Final, Literal, Protocol, assert_never

from mainspring.codec import encode
from mainspring.engine.context import Context
from mainspring.engine.inputs import arguments_of, load_input
from mainspring.engine.options import JobOptions, stored_policy, unpack
from mainspring.engine.outcomes import failure_of, outcome_of
from mainspring.engine.patient import SURELY, patiently
from mainspring.engine.registry import Registered
from mainspring.engine.threads import Threads
from mainspring.engine.transaction import TransactionStore, run_within
from mainspring.errors import AttemptEnd, AttemptTimeout, ResultNotEncodable, TaskDefinitionError
from mainspring.model.conclude import Completed, Failed, GaveUp, Outcome, Released, Stopped
from mainspring.model.record import JobRecord
from mainspring.retries.policy import Retry

Body = Coroutine[Any, Any, object]
"""A function of a task under way; what it yields belongs to the loop."""

Ending = Literal["timeout", "cancel", "shutdown", "lost"]
"""Why the engine ended an attempt: its time was over, by request, the worker stops, the lease has gone."""

CANCELLED: Final = "cancelled by request"
STRANGER: Final = "the task was cancelled, but not by its worker"
NOBODY: Final = "the task raised CancelledError, but nobody had cancelled it"
DONE: Final = Completed(b"null")
"""What most attempts say; made once, since it is asked for so often."""

NO_ARGUMENTS: Final = b"{}"
NOT_KEPT: Final = Completed(None)


class Processes(Protocol):
    """Who runs the functions of `process=True` tasks. Cancelling `run` kills the child."""

    async def run(
        self,
        task: Registered,
        job: JobRecord,
        *,
        input: bytes | None = None,  # noqa: A002  # the word of JobOptions
        timeout: float | None = None,
        progress: Callable[[bytes], None] | None = None,
    ) -> Outcome:
        """What the attempt said. Never raises for what the task did; counts the timeout itself."""
        ...


class Plan:
    """What is known beforehand about the attempts of one task, with their number in this process."""

    __slots__ = (
        "bare",
        "decode",
        "fn",
        "held_to",
        "known",
        "policy",
        "quick",
        "running",
        "says_outcome",
        "stores_result",
        "timeout",
        "wants_context",
    )

    def __init__(self, known: Registered) -> None:
        self.known = known
        self.fn = known.fn
        self.decode = known.parameters.decode
        self.policy = known.retry
        self.timeout = known.timeout
        self.wants_context = known.takes_context
        self.stores_result = known.store_result
        self.quick = known.mode == "async" and not known.transaction
        self.says_outcome = known.mode == "process" or known.transaction
        self.bare = not known.parameters.required
        self.running = 0
        self.held_to = known.concurrency
        """How many jobs of the task this process may have, buffered or running; None: as many as there is room."""


class Attempts:
    """Calls functions, and reads what their ends say. Holds nothing about any single attempt."""

    def __init__(self, store: TransactionStore, threads: Threads, processes: Processes | None) -> None:
        self._store = store
        self._threads = threads
        self._processes = processes

    def begin(self, plan: Plan, context: Context) -> tuple[Body, object]:
        """The function, called, and what it waits for first. To be run in the job's own variables.

        Raises what the function raises; when it ends without waiting, StopIteration with its value.
        """
        job = context.job
        if not plan.quick or job.options:
            body: object = self._roundabout(plan, context)
        elif plan.bare and job.payload == NO_ARGUMENTS:
            body = plan.fn(context) if plan.wants_context else plan.fn()
        else:
            args, kwargs = plan.decode(job.payload)
            body = plan.fn(context, *args, **kwargs) if plan.wants_context else plan.fn(*args, **kwargs)
        if type(body) is not CoroutineType:
            body = awaited(body)
        return body, body.send(None)

    def completed(self, plan: Plan, job: JobRecord, value: object) -> Outcome:
        """The function returned this. What cannot be stored ends the job: its effect has happened (RULES M10)."""
        if plan.says_outcome and isinstance(value, Outcome):
            return value  # the pool, or the commit, has said it all
        if not plan.stores_result:
            return NOT_KEPT
        if value is None:
            return DONE
        try:
            return Completed(encode(value, what=f"the result of {job.task}"))
        except Exception as error:  # noqa: BLE001  # also what a user's own model raises when it is dumped
            refused = ResultNotEncodable(str(error))
            refused.__cause__ = error
            return GaveUp(failure_of(refused), "its result cannot be stored")

    async def _roundabout(self, plan: Plan, context: Context) -> object:
        """All that is not an async function with its own arguments alone."""
        job, known = context.job, plan.known
        options = options_of(job)
        given = await patiently(partial(load_input, self._store, job, options.input), "input", SURELY)
        if known.mode == "process":
            if self._processes is None:
                raise TaskDefinitionError(f"{known.name} has process=True, and this worker has no process pool")
            timeout = timeout_of(plan, options)
            sink = ProgressSink(context)
            return await self._processes.run(known, job, input=given, timeout=timeout, progress=sink)
        args, kwargs = arguments_of(known.parameters, job.payload, options.input, given)
        if known.takes_context:
            args = (context, *args)
        if known.transaction:
            return await run_within(
                self._store,
                context,
                lambda: awaited(known.fn(*args, **kwargs)),
                lambda value: self.completed(plan, job, value),
            )
        if known.mode == "sync":
            return await self._threads.run(known.fn, args, kwargs)
        return await awaited(known.fn(*args, **kwargs))


class ProgressSink:
    """Hands progress from a child process to the beat of this one."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, data: bytes) -> None:
        self._context.reported = data


def options_of(job: JobRecord) -> JobOptions:
    """What was given for this job in place of its task's own."""
    return unpack(job.options)


def timeout_of(plan: Plan, options: JobOptions) -> float | None:
    """Seconds that an attempt may take."""
    return plan.timeout if options.timeout is None else options.timeout


def policy_of(plan: Plan, job: JobRecord) -> Retry | None:
    """The policy that decides about this job."""
    return (stored_policy(options_of(job)) if job.options else None) or plan.policy


def ended(
    error: BaseException, ending: Ending | None, *, cancelled: bool, stopping: bool, timeout: float | None
) -> Outcome:
    """What an attempt says that raised this. `ending`: what the engine had done to it before.

    `cancelled`: whether its asyncio task was cancelled, by the engine or by somebody else. `stopping`: whether that
    can have been the end of the worker or of the loop.
    """
    if isinstance(error, KeyboardInterrupt):
        return Released()  # somebody ends the program, and the job has nothing to do with it
    if isinstance(error, AttemptEnd) and ending != "timeout":
        return outcome_of(error, failure_of(error))
    match ending:
        case "timeout":
            return timed_out(timeout, error)
        case "cancel" | "lost":
            return Stopped(CANCELLED)
        case "shutdown":
            return Released()
        case None:
            return _by_itself(error, cancelled=cancelled, stopping=stopping)
        case _:
            assert_never(ending)


def timed_out(timeout: float | None, cause: BaseException | None = None) -> Failed:
    """The attempt ran longer than it may; where it was then is told by the cause."""
    error = AttemptTimeout(f"the attempt ran longer than its timeout of {timeout or 0:g} s")
    error.__cause__ = cause
    return Failed(error, failure_of(error))


def _by_itself(error: BaseException, *, cancelled: bool, stopping: bool) -> Outcome:
    if isinstance(error, asyncio.CancelledError):
        if cancelled and stopping:
            return Released()
        swapped = RuntimeError(STRANGER if cancelled else NOBODY)
        swapped.__cause__ = error
        error = swapped
    return outcome_of(error, failure_of(error))


async def awaited(value: object) -> object:
    """The value of an awaitable that is not a plain coroutine. Raises TypeError for anything else."""
    if not isinstance(value, Awaitable):
        raise TypeError(f"an async task must return an awaitable, not {type(value).__name__}; make it `async def`")
    return await value


@coroutine
def rest_of(body: Body, waits_for: object, variables: Variables) -> Generator[object, object, object]:
    """Goes on with a body that was begun by hand and waits now: every step of it runs in its own variables."""
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001  # whatever the loop throws in is the body's
            step: Callable[..., object] = body.throw
            sent = error
        else:
            step = body.send
        try:
            waits_for = variables.run(step, sent)
        except StopIteration as stop:
            return stop.value
        except GeneratorExit as error:
            if isinstance(sent, GeneratorExit):
                raise  # we are closed ourselves, and have closed the body
            raise RuntimeError("the task raised GeneratorExit") from error
