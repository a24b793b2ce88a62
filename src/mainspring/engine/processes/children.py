"""A child process of the pool as its parent sees it: started, spoken to, killed, reaped; and why it died."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Final, NamedTuple

from mainspring.engine.processes.frames import Order, Word, framed, read_word

BOOT: Final = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from mainspring.engine.processes.child import main; main(sys.argv)"
"""What the interpreter of a child runs. The paths come first, so that it finds what its parent finds."""

REAP_LIMIT: Final = 10.0
"""Seconds to wait for a killed process to be gone; one that hangs in the kernel is left to the system."""

TRACE_LIMIT: Final = 8192
"""Bytes of a fatal error's stack that are read."""


class Death(NamedTuple):
    """How a child died, and the stack that the interpreter wrote if it met a fatal error."""

    cause: str
    last_words: str


class Ends(NamedTuple):
    """What the parent holds of a child.

    `life` is a pipe on which nothing is ever sent: that it closes tells the child that its parent has died.
    `faults` is a file for the interpreter's last words.
    """

    process: subprocess.Popen[bytes]
    pipe: socket.socket
    life: int
    faults: IO[bytes]

    def close(self) -> None:
        """Let go of everything; a child that still lives dies of it."""
        self.pipe.close()
        self.faults.close()
        os.close(self.life)


class Child:
    """One child process, with a pipe of its own."""

    def __init__(self, ends: Ends, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.jobs = 0
        self._ends = ends
        self._process = ends.process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> Child:
        """A new child, that waits for its first order. Raises OSError when the system has no room for one."""
        ends = _spawn()
        try:
            reader, writer = await asyncio.open_connection(sock=ends.pipe)
        except BaseException:
            ends.close()  # the child reads that as its end
            raise
        return cls(ends, reader, writer)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def idle_and_well(self) -> bool:
        """Whether it still waits for an order."""
        return not self._reader.at_eof()

    def send(self, order: Order) -> None:
        """Give it a job. Whether it took it, its words tell."""
        self._writer.write(framed(order))

    async def word(self) -> Word | None:
        """What it says next; None when it is gone."""
        return await read_word(self._reader)

    def kill(self) -> None:
        """End it at once, and the processes that it has started itself."""
        if self._process.returncode is not None:
            return  # reaped: its number may be somebody else's by now
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended a moment ago
                os.killpg(self.pid, signal.SIGKILL)
        else:
            self._process.kill()

    async def gone(self) -> Death:
        """Close the pipe and wait until the process has ended; says how it died."""
        self._writer.close()
        loop = asyncio.get_running_loop()
        try:
            code = await loop.run_in_executor(None, self._process.wait, REAP_LIMIT)
            cause = f"process {self.pid} {cause_of_death(code)}"
        except subprocess.TimeoutExpired:
            cause = f"process {self.pid} did not go away"
        self._ends.faults.seek(0)
        said = self._ends.faults.read(TRACE_LIMIT).decode(errors="replace")
        self._ends.close()
        return Death(cause, said)


def cause_of_death(code: int) -> str:
    """A return code in words.

    >>> cause_of_death(-11), cause_of_death(3)
    ('was killed by SIGSEGV', 'exited with code 3')
    """
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _spawn() -> Ends:
    near, far = socket.socketpair()
    near.setblocking(False)
    faults = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
    far_life, life = os.pipe()
    try:
        process = _popen_windows(far) if sys.platform == "win32" else _popen(far, far_life, faults.fileno())
    except BaseException:
        near.close()
        faults.close()
        os.close(life)
        raise
    finally:
        far.close()
        os.close(far_life)
    return Ends(process, near, life, faults)


def _popen(far: socket.socket, life: int, faults: int) -> subprocess.Popen[bytes]:
    """In a process group of its own, so that a kill takes the processes with it that the function has started."""
    ends = [far.fileno(), life, faults]
    return subprocess.Popen(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", BOOT, json.dumps(_paths()), *map(str, ends), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        pass_fds=ends,
        process_group=0,
    )


def _popen_windows(far: socket.socket) -> subprocess.Popen[bytes]:
    """A socket cannot be inherited there: it is given through the child's standard input."""
    process = subprocess.Popen(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", BOOT, json.dumps(_paths())], stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    with process.stdin as given:
        given.write(far.share(process.pid))  # type: ignore[attr-defined]  # exists on Windows only
    return process


def _paths() -> list[str]:
    """Where modules are found: as here, with "" (the current directory, at each import) as it is now."""
    home = str(Path(__file__).resolve().parents[3])
    paths = [path or str(Path.cwd()) for path in sys.path]
    return paths if home in paths else [*paths, home]
