"""The supervisor: keeps services up, stops all in order, and does not lose an error."""

from __future__ import annotations

import asyncio
import logging
import signal
from types import TracebackType
from typing import Literal, Self

from mainspring.clock import Clock, Duration, SystemClock, seconds
from mainspring.errors import InvalidOption, SupervisorError
from mainspring.retries.policy import Fallback
from mainspring.service.health import Health
from mainspring.service.restarts import Restarts
from mainspring.service.running import Life
from mainspring.service.service import Service
from mainspring.service.signals import caught
from mainspring.service.stopping import Entry, Grace, shut_down, stop_services

log = logging.getLogger("mainspring.service")

OnFailure = Literal["stop_all", "isolate"]


class Supervisor:
    """Keeps services up while its `async with` block lasts, and stops them all when it is left.

    A service starts when it is added. An error is retried by the service's own policy, then by `baseline`; one
    that is not retried is permanent. With `on_failure="stop_all"` (the default) it stops all services, interrupts
    the block, and is raised from it; with `"isolate"` it ends its own service only and is logged. Failures in
    quick succession are slowed down by `restarts`.

    Services stop one after the other, the last added first. One with a `stop` hook may end by itself within
    `grace` (seconds, shared by all); the others are cancelled at once, and those with a hook when the grace is
    over. When all have ended, their shutdown hooks run, last added first, under one `grace` of their own. What
    cancels the block does not cancel this; a second cancellation ends the grace of the services at once.

    A cancelled block raises CancelledError, unless a service failed too: then the failure is raised. When the
    block itself raised, that error stays and the failure is noted on it. A supervisor handles no signals by
    itself; see `run_until_signal`. It may be entered again after it was left.

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
        self._grace = seconds(grace)
        if self._grace < 0:
            raise InvalidOption(f"grace must be 0 or more seconds, not {grace!r}")
        if on_failure not in {"stop_all", "isolate"}:
            raise InvalidOption(f'on_failure must be "stop_all" or "isolate", not {on_failure!r}')
        self._isolate = on_failure == "isolate"
        self._restarts = restarts or Restarts()
        self._baseline = baseline
        self._clock = clock or SystemClock()
        self._entries: dict[str, Entry] = {}
        self._overdue: list[str] = []
        self._failures: list[tuple[str, BaseException]] = []
        self._parent: asyncio.Task[object] | None = None
        self._parent_cancels = 0
        self._interrupted = False
        self._closing: asyncio.Task[None] | None = None
        self._hurry: asyncio.Future[None] | None = None

    def add(self, service: Service) -> None:
        """Start a service now. Raises InvalidOption when one of that name is there, SupervisorError when closed.

        A name is free again after `stop(name)`.
        """
        if self._parent is None or self._closing is not None:
            raise SupervisorError(f"service {service.name!r} cannot be added: the supervisor is not running")
        known = self._entries.get(service.name)
        if known is not None and not (known.released and known.task.done()):
            raise InvalidOption(f"a service named {service.name!r} was added already; names are unique")
        life = Life(service, self._clock, self._restarts, self._baseline)
        task = asyncio.create_task(life.run(), name=f"service:{service.name}")
        self._entries.pop(service.name, None)  # so that it becomes the last one added
        self._entries[service.name] = Entry(life, task)
        task.add_done_callback(lambda task: self._ended(service.name, task))

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
        await self._all_ended()
        if self._failures:
            raise self._failures[0][1]

    async def run_until_signal(self) -> signal.Signals | None:
        """Wait for SIGINT or SIGTERM, or until every service has ended; then stop all and return the signal.

        A second signal means: stop now, the grace is over. Works in the main thread only (SupervisorError).
        """
        first: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

        def told(each: signal.Signals) -> None:
            if first.done():
                log.warning("%s again: stopping now", each.name)
                self._end_grace()
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

    def health(self) -> tuple[Health, ...]:
        """How every service is doing, sorted by name; also after the block was left."""
        return tuple(self._entries[name].life.health for name in sorted(self._entries))

    @property
    def overdue(self) -> tuple[str, ...]:
        """The services that were cancelled and had not stopped in time, in the order they were stopped."""
        return tuple(self._overdue)

    async def __aenter__(self) -> Self:
        if self._parent is not None:
            raise SupervisorError("this supervisor is running already")
        self._parent = asyncio.current_task()
        self._parent_cancels = self._parent.cancelling() if self._parent else 0
        self._entries, self._overdue, self._failures = {}, [], []
        self._interrupted, self._closing = False, None
        self._hurry = asyncio.get_running_loop().create_future()
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
            error.add_note("\n".join([f"service {name!r} failed: {failure!r}", *told]))
            return
        if cancelled is not None:
            told.append("the supervisor was cancelled, too")
        failure.add_note("\n".join([f"raised by service {name!r}", *told]))
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context  # not the interruption of the block, which came after it

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if self._isolate:
            log.error("service %r has failed for good; the others go on", name, exc_info=error)
            return
        self._failures.append((name, error))
        if self._closing is None and self._parent is not None:
            log.error("service %r has failed for good; all services stop: %r", name, error)
            self._close()
            self._interrupted = True
            self._parent.cancel()

    async def _all_ended(self) -> None:
        while running := [entry.task for entry in self._entries.values() if not entry.task.done()]:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    async def _close_and_wait(self) -> None:
        """Stop everything, whatever cancels the caller; a CancelledError that came meanwhile is raised at the end."""
        self._close()
        closing, caller = self._closing, asyncio.current_task()
        assert closing is not None
        cancels = caller.cancelling() if caller else 0
        cancelled: asyncio.CancelledError | None = None
        while not closing.done():
            try:
                await asyncio.wait({closing})
            except asyncio.CancelledError as error:
                if caller is not None and caller.cancelling() > cancels:
                    cancelled = error
                    self._end_grace()
        closing.result()
        if cancelled is not None:
            raise cancelled

    def _close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._stop_all(), name="supervisor:stop")

    async def _stop_all(self) -> None:
        entries = list(reversed(self._entries.values()))
        self._overdue += await stop_services(entries, Grace(self._grace, self._hurry_up()))
        await shut_down(entries, self._grace)

    def _hurry_up(self) -> asyncio.Future[None]:
        if self._hurry is None:
            raise SupervisorError("the supervisor was never entered; use `async with`")
        return self._hurry

    def _end_grace(self) -> None:
        hurry = self._hurry_up()
        if not hurry.done():
            hurry.set_result(None)
