"""Background calls: what each of them keeps, which are under way, and what becomes of them when the program ends."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    import asyncio  # slow to load, and threads need none

logger = logging.getLogger("mainspring.retries")

OnError = Callable[[Exception], object]
"""Is told of each failed attempt."""


class Stopped(BaseException):
    """Ends the attempts of a cancelled thread from within. No `Exception`, so that no policy can match it."""


class Work:
    """What the attempts know: how many have begun, whom to tell of failures, and whether there are to be more.

    The frames that an error holds refer to this, never to the `Call`, which holds the error. So no cycle keeps a
    call that nobody has any more, and its unread failure is logged at once.
    """

    __slots__ = ("_on_error", "attempts", "name", "stopping")

    def __init__(self, name: str, on_error: OnError | None) -> None:
        self.name = name
        self.attempts = 0
        self.stopping = threading.Event()
        self._on_error = on_error

    def pause(self, seconds: float) -> None:
        """A thread's wait before each of its attempts. Raises Stopped as soon as there is to be no other."""
        if self.stopping.wait(seconds):
            raise Stopped

    def failed(self, error: Exception) -> None:
        """Tell of the failure of an attempt."""
        if self._on_error is None:
            return
        try:
            self._on_error(error)
        except Exception:
            logger.exception("on_error of background call %s failed", self.name)


class Call:
    """One background call, from its start until nobody has its handle any more. Safe to use from any thread."""

    __slots__ = ("__weakref__", "cancelled", "cut", "ended", "failure", "hint", "known", "wait_at_exit", "work")

    def __init__(self, work: Work, *, wait_at_exit: float | None = None, hint: str) -> None:
        self.known = False  # whether somebody has been told how it ended
        self.cancelled = False  # by its handle
        self.cut = False  # cancelled by somebody else
        self.failure: BaseException | None = None
        self.ended = threading.Event()
        self.hint = hint  # what to do so that the program does not end without it
        self.wait_at_exit = wait_at_exit
        self.work = work

    def tell_unread(self) -> None:
        """Log how it failed, unless somebody knows already."""
        if self.known:
            return
        self.known = True
        if self.failure is not None:
            text = "background call %s failed in attempt %d, and nobody has read its result"
            logger.error(text, self.work.name, self.work.attempts, exc_info=self.failure)
        elif self.cut:
            text = "background call %s was cancelled in attempt %d, not by its handle: await background_done() in main"
            logger.warning(text, self.work.name, self.work.attempts)

    def tell_pending(self) -> None:
        """Log that the program ends without it."""
        text = "background call %s is pending in attempt %d, and the program ends%s"
        logger.warning(text, self.work.name, self.work.attempts, self.hint)

    def lose(self) -> None:
        """In a forked process: cancelled, because what ran it has stayed in the parent, as has who logs its failure."""
        self.known = True
        if not self.ended.is_set():
            self.cancelled = True
            self.ended = threading.Event()  # the old one may be locked by a thread that is not here
            self.ended.set()

    def __del__(self) -> None:
        if self.ended.is_set() and not sys.is_finalizing():
            self.tell_unread()


class Handle(ABC):
    """What the handles of threads and of tasks have in common."""

    __slots__ = ()

    @property
    @abstractmethod
    def _work(self) -> Work: ...

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether it has ended: with a value, with an error, or cancelled."""

    @property
    def name(self) -> str:
        """What logs call it, and the name of its thread or task."""
        return self._work.name

    @property
    def attempts(self) -> int:
        """How many attempts have begun so far."""
        return self._work.attempts

    def __repr__(self) -> str:
        state = "done" if self.done else "pending"
        return f"<{type(self).__name__} {self.name} {state}, attempts={self.attempts}>"


class Calls:
    """The background calls of this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # again from the same thread: collecting garbage may call anything
        self._pending: dict[asyncio.AbstractEventLoop | None, set[Call]] = {}
        self._unread: WeakSet[Call] = WeakSet()
        self._watched = False

    def add(self, call: Call, loop: asyncio.AbstractEventLoop | None) -> None:
        """Hold it until `remove`: a task that nobody refers to would be collected while it runs. No loop: a thread."""
        with self._lock:
            if not self._watched:
                self._watch()
            if loop not in self._pending:
                self._forget_closed()
            self._pending.setdefault(loop, set()).add(call)

    def remove(self, call: Call, loop: asyncio.AbstractEventLoop | None) -> None:
        """It has ended, or never begun."""
        with self._lock:
            if call.failure is not None or call.cut:
                self._unread.add(call)
            beside = self._pending.get(loop)
            if beside is not None:
                beside.discard(call)
                if not beside:
                    del self._pending[loop]

    def pending(self, loop: asyncio.AbstractEventLoop | None) -> list[Call]:
        """Those that run as tasks of this loop, or in threads."""
        with self._lock:
            return list(self._pending.get(loop, ()))

    def end(self) -> None:
        """The end of the program: wait for those that want it, and log what else would be lost without a word."""
        started = time.monotonic()
        try:
            while waiting := [call for call in self.pending(None) if _time_left(call, started) > 0]:
                waiting[0].ended.wait(_time_left(waiting[0], started))
        except KeyboardInterrupt:
            logger.warning("the wait for background calls was interrupted")
        with self._lock:
            left = {call for calls in self._pending.values() for call in calls}
            left.update(self._unread)
        for call in left:
            if call.ended.is_set():
                call.tell_unread()
            elif not call.cancelled:
                call.tell_pending()

    def lose(self) -> None:
        """Forget them all, in a forked process."""
        for call in (*(call for calls in self._pending.values() for call in calls), *self._unread):
            call.lose()
        self._lock = threading.RLock()
        self._pending, self._unread = {}, WeakSet()

    def _watch(self) -> None:
        """Hear of the end of the program and of forks, from the first call on: importing shall have no effects."""
        self._watched = True
        atexit.register(self.end)  # after `logging` has registered: so its handlers are closed after this
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self.lose)

    def _forget_closed(self) -> None:
        """Tasks of a loop that was closed under them never end; asyncio itself tells of them when it lets go."""
        for loop in [loop for loop in self._pending if loop is not None and loop.is_closed()]:
            del self._pending[loop]


calls: Final = Calls()


def _time_left(call: Call, started: float) -> float:
    """How many seconds more the end of the program, begun at `started`, waits for it."""
    if call.ended.is_set() or call.wait_at_exit is None:
        return 0.0
    return started + call.wait_at_exit - time.monotonic()
