"""The supervisor: keeps services up, stops all in order, and does not lose an error."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import signal
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

from mainspring.clock import Clock, Duration, SystemClock, seconds
from mainspring.errors import InvalidOption, SupervisorError
from mainspring.retries.attempt_store import policies_of
from mainspring.retries.policy import Fallback, Retry
from mainspring.service.counts import note_once
from mainspring.service.health import Health
from mainspring.service.nested import Nested
from mainspring.service.restarts import Restarts
from mainspring.service.running import Life
from mainspring.service.service import Service, instead_of
from mainspring.service.signals import caught
from mainspring.service.stopping import Entry, Grace, shut_down, stop_services

log = logging.getLogger("mainspring.service")

OnFailure = Literal["stop_all", "isolate"]


class Supervisor(Nested):
    """Keeps services up while its `async with` block lasts, and stops them all when it is left.

    A service starts when it is added; those that were added before the block start at each entry. An error is retried
    by the service's own policy, then by `baseline`; one that is not retried is permanent. With `on_failure="stop_all"`
    (the default) it stops all services, interrupts the block, and is raised from it; with `"isolate"` it ends its own
    service only and is logged. Failures in quick succession are slowed down by `restarts`.

    Services stop one after the other, the last added first. One with a `stop` hook may end by itself within
    `grace` (seconds, shared by all); the others are cancelled at once, and those with a hook when the grace is
    over. When all have ended, their shutdown hooks run, last added first, under one `grace` of their own. What
    cancels the block does not cancel this; a second cancellation ends the grace of the services at once.

    So leaving the block takes at most `grace`, then 5 s in which those that were cancelled clean up, then `grace` once
    more if there are shutdown hooks. (A supervisor below has 5 s for its own services within that, and its `grace` for
    their hooks.) What goes on even then, such as a thread that does not return, is left behind: it is logged, named by
    `overdue`, and `overdue` in `health()` until it ends.

    A cancelled block raises CancelledError, unless a service failed too: then the failure is raised. When the
    block itself raised, that error stays and the failure is noted on it. A supervisor handles no signals by
    itself; see `run_until_signal`. It may be entered again after it was left.

    A supervisor may be the `fn` of a service of another one: it then runs what was added to it before, is restarted
    as a whole by the policy of that service, and has ended when all its services have.

    Raises InvalidOption for options that cannot be.

    >>> async def main() -> tuple[Health, ...]:
    ...     async def hello() -> None:
    ...         print("hello")
    ...     async with Supervisor() as sup:
    ...         sup.add(Service("greeter", hello))
    ...         await sup.wait()
    ...     return sup.health()
    >>> asyncio.run(main())[0].state
    hello
    'ended'
    """

    def __init__(
        self,
        *,
        grace: Duration = 30.0,
        on_failure: OnFailure = "stop_all",
        restarts: Restarts | None = None,
        baseline: Fallback | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._grace = seconds(grace, "grace")
        if self._grace < 0 or math.isnan(self._grace):
            raise InvalidOption(f"grace must be 0 or more seconds, not {grace!r}")
        if on_failure not in {"stop_all", "isolate"}:
            raise InvalidOption(f'on_failure must be "stop_all" or "isolate", not {on_failure!r}')
        check_restarts(restarts)
        check_baseline(baseline)
        self._isolate = on_failure == "isolate"
        self._restarts = restarts or Restarts()
        self._baseline = baseline
        self._clock = clock or SystemClock()
        self._declared: dict[str, Service] = {}
        self._entered = False
        self._entries: dict[str, Entry] = {}
        self._before: dict[str, Life] = {}
        self._overdue: list[str] = []
        self._failures: list[tuple[str, BaseException]] = []
        self._parent: asyncio.Task[object] | None = None
        self._parent_cancels = 0
        self._interrupted = False
        self._torn_down = False
        self._closing: asyncio.Task[None] | None = None
        self._hurry: asyncio.Future[None] | None = None

    def add(self, service: Service) -> None:
        """Start a service now; before the block was entered, at each entry.

        Raises InvalidOption when one of that name is there, when it keeps its attempts and the baseline has rules
        without a stable key, and for what is no Service; SupervisorError when the block was left. A name is free again
        after `stop(name)`, when the service has ended.
        """
        check_service(service)
        if service.fn is self:
            raise InvalidOption(
                f"service {service.name!r} is this supervisor itself; a supervisor goes into another one"
            )
        if self._closing is not None or (self._entered and self._parent is None):
            raise SupervisorError(f"service {service.name!r} cannot be added: the supervisor is not running")
        known = self._entries.get(service.name)
        if service.name in self._declared if known is None else not (known.released and known.over):
            raise InvalidOption(f"a service named {service.name!r} was added already; names are unique")
        for policy in policies_of(self._baseline):
            service.check_policy(policy)
        if self._entered:
            self._start(service)
        else:
            self._declared[service.name] = service

    async def stop(self, name: str) -> None:
        """Stop one service, within `grace`, and call its shutdown hook; its name is then free.

        Raises InvalidOption for an unknown name, and when a service wants to stop itself: it ends by returning.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise InvalidOption(f"there is no service named {name!r}")
        if entry.task is asyncio.current_task():
            raise InvalidOption(f"service {name!r} cannot stop itself; it ends by returning")
        self._overdue += await stop_services([entry], Grace(self._grace, self._hurry_up()))
        await shut_down([entry], self._grace)
        entry.released = True

    async def wait(self) -> None:
        """Wait until every service has ended; at once when there is none. Raises the error that stopped them."""
        self._check_entered()
        await self._all_ended()
        if self._failures:
            raise self._failures[0][1]

    async def run(self) -> None:
        """Run what was added before until every service has ended; for a program of services alone, and for nesting.

        >>> async def hello() -> None:
        ...     print("hello")
        >>> sup = Supervisor()
        >>> sup.add(Service("greeter", hello))
        >>> asyncio.run(sup.run())
        hello
        """
        async with self:
            await self.wait()

    async def run_until_signal(self) -> signal.Signals | None:
        """Wait for SIGINT or SIGTERM, or until every service has ended; then stop all and return the signal.

        A second signal means: stop now, the grace is over. Works in the main thread only (SupervisorError).
        """
        self._check_entered()
        first: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

        def told(each: signal.Signals) -> None:
            if first.done():
                log.warning("%s again: stopping now", each.name)
                self.hurry()
            else:
                log.info("%s: stopping", each.name)
                first.set_result(each)

        with caught(told):
            ended = asyncio.create_task(self._all_ended())
            either: set[asyncio.Future[signal.Signals] | asyncio.Task[None]] = {first, ended}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ended.cancel()
                await self._close_and_wait()
        return first.result() if first.done() else None

    def hurry(self) -> None:
        """End the grace now: services that have not stopped by themselves are cancelled, as by a second signal."""
        if self._hurry is not None and not self._hurry.done():
            self._hurry.set_result(None)

    def health(self) -> tuple[Health, ...]:
        """How every service is doing, sorted by name; also after the block was left.

        Those of a supervisor below are there as `outer/inner`.
        """
        found: list[Health] = []
        for name in sorted(self._entries):
            life = self._entries[name].life
            found.append(life.health)
            if life.nested is not None:
                found += [replace(each, name=f"{name}/{each.name}") for each in life.nested.health()]
        return tuple(found)

    @property
    def overdue(self) -> tuple[str, ...]:
        """The services that had to end and did not: cancelled, in the order they were stopped, or after a timeout.

        A thread that goes on after the timeout of its run is one while it does. Those of a supervisor below are
        there as `outer/inner`.
        """
        found = list(self._overdue)
        for name, entry in self._entries.items():
            found += [name] if entry.life.overdue else []
            found += [f"{name}/{each}" for each in entry.life.nested.overdue] if entry.life.nested else []
        return tuple(dict.fromkeys(found))

    @property
    def unwinding(self) -> float:
        """Seconds that it may need after `hurry`, for a supervisor above it."""
        entries = self._entries.values()
        hooks = any(entry.life.service.on_shutdown is not None for entry in entries)
        return max((entry.unwinding for entry in entries), default=0.0) + (self._grace if hooks else 0.0)

    async def __aenter__(self) -> Self:
        if self._parent is not None:
            raise SupervisorError("this supervisor is running already")
        self._parent = asyncio.current_task()
        self._parent_cancels = self._parent.cancelling() if self._parent else 0
        self._before |= {name: entry.life for name, entry in self._entries.items() if entry.life.goes_on}
        self._entries, self._overdue, self._failures = {}, [], []
        self._interrupted, self._torn_down, self._closing, self._entered = False, False, None, True
        self._hurry = asyncio.get_running_loop().create_future()
        for service in self._declared.values():
            self._start(service)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        if self._interrupted and self._parent is not None and self._parent.uncancel() <= self._parent_cancels:
            cancelled = None  # it was our own interruption, and nobody else's
        try:
            await self._close_and_wait()
        except asyncio.CancelledError as again:
            cancelled = cancelled or again
        finally:
            self._parent = None
        if self._failures:
            self._raise_failure(error, cancelled)
        elif cancelled is not None and cancelled is not error:
            raise cancelled

    def _raise_failure(self, error: BaseException | None, cancelled: asyncio.CancelledError | None) -> None:
        (name, failure), *others = self._failures
        if failure is error:
            return  # raised in the block by wait(), and on its way
        told = [f"service {other!r} failed as well: {what!r}" for other, what in others]
        if error is not None and not isinstance(error, asyncio.CancelledError):
            note_once(error, f"service {name!r} failed: ", "\n".join([repr(failure), *told]))
            return
        if cancelled is not None:
            told.append("the supervisor was cancelled, too")
        note_once(failure, f"raised by service {name!r}", "\n".join(["", *told]))
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context  # not the interruption of the block, which came after it

    def _start(self, service: Service) -> None:
        life = Life(service, self._clock, self._restarts, self._baseline, self._before.pop(service.name, None))
        task = asyncio.create_task(life.run(), name=f"service:{service.name}")
        self._entries.pop(service.name, None)  # so that it becomes the last one added
        self._entries[service.name] = entry = Entry(life, task)
        task.add_done_callback(lambda _: self._ended(entry))

    def _ended(self, entry: Entry) -> None:
        error = None if entry.task.cancelled() else entry.task.exception()
        if error is None:
            return
        if self._isolate:
            entry.life.log.error("service %r has failed for good; the others go on", entry.name, exc_info=error)
            return
        self._failures.append((entry.name, error))
        if self._closing is None and self._parent is not None:
            entry.life.log.error("service %r has failed for good; all services stop: %r", entry.name, error)
            self._close()
            self._interrupted = True
            self._parent.cancel()

    async def _all_ended(self) -> None:
        while running := [entry.task for entry in self._entries.values() if not entry.task.done()]:
            await asyncio.wait(running)  # others may be added meanwhile

    async def _close_and_wait(self) -> None:
        """Stop everything, whatever cancels the caller; a CancelledError that came meanwhile is raised at the end."""
        self._close()
        caller = asyncio.current_task()
        cancels = caller.cancelling() if caller else 0
        cancelled: asyncio.CancelledError | None = None
        while not self._closed():
            assert self._closing is not None
            try:
                await asyncio.wait({self._closing})
            except asyncio.CancelledError as error:
                if caller is not None and caller.cancelling() > cancels:
                    cancelled = error
                    self.hurry()
        if cancelled is not None:
            raise cancelled

    def _closed(self) -> bool:
        """Whether the stop is done. The end of the loop (asyncio.run) cancels it like all tasks: it begins anew, once."""
        closing = self._closing
        if closing is None or not closing.done():
            return False
        if closing.cancelled() and not self._torn_down:
            self._torn_down, self._closing = True, None
            self.hurry()
            self._close()
            return False
        closing.result()
        return True

    def _close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._stop_all(), name="supervisor:stop")

    async def _stop_all(self) -> None:
        entries = list(reversed(self._entries.values()))
        self._overdue += await stop_services(entries, Grace(self._grace, self._hurry_up()))
        await shut_down(entries, self._grace)

    def _hurry_up(self) -> asyncio.Future[None]:
        self._check_entered()
        assert self._hurry is not None
        return self._hurry

    def _check_entered(self) -> None:
        if not self._entered:
            raise SupervisorError("the supervisor was never entered; use `async with`, or run()")


