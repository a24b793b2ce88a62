"""The disk of the server is full for a while: nothing is lost, and all goes on when there is room again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.faults.field import Field
from tests.servers.postgres import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")]

SIZE = 24  # MiB


@contextmanager
def small_disk(server: PostgresServer) -> Generator[Path]:
    """A disk of its own for tables and indexes. The log of the server is elsewhere: without it, it would stop."""
    place = server.folder.path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.strip()}")
    try:
        server.folder.give(place)
        with psycopg.connect(server.dsn, autocommit=True) as session:
            session.execute(f"CREATE TABLESPACE small LOCATION '{place}'".encode())
            session.execute("ALTER SYSTEM SET default_tablespace = small")
            session.execute("SELECT pg_reload_conf()")
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    """Leave no block free."""
    with (place / "ballast").open("wb", buffering=0) as ballast:
        for size in (1 << 20, 4096):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError:
                continue


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a small disk")
async def test_C9_a_full_disk_of_the_server_loses_nothing(tmp_path: Path, own_postgres: PostgresServer) -> None:
    """What is running ends; what cannot be stored is refused, or waits until there is room."""
    with small_disk(own_postgres) as place, Field(tmp_path, own_postgres, "field") as field:
        field.staff(2)
        async with field.load():
            await field.steady()
            fill(place)
            await until_refused(field)
            await asyncio.sleep(1)
            (place / "ballast").unlink()
            await field.recovered()
        await field.judge()
        assert field.refused


async def until_refused(field: Field) -> None:
    while not field.refused:
        await asyncio.sleep(0.05)
