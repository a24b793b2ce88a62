"""A service: a function that must stay up, or one that runs at an interval, and what to do when it fails."""

from __future__ import annotations

import inspect
import logging
import math
import threading
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Protocol

from mainspring.clock import Duration, seconds
from mainspring.errors import InvalidOption
from mainspring.retries.attempt_store import AttemptStore, unstable_rule
from mainspring.retries.decorate import is_async
from mainspring.retries.policy import Retry
from mainspring.service.nested import Nested
from mainspring.service.threads import InThread

Hook = Callable[[], Awaitable[object]]
"""An async function without arguments."""

Work = Callable[[], object] | Callable[[threading.Event], object]
"""An async function without arguments, or a sync one that may take the event which asks it to stop."""

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


class Runnable(Protocol):
    """An object that can be a service. Its `run` may be async or not."""

    def run(self) -> object:
        """One run: until it returns (one-shot) or one tick (interval)."""
        ...


class StoppableRunnable(Protocol):
    """A sync object that can be a service and wants to be told to stop."""

    def run(self, stop: threading.Event, /) -> object:
        """One run, in a thread of its own; to return soon when `stop` is set."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """What must stay up, as a value; a `Supervisor` runs it.

    `fn` is a function without arguments, or an object with such a `run()`, async or not; a `Supervisor` is one.
    Without `every` it is a one-shot: it runs once, and when it returns the service has ended. With `every` (seconds
    or timedelta) it runs at once and then at each tick, never beside itself; ticks missed while it ran are not made up.

    A sync function runs in a thread of its own. When it has one parameter without default it is given a
    `threading.Event` that is set when it is to return: its `timeout` is over, or the service stops. It has ended when
    it has returned, not before; one that does not return in time is told of as `overdue`, and keeps neither the
    supervisor nor the interpreter from ending. What it returns is awaited by the loop when it is a coroutine. A run
    that returns a generator, of which nothing has run, is an error that no policy retries.

    `retry` says which errors are worth another run; without it every error is permanent. A wait that the error itself
    asks for (`Retry-After`) stands in place of the backoff. Counts begin anew after
    each successful tick of an interval service, never for a one-shot. `give_up_after` is looked at when a run
    fails; it counts from the beginning of the first run since the counts began, so it suits intervals rather than
    one-shots that stay up for days. After a wait the service runs at once and its ticks start from there. What is
    for calls has no meaning here: `raise_group` is passed over, a retry budget or a circuit breaker is refused; put
    those on the calls that the service makes.

    `attempt_store` keeps the counts where they outlive this process, under the service's name: a service that had given up
    has one try after a restart. They are cleared at a success, not by a cancellation. Each rule then needs a key that
    stays the same.

    `timeout` is for each run. `delay` is waited for once, before the first run only. `stop` is called first when
    the supervisor stops the service, so that it can end by itself within `grace`; without it, and after `grace`,
    the service is cancelled. `on_shutdown` is called when all services of the supervisor have ended. `logger` gets
    what is logged about this service, in place of the logger "mainspring.service".

    Raises InvalidOption for a missing name or function and for options that cannot be.

    >>> def poll(stop: threading.Event) -> None: ...
    >>> Service("poll", poll, every=30).every
    30.0
    """

    name: str
    fn: Work | Runnable | StoppableRunnable
    _: KW_ONLY
    every: Duration | None = None
    retry: Retry | None = None
    timeout: Duration | None = None
    delay: Duration = 0.0
    stop: Hook | None = None
    on_shutdown: Hook | None = None
    logger: Logger | None = None
    attempt_store: AttemptStore | None = None

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not name:
            raise InvalidOption(
                f'a service needs a name and a function, as in Service("poll", poll); the name is {name!r}'
            )
        self._check_function()
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise InvalidOption(f"retry of service {self.name!r} must be a Retry, not {self.retry!r}")
        self._check_hook("stop", self.stop)
        self._check_hook("on_shutdown", self.on_shutdown)
        if self.logger is not None and not isinstance(self.logger, logging.Logger | logging.LoggerAdapter):
            raise InvalidOption(f"logger of service {self.name!r} must be one of `logging`, not {self.logger!r}")
        self._check_attempt_store()
        if self.retry is not None:
            self.check_policy(self.retry)
        for field in ("every", "timeout"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, self._in_seconds(field, above_zero=True))
        object.__setattr__(self, "delay", self._in_seconds("delay", above_zero=False))

    def run(self) -> Awaitable[object]:
        """Begin one run, without timeout or retry; a sync one in a thread."""
        thread = self.thread()
        if thread is not None:
            return thread.run()
        running = self._call()
        if not inspect.isawaitable(running):
            raise TypeError(f"service {self.name!r} returned {running!r} and is not async")
        return running

    def thread(self) -> InThread | None:
        """Where the runs of a sync function are made; None for an async one."""
        if is_async(self._call):
            return None
        return InThread(self.name, self._call, takes_stop=bool(required(self._call)))

    @property
    def nested(self) -> Nested | None:
        """The supervisor that this service is, if it is one."""
        return self.fn if isinstance(self.fn, Nested) else None

    def check_policy(self, policy: Retry) -> None:
        """Raise InvalidOption for a policy that this service cannot follow."""
        if policy.budget is not None or policy.breaker is not None:
            raise InvalidOption(
                f"service {self.name!r} cannot have a policy with a budget or a breaker: these are for calls. Put it on"
                " the function that the service calls, by @retry(policy); a supervisor slows services by `restarts`"
            )
        if self.attempt_store is not None and (rule := unstable_rule(policy)) is not None:
            raise InvalidOption(
                f"service {self.name!r} keeps its attempts, so each rule needs a name that stays the same: give the"
                f" rule for {rule.on!r} a key=…"
            )

    @property
    def _call(self) -> Callable[..., object]:
        return self.fn if callable(self.fn) else self.fn.run

    def _check_function(self) -> None:
        if isinstance(self.fn, type) or (not callable(self.fn) and not callable(getattr(self.fn, "run", None))):
            said = f"service {self.name!r} needs a function or an object with run(), not {self.fn!r}"
            raise InvalidOption(f"{said}; {instead_of(self.fn)}")
        if inspect.isgeneratorfunction(self._call) or inspect.isasyncgenfunction(self._call):
            raise InvalidOption(f"service {self.name!r} is a generator; give a function that returns")
        needed = required(self._call)
        names = ", ".join(each.name for each in needed)
        if needed and is_async(self._call):
            raise InvalidOption(
                f"service {self.name!r} is async and called without arguments, but needs {names}; bind them with"
                " functools.partial. It is told to stop by CancelledError"
            )
        if len(needed) > 1 or any(each.kind == each.KEYWORD_ONLY for each in needed):
            raise InvalidOption(
                f"service {self.name!r} needs {names}, and is given the event `stop` at most, by position; bind the"
                " others with functools.partial"
            )

    def _check_hook(self, field: str, hook: object) -> None:
        if hook is None:
            return
        says = f"{field} of service {self.name!r} must be an async function without arguments"
        if isinstance(hook, type) or not callable(hook):
            raise InvalidOption(f"{says}, not {hook!r}; {instead_of(hook)}")
        if inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
            raise InvalidOption(f"{says}, and is a generator")
        if needed := required(hook):
            names = ", ".join(each.name for each in needed)
            raise InvalidOption(f"{says}, but needs {names}; bind them with functools.partial")

    def _check_attempt_store(self) -> None:
        store: object = self.attempt_store
        methods = (getattr(store, method, None) for method in ("load", "add", "reset"))
        if store is None or (not isinstance(store, type) and all(map(callable, methods))):
            return
        if isinstance(store, int):
            hint = f"how often it runs is a matter of the policy: retry=Retry(on=…, attempts={store})"
        else:
            hint = f"as in attempt_store=SQLiteAttempts({store if isinstance(store, str) else 'attempts.db'!r})"
        raise InvalidOption(
            f"attempt_store of service {self.name!r} is a store in which failures are counted, not {store!r}; {hint}"
        )

    def _in_seconds(self, field: str, *, above_zero: bool) -> float:
        value = seconds(getattr(self, field), f"{field} of service {self.name!r}")
        if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
            least = "above 0" if above_zero else "0 or more"
            raise InvalidOption(f"{field} of service {self.name!r} must be {least}, not {value!r}")
        return value


def required(call: Callable[..., object]) -> tuple[inspect.Parameter, ...]:
    """The parameters without default; none when they cannot be seen, as those of some functions written in C."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return ()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(each for each in parameters if each.default is each.empty and each.kind not in variable)


def instead_of(given: object) -> str:
    """What to write in place of what is no function. A coroutine is closed: the error says what is wrong with it."""
    if inspect.iscoroutine(given):
        given.close()
    return "make an object of the class" if isinstance(given, type) else "pass the function itself, without calling it"
