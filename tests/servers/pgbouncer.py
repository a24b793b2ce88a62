"""pgbouncer in transaction mode before a PostgreSQL: every transaction may be another session of the server."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.servers.folder import ServerFolder, ServerUnavailable, free_port
from tests.servers.postgres import Postgres

NAME = "pgbouncer"
# Few sessions of the server, so that clients do share them. No start-up parameter is ignored: Debian's own default.
FILE = """
[databases]
* = host={host} port={port} user='{user}'{password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
server_login_retry = 0.2
"""


class PgBouncer(Postgres):
    """A pgbouncer of our own; its `url` and `dsn` lead through it. It ends with this process.

    Args:
        server: the PostgreSQL behind it. It may be stopped and started again.
        sessions: at most so many sessions of the server for all clients together.

    Raises:
        ServerUnavailable: the program is not on this machine.

    Example:
        with PostgresServer() as server, PgBouncer(server) as bouncer:
            ... bouncer.url("shop") ...
    """

    def __init__(self, server: Postgres, *, sessions: int = 5) -> None:
        program = find_pgbouncer()
        super().__init__(server.dsn)
        self.folder = ServerFolder(NAME)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            password = f" password='{server.password}'" if server.password else ""
            place = {"host": server.host, "port": server.port, "user": server.user, "password": password}
            self.host, self.port, self.password = "127.0.0.1", free_port(), None
            text = FILE.format(**place, listen=self.port, sessions=sessions)
            self._start(program, self.folder.write("pgbouncer.ini", text))
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """What pgbouncer has said so far."""
        return self.folder.log(NAME)

    def close(self) -> None:
        """Ends pgbouncer and removes its folder. Closing twice does nothing."""
        if self._process:
            self._process.terminate()  # at once, without waiting for clients
            self._process.wait(timeout=30)
            self._process = None
            self.folder.ended(NAME)
        self.folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self, program: Path, settings: Path) -> None:
        self._process = self.folder.start(NAME, [program, settings], signal.SIGTERM)
        ends = time.monotonic() + 30
        while not listens(self.host, self.port):
            if self._process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"pgbouncer does not start:\n{self.log[-2000:]}")
            time.sleep(0.01)


def listens(host: str, port: int) -> bool:
    """Does anybody take connections there?"""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def find_pgbouncer() -> Path:
    """The program.

    Raises:
        ServerUnavailable: it is not on this machine.
    """
    if found := shutil.which(NAME) or shutil.which(NAME, path="/usr/sbin"):
        return Path(found)
    raise ServerUnavailable("no pgbouncer found; run: apt-get install pgbouncer")
