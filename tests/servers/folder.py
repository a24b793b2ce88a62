"""A temporary folder whose programs end, and which is removed, when this process ends, however it ends."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

NOBODY = 65534

# Waits for the end of its standard input, which comes when the process that holds the other end closes it or dies.
# Each file NAME.pid holds "PID SIGNAL". A programme gets 2 s before it is killed.
GUARD = """
cat >/dev/null
for file in "$0"/*.pid; do
  [ -f "$file" ] || continue
  read -r pid signal <"$file"
  kill -"$signal" "$pid" 2>/dev/null
  for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
  kill -KILL "$pid" 2>/dev/null
done
rm -rf "$0"
"""


class ServerUnavailable(Exception):
    """There is no server of the kind on this machine; the message says how to get one."""


class ServerFolder:
    """Files and programs of one server.

    Programs run as an unprivileged user when we are root: PostgreSQL and pgbouncer refuse root. A guard (a shell that
    waits for the end of a pipe) ends them and removes the folder even when this process is killed.

    Args:
        name: part of the folder's name.
    """

    def __init__(self, name: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"mainspring-{name}-", dir=None if passable(temporary()) else "/tmp"))
        self.user = NOBODY if os.geteuid() == 0 else None
        self.give(self.path)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def give(self, path: Path) -> None:
        """Makes `path` the unprivileged user's."""
        if self.user is not None:
            os.chown(path, self.user, self.user)

    def write(self, name: str, text: str) -> Path:
        """A file that the unprivileged user may read and write."""
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        self.give(path)
        return path

    def run(self, argv: Sequence[str | Path]) -> None:
        """Runs a program to its end.

        Raises:
            RuntimeError: it failed; the message holds what it said.
        """
        with self._process(argv, subprocess.PIPE) as process:
            said, _ = process.communicate(timeout=60)
        if process.returncode:
            raise RuntimeError(f"{Path(argv[0]).name} failed:\n{said.decode(errors='replace')}")

    def start(self, name: str, argv: Sequence[str | Path], end: signal.Signals) -> subprocess.Popen[bytes]:
        """Starts a program that stays; what it says goes to NAME.log, and the guard ends it by the signal `end`."""
        with (self.path / f"{name}.log").open("ab") as log:
            process = self._process(argv, log)
        self.write(f"{name}.pid", f"{process.pid} {end.name.removeprefix('SIG')}\n")
        return process

    def ended(self, name: str) -> None:
        """The guard shall forget a program that was waited for: its process id may be somebody else's soon."""
        (self.path / f"{name}.pid").unlink(missing_ok=True)

    def log(self, name: str) -> str:
        """All that the program has said so far."""
        place = self.path / f"{name}.log"
        return place.read_text(encoding="utf-8", errors="replace") if place.is_file() else ""

    def close(self) -> None:
        """Ends what still runs and removes the folder. Closing twice does nothing."""
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait(timeout=30)

    def _process(self, argv: Sequence[str | Path], output: IO[bytes] | int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(word) for word in argv],
            cwd=self.path,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.path), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            start_new_session=True,  # Ctrl-C is for the tests; they end the servers in order
        )


def temporary() -> Path:
    """Where temporary folders go."""
    return Path(tempfile.gettempdir())


def passable(path: Path) -> bool:
    """Can a user without rights reach what is in this folder? Always, when that user is ourselves."""
    return os.geteuid() != 0 or all(place.stat().st_mode & 0o001 for place in (path, *path.parents))


def reachable(programs: Path, copies: Path) -> Path:
    """The folder `programs`, or a copy where the unprivileged user cannot get at it (a home with mode 0700).

    What the programs need lies beside their folder, and in a wheel also beside its package, in PACKAGE.libs.
    """
    if passable(programs):
        return programs
    installed, package = programs.parents[:2]
    place = copies / package.name / installed.name
    shutil.copytree(installed, place, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copies / libraries.name)
    for folder in (copies, place.parent):
        folder.chmod(0o755)
    return place / programs.name


def free_port() -> int:
    """A port that nobody listens on.

    Not one that the system gives to outgoing connections: while a server is down, a client that tries its port again
    and again would sooner or later connect to itself and keep the port.
    """
    for _ in range(100):
        port = random.SystemRandom().randint(15_000, 32_000)  # tests may have seeded the common one
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerUnavailable("no free port found")
