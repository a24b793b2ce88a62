"""What runs in a child of the process pool: takes orders from its pipe, runs them one by one, says how they went.

The main thread runs the functions, as a function may expect; another one reads the pipe. When the parent is gone the
child is ended wherever it is: by the kernel, which sends SIGKILL to its whole process group when the lifeline closes
(that also reaches code which holds the GIL); where the system has no such signal, by the reading thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import faulthandler
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final

from mainspring.codec import encode
from mainspring.engine.arguments import Parameters
from mainspring.engine.context import Context, entered
from mainspring.engine.inputs import arguments_of
from mainspring.engine.options import unpack
from mainspring.engine.outcomes import failure_of
from mainspring.engine.processes.carried import carried
from mainspring.engine.processes.frames import Began, Order, Progress, Raised, Returned, Taken, Word, framed, read_order
from mainspring.engine.processes.importable import load
from mainspring.errors import EncodingError, ResultNotEncodable
from mainspring.retries.hints import retry_after

PARENT_CHECK: Final = 2.0
"""Seconds between two looks whether the parent still is our parent, for the case that somebody else inherited its
end of the pipe."""


def main(argv: Sequence[str]) -> None:
    """Run orders until the parent is gone. `argv` is what `children` gave: paths, pipe, lifeline, faults, parent."""
    pipe = _take_ends(argv)
    if hasattr(os, "register_at_fork"):
        # Else a process that a task forks would hold it, and hide the death of this one.
        os.register_at_fork(after_in_child=pipe.close)
    for each in (signal.SIGINT, signal.SIGTERM):
        # Both are for the worker, which decides. A function, not SIG_IGN: programs that a task starts inherit that.
        signal.signal(each, _left_to_the_worker)
    orders: SimpleQueue[Order] = SimpleQueue()
    parent = int(argv[5]) if len(argv) > 5 else os.getppid()
    threading.Thread(target=_read, args=(pipe, orders, parent), name="mainspring-orders", daemon=True).start()
    work = Work(pipe)
    while True:
        work.do(orders.get())


class Work:
    """Runs one order after the other and tells of them on the pipe."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, bool], tuple[Callable[..., object], Parameters]] = {}

    def do(self, order: Order) -> None:
        """Run one order; whatever happens, one word ends it."""
        self._say(Taken())
        try:
            word: Word = Returned(contextvars.copy_context().run(self._result, order))
        except BaseException as error:  # noqa: BLE001  # SystemExit too: the child serves other jobs after this one
            word = Raised(carried(error), failure_of(error), retry_after(error))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none: nothing to be lost
                stream.flush()
        self._say(word)

    def _result(self, order: Order) -> bytes | None:
        fn, parameters = self._function(order)
        options = unpack(order.job.options)
        args, kwargs = arguments_of(parameters, order.job.payload, options.input, order.input)
        context = Context(order.job, started=time.time(), sink=self._progress)
        if order.takes_context:
            args = (context, *args)
        self._say(Began())
        with entered(context):
            value = fn(*args, **kwargs)
            if asyncio.iscoroutine(value):
                value = asyncio.run(value)
        if not order.store_result:
            return None
        try:
            return encode(value, what=f"the result of {order.job.task}", limit=order.limit)
        except EncodingError as error:
            raise ResultNotEncodable(str(error)) from error

    def _function(self, order: Order) -> tuple[Callable[..., object], Parameters]:
        key = (order.path, order.takes_context)
        known = self._loaded.get(key)
        if known is None:
            fn = load(order.path)
            known = fn, Parameters(fn, task=order.job.task, takes_context=order.takes_context)
            self._loaded[key] = known
        return known

    def _progress(self, data: bytes) -> None:
        self._say(Progress(data))

    def _say(self, word: Word) -> None:
        frame = framed(word)
        with self._lock:
            try:
                self._pipe.sendall(frame)
            except OSError:
                _end()  # nobody listens any more


def _read(pipe: socket.socket, orders: SimpleQueue[Order], parent: int) -> None:
    while True:
        if select.select([pipe], [], [], PARENT_CHECK)[0]:
            order = read_order(pipe)
            if order is None:
                _end()
            else:
                orders.put(order)
        elif sys.platform != "win32" and os.getppid() != parent:
            _end()


def _take_ends(argv: Sequence[str]) -> socket.socket:
    if sys.platform == "win32":
        return socket.fromshare(sys.stdin.buffer.read())  # type: ignore[attr-defined]  # exists on Windows only
    pipe, life, faults = (int(each) for each in argv[2:5])
    for end in (pipe, life, faults):
        os.set_inheritable(end, False)  # what the task starts shall not hold them
    faulthandler.enable(faults)
    _die_with(life)
    return socket.socket(fileno=pipe)


def _die_with(life: int) -> None:
    """Ask the kernel for a SIGKILL to this process group when the last writer of the lifeline is gone."""
    import fcntl  # noqa: PLC0415  # POSIX only

    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:
        _end()  # it closed before we could ask


def _end() -> None:
    """End this process and those that it has started, now."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _left_to_the_worker(*_: object) -> None:
    """Does nothing."""
