"""The table of started jobs that a parent reads when its worker process is dead (RULES C6)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mainspring.cli.started import SLOTS, Started, new_table


@pytest.fixture
def table() -> Iterator[int]:
    fd = new_table()
    yield fd
    os.close(fd)


@pytest.fixture
def started(table: int) -> Iterator[Started]:
    started = Started(table)
    yield started
    started.close()


def seen_by_parent(table: int) -> list[str] | None:
    view = Started(table)
    try:
        return view.ids()
    finally:
        view.close()


def test_the_other_side_sees_what_has_started_and_not_ended(table: int, started: Started) -> None:
    assert seen_by_parent(table) == []
    for job in ("a", "b", "c"):
        started.put(job)
    started.drop("b")
    started.drop("b")
    started.drop("never there")
    assert seen_by_parent(table) == ["a", "c"]


def test_a_place_is_used_again(table: int, started: Started) -> None:
    for number in range(3 * SLOTS):
        started.put(f"job-{number}")
        started.drop(f"job-{number}")
    started.put("last")
    assert seen_by_parent(table) == ["last"]


def test_a_shorter_id_leaves_nothing_of_a_longer_one(table: int, started: Started) -> None:
    started.put("a-long-id")
    started.drop("a-long-id")
    started.put("id")
    assert seen_by_parent(table) == ["id"]


def test_the_same_job_twice_is_one(table: int, started: Started) -> None:
    started.put("a")
    started.put("a")
    assert seen_by_parent(table) == ["a"]
    started.drop("a")
    assert seen_by_parent(table) == []


def test_a_full_table_says_that_it_does_not_know(table: int, started: Started) -> None:
    for number in range(SLOTS - 1):
        started.put(f"job-{number}")
    known = seen_by_parent(table)
    assert known is not None
    assert len(known) == SLOTS - 1
    started.put("one too many")
    assert seen_by_parent(table) is None


def test_an_id_that_does_not_fit_makes_it_unknown(table: int, started: Started) -> None:
    started.put("x" * 64)
    assert seen_by_parent(table) is None


def test_it_survives_a_kill(table: int) -> None:
    code = (
        "import os, signal, sys; from mainspring.cli.started import Started\n"
        f"table = Started({table}); table.put('job-7'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], pass_fds=[table], check=False)
    assert done.returncode == -9
    assert seen_by_parent(table) == ["job-7"]
