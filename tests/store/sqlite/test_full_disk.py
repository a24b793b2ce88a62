"""A full disk: the batch is refused whole, and the store goes on when there is room again."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.errors import StoreFull
from mainspring.model.record import NewJob
from mainspring.store.base import Filter
from mainspring.store.sqlite import SqliteStore

BIG = b'"' + b"x" * 20_000 + b'"'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes, where we may mount; `test_a_full_database` covers the others."""
    folder = tmp_path / "small"
    folder.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(asked, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system: run as root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "jobs.db")
    await store.open()
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    kept = await fill(store)
    assert {job.id for job in (await store.find(Filter(), limit=1000)).jobs} == kept
    ballast.unlink()
    assert (await store.add([NewJob(id="later", task="t")]))[0].created, "usable when there is room again"
    await store.close()
    await store.open()
    assert {job.id for job in (await store.find(Filter(), limit=1000)).jobs} == kept | {"later"}
    assert {each.subject: each.level for each in await store.check()}["counts"] == "ok"
    await store.close()


async def test_a_full_database(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    connection = store._open().writer.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 100}")
    kept = await fill(store)
    assert {job.id for job in (await store.find(Filter(), limit=1000)).jobs} == kept
    connection.execute("PRAGMA max_page_count = 1000000")
    assert (await store.add([NewJob(id="later", task="t")]))[0].created
    assert {each.subject: each.level for each in await store.check()}["counts"] == "ok"
    await store.close()


async def fill(store: SqliteStore) -> set[str]:
    """Add batches, several at a time, until one is refused; what was acknowledged."""
    kept: set[str] = set()
    refused = 0
    for round_ in range(100):
        batches = [[NewJob(id=f"{round_}-{n}-{k}", task="t", payload=BIG) for k in range(3)] for n in range(3)]
        answers = await asyncio.gather(*(store.add(batch) for batch in batches), return_exceptions=True)
        for batch, answer in zip(batches, answers, strict=True):
            if isinstance(answer, BaseException):
                assert isinstance(answer, StoreFull), answer
                assert "disk" in str(answer)
                refused += 1
            else:
                kept |= {job.id for job in batch}
        if refused:
            return kept
    raise AssertionError("the disk never got full")
