"""Fixtures that hand out real servers. A test that uses one is marked `postgres` (see `mark`)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from tests.servers.folder import ServerUnavailable
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import Postgres, PostgresServer, given_server
from tests.servers.proxy import TcpProxy

FIXTURES = {"postgres_server", "postgres_url", "own_postgres", "postgres_proxy", "pgbouncer", "pgbouncer_url"}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One server for all tests of this process. It is not to be stopped: `own_postgres` is."""
    if given := given_server():
        yield given
        return
    with or_skip(), PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The store's URL with the name of a schema that is not there yet and is dropped afterwards."""
    with fresh_schema(postgres_server) as schema:
        yield postgres_server.url(schema)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server for this test alone, which may be stopped, started and killed; 0.6 s."""
    with or_skip(), PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_proxy(postgres_server: Postgres) -> Iterator[TcpProxy]:
    """A proxy before the common server: `postgres_server.url(schema, port=postgres_proxy.port)`."""
    with TcpProxy(postgres_server.host, postgres_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: Postgres) -> Iterator[PgBouncer]:
    """pgbouncer in transaction mode before the common server."""
    with or_skip(), PgBouncer(postgres_server) as bouncer:
        yield bouncer


@pytest.fixture
def pgbouncer_url(postgres_server: Postgres, pgbouncer: PgBouncer) -> Iterator[str]:
    """Like `postgres_url`, through pgbouncer."""
    with fresh_schema(postgres_server) as schema:
        yield pgbouncer.url(schema)


@contextmanager
def or_skip() -> Iterator[None]:
    """Where there is no server, the test is skipped, and says how to get one; in CI it fails."""
    try:
        yield
    except ServerUnavailable as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@contextmanager
def fresh_schema(server: Postgres) -> Iterator[str]:
    """A name that no schema has; afterwards the schema is dropped.

    Raises:
        psycopg.errors.LockNotAvailable: the test has left a transaction open that holds the schema's tables.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '5s'")
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def mark(items: list[pytest.Item]) -> None:
    """Marks `postgres` what uses one of the fixtures above, so that `-m postgres` can run it on another server."""
    for item in items:
        if FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("postgres")
