"""One PostgreSQL server for all the rows of a run, with the default, durable settings, and databases to measure in.

What is prepared once (tables, and jobs to drain) is kept in a template; each trial gets a fresh copy of it, after a
checkpoint and with fresh statistics, whoever the contestant is.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.measurement import Absent

if TYPE_CHECKING:
    from psycopg import Connection


class Lab:
    """A running server. Raises Absent when there is none."""

    def __init__(self) -> None:
        try:
            import psycopg

            from tests.servers.folder import ServerUnavailable
            from tests.servers.postgres import PostgresServer, find_programs
        except ImportError as error:
            raise Absent(f"{error}; run `make setup`") from error
        try:
            self._server = PostgresServer(find_programs("wheel"), durable=True)
        except ServerUnavailable as error:
            raise Absent(str(error)) from error
        self._connect = psycopg.connect
        self._admin: Connection[Any] = psycopg.connect(self._server.dsn, autocommit=True)
        self._numbers = iter(range(1_000_000))
        self._templates: dict[tuple[object, ...], str] = {}
        self.pid = self._server.pid
        atexit.register(self.close)

    @property
    def folder(self) -> Path:
        """Where the server keeps its data: the disk that is measured."""
        return self._server.folder.path

    @property
    def version(self) -> str:
        (version,) = self.ask("show server_version")
        return str(version)

    def url(self, database: str) -> str:
        return f"postgresql://{self._server.user}@{self._server.host}:{self._server.port}/{database}"

    def ask(self, statement: str, *values: object) -> tuple[Any, ...]:
        """The one row that this yields, in the server's own database."""
        row = self._admin.execute(statement, values).fetchone()
        assert row is not None
        return tuple(row)

    def connect(self, database: str) -> Connection[Any]:
        return self._connect(self.url(database), autocommit=True)

    def template(self, key: tuple[object, ...], fill: Callable[[str], None]) -> str:
        """The name of a database that `fill`, given its URL, has filled; filled once for each key."""
        if key not in self._templates:
            name = self._create()
            fill(self.url(name))
            with self.connect(name) as connection:
                connection.execute("analyze")
            self._alone(name)
            self._templates[key] = name
        return self._templates[key]

    @contextmanager
    def copy(self, template: str) -> Iterator[str]:
        """A copy of this database, to be measured in; the server has written everything to disk before."""
        name = self._create(f" template {template} strategy file_copy")
        self._admin.execute("checkpoint")
        try:
            yield name
        finally:
            self._admin.execute(f"drop database {name} with (force)")

    def commits(self, database: str) -> int:
        """Transactions committed in it so far, those of sessions that have ended at least."""
        (commits,) = self.ask("select xact_commit from pg_stat_database where datname = %s", database)
        return int(commits)

    def wal(self) -> int:
        """Bytes of write-ahead log that the server has written since it was made."""
        (position,) = self.ask("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return int(position)

    def settled(self, database: str) -> None:
        """Until all sessions there have ended, and with them their numbers have arrived."""
        for _ in range(1000):
            if self.ask("select count(*) from pg_stat_activity where datname = %s", database) == (0,):
                return
            time.sleep(0.005)

    def close(self) -> None:
        self._admin.close()
        self._server.close()

    def _create(self, how: str = "") -> str:
        name = f"bench_{next(self._numbers)}"
        self._admin.execute(f"create database {name}{how}")
        return name

    def _alone(self, name: str) -> None:
        self.settled(name)


@cache
def lab() -> Lab:
    """The server of this process, started when it is first needed. Raises Absent."""
    return Lab()
