"""A worker process as its parent sees it: started, listened to, asked to stop, killed, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from typing import Final, NamedTuple

import msgspec

from mainspring.cli.settings import RunSettings, WorkerOrder
from mainspring.cli.started import Started, new_table
from mainspring.cli.words import Left, Longest, NotUp, Ready, Refused, Stop, Word, line, word_of
from mainspring.engine.processes.children import cause_of_death

REAP_LIMIT: Final = 10.0
"""Seconds that a process may take to be gone after its pipe has closed, before it is killed."""


class End(NamedTuple):
    """How a worker process ended. `worker` is None when it never joined; `started` None when not known."""

    code: int
    cause: str
    worker: str | None
    started: list[str] | None
    left: Left | None
    refused: str | None
    not_up: NotUp | None
    silent: bool


class WorkerProcess:
    """One worker process. What it said last is in the attributes."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: socket.socket, table: int) -> None:
        self._process = process
        self._pipe = pipe
        self._table = table
        self._started = Started(table)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.ready: Ready | None = None
        self.left: Left | None = None
        self.refused: str | None = None
        self.not_up: NotUp | None = None
        self.longest_timeout = 0.0
        """The longest timeout among its running jobs, in seconds."""
        self.silence = 0.0
        """Seconds since the last tick that this process was awake to see."""
        self.silent = False
        """Whether it was killed for its silence."""
        self._seen_dead = False

    @classmethod
    async def start(cls, settings: RunSettings, number: int) -> WorkerProcess:
        """Start one. Raises OSError when the system has no room for it."""
        started = cls(*_spawn(settings, number))
        started._reader, started._writer = await asyncio.open_connection(sock=started._pipe)
        return started

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def listen(self) -> Word | None:
        """The next word that matters; ticks are taken note of. None when the process has let go of its pipe."""
        assert self._reader is not None
        while True:
            try:
                said = await self._reader.readline()
            except ConnectionError:
                return None
            if not said.endswith(b"\n"):
                return None  # torn off: it died while it spoke
            self.silence = 0.0
            word = word_of(said)
            match word:
                case Ready():
                    self.ready = word
                case Longest(timeout):
                    self.longest_timeout = timeout
                    continue
                case Left():
                    self.left = word
                case Refused(text):
                    self.refused = text
                case NotUp():
                    self.not_up = word
                case _:
                    continue
            return word

    def ask_to_stop(self, *, now: bool) -> None:
        """Ask it to stop within its grace, or now."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(line(Stop(now)))

    def kill(self, *, silent: bool = False) -> None:
        """End it at once. `silent`: because it stood still."""
        if self._process.returncode is None:
            self.silent = self.silent or silent
            with contextlib.suppress(ProcessLookupError):  # it has ended a moment ago
                self._process.kill()

    def look(self) -> None:
        """Stop listening to a process that has ended while others hold its end of the pipe.

        Those are what its tasks have forked; the end of the pipe, by which a death is seen at once, comes with their
        end only. To be called now and then: the second look acts, so that last words have been read by then.
        """
        if self._process.poll() is None:
            return
        if self._seen_dead:
            with contextlib.suppress(OSError):  # closed meanwhile
                self._pipe.shutdown(socket.SHUT_RD)
        self._seen_dead = True

    async def end(self) -> End:
        """Wait until the process is gone, and say how it ended. Nothing may be asked of it afterwards."""
        loop = asyncio.get_running_loop()
        if self._writer is not None:
            self._writer.close()
        try:
            code = await loop.run_in_executor(None, self._process.wait, REAP_LIMIT)
        except subprocess.TimeoutExpired:  # it hangs in its last lines, with its pipe closed
            self._process.kill()
            code = await loop.run_in_executor(None, self._process.wait)
        started = self._started.ids()
        self._started.close()
        os.close(self._table)
        worker = None if self.ready is None else self.ready.worker
        return End(code, cause_of_death(code), worker, started, self.left, self.refused, self.not_up, self.silent)


def _spawn(settings: RunSettings, number: int) -> tuple[subprocess.Popen[bytes], socket.socket, int]:
    """In a process group of its own: Ctrl-C is for the parent, which tells its workers."""
    near, far = socket.socketpair()
    near.setblocking(False)
    table = new_table()
    order = WorkerOrder(settings=settings, number=number, pipe=far.fileno(), table=table)
    with far:
        try:
            process = subprocess.Popen(  # noqa: S603  # our own interpreter
                [sys.executable, "-m", "mainspring.cli.child", msgspec.json.encode(order).decode()],
                stdin=subprocess.DEVNULL,
                pass_fds=[far.fileno(), table],
                process_group=0,
            )
        except BaseException:
            near.close()
            os.close(table)
            raise
    return process, near, table
