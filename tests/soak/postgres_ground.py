"""What the long tests on PostgreSQL share: databases, a worker in a process of its own, and numbers to print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Self, TypeAlias

import psycopg
from psycopg import sql

from tests.servers.postgres import PostgresServer

Figures: TypeAlias = dict[str, Any]
"""What a worker says of a second, or of a whole drain."""

SCHEMA = "mainspring"
PATIENCE = 600.0  # seconds for anything that is asked of a worker


def given(name: str, default: int) -> int:
    """A number that the environment may give, to make the test shorter: MAINSPRING_SOAK_SECONDS=20 make soak."""
    return int(os.environ.get(f"MAINSPRING_SOAK_{name}", default))


class Ground:
    """A database of its own in a server; what is held open in another one keeps nothing alive here."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.name = name
        self.dsn = f"postgresql://{server.user}@{server.host}:{server.port}/{name}"
        self.url = f"{self.dsn}?schema={SCHEMA}"

    def ask(self, statement: str, *values: object) -> tuple[Any, ...]:
        """The one row that this yields."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute(statement.encode(), values).fetchone()
        assert row is not None
        return tuple(row)

    def run(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Another session has begun to read, and does not end: nothing that dies meanwhile can be removed."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute(f"SELECT count(*) FROM {SCHEMA}.jobs")
            yield
            connection.rollback()

    def tables(self) -> list[tuple[Any, ...]]:
        """Of each table with dead rows: its name, live and dead rows, megabytes of it and of its indexes."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(
                "SELECT relname, n_live_tup, n_dead_tup, round(pg_table_size(relid) / 1e6),"
                " round(pg_indexes_size(relid) / 1e6) FROM pg_stat_user_tables"
                " WHERE schemaname = %s AND n_dead_tup + n_live_tup > 100 ORDER BY n_dead_tup DESC",
                (SCHEMA,),
            ).fetchall()


@contextmanager
def ground(server: PostgresServer, name: str) -> Iterator[Ground]:
    """A new database, dropped afterwards."""
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        admin.execute("CHECKPOINT")
        try:
            yield Ground(server, name)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class WorkerProcess:
    """A worker in a process of its own, which tells once a second how it does. `said`: that, since the beginning."""

    def __init__(self, place: Ground, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.postgres_worker", place.url, *words],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said: list[Figures] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def done(self) -> int:
        """Jobs that it has run."""
        assert self._process.poll() in {None, 0}, "the worker has died"
        return int(self.said[-1]["done"]) if self.said else 0

    def end(self) -> list[Figures]:
        """Stop it; everything that it has said."""
        assert self._process.stdin
        self._process.stdin.close()
        self.wait()
        return self.said

    def wait(self) -> Figures:
        """Until it ends by itself; the last that it has said."""
        assert self._process.wait(PATIENCE) == 0
        self._reader.join()
        return self.said[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        for end in (self._process.stdin, self._process.stdout):
            assert end
            end.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.said.append(json.loads(line))


def drained(place: Ground, jobs: int) -> float:
    """Jobs per second of a new worker process that finds so many jobs ready, from before its start to the last run."""
    with WorkerProcess(place, "drain", str(jobs)) as worker:
        rate = float(worker.wait()["rate"])
    assert place.ask(f"SELECT count(*) FROM {SCHEMA}.jobs") == (0,), "all of them are recorded as ended"
    return rate


def show(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    lines = [list(heads), *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(heads))]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    sys.stderr.write("\n".join(["", title, *text, ""]))