def check_restarts(restarts: object) -> None:
    """Raise InvalidOption unless this is a Restarts or None."""
    if restarts is not None and not isinstance(restarts, Restarts):
        raise InvalidOption(
            f"restarts must be a Restarts, as in Restarts(threshold=20, pause=10), not {restarts!r}; how often a service"
            " runs again is said by its own policy, retry=Retry(on=…, attempts=…)"
        )


def check_baseline(baseline: object) -> None:
    """Raise InvalidOption unless this can be asked about errors, or is None."""
    if isinstance(baseline, Retry):
        raise InvalidOption(
            "baseline must be a Baseline, not a Retry: Baseline({TRANSPORT: policy}) is for errors of the transport,"
            " Baseline(unknown=policy) for those that nobody knows; for one service write Service(…, retry=policy)"
        )
    if baseline is not None and (isinstance(baseline, type) or not callable(getattr(baseline, "advise", None))):
        raise InvalidOption(f"baseline must be a Baseline, or have an advise() as it has, not {baseline!r}")


def check_service(service: object) -> None:
    """Raise InvalidOption for what is no Service."""
    if not isinstance(service, Service):
        how = f"; {instead_of(service)}" if inspect.isawaitable(service) or inspect.isgenerator(service) else ""
        raise InvalidOption(f'add takes a service, as in add(Service("poll", poll)), not {service!r}{how}')
