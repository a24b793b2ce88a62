"""`mainspring run`, `migrate` and `check` on PostgreSQL, where liveness goes by beats (RULES C6, C7, C8)."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.process.running import Shop, enqueue, lives, record, until_state, wait_until
from tests.servers.folder import free_port
from tests.servers.postgres import PostgresServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="`mainspring run` starts processes as POSIX has them"),
]

NEVER = "600"
"""A lease time that no test sees the end of: what is rescued was reported by the parent."""


@pytest.fixture
def shop(tmp_path: Path, postgres_url: str) -> Shop:
    return Shop(tmp_path, postgres_url)


# --- those that live keep their jobs --------------------------------------------------------------


@pytest.mark.parametrize("how", ["block", "gil"])
def test_C8_a_worker_that_stands_still_for_three_lease_times_keeps_its_job(shop: Shop, how: str) -> None:
    """By `time.sleep` in the loop, and by code that holds the GIL; beside it a worker that would rescue it."""
    with shop.run("--processes", "2", "--lease-time", "2") as run:
        run.until_up(2)
        before = enqueue(shop, "mark", name="before", seconds=3)  # by then both have been steady for a lease time
        until_state(shop, before, "completed")
        job = enqueue(shop, how, name="a", seconds=6)
        shop.until(1, "a", "end")
        ended = until_state(shop, job, "completed")
        assert (ended.rescues, ended.attempt) == (0, 1)
        assert len(shop.lines("a", "begin")) == 1
        assert run.process.poll() is None
        assert len(run.workers()) == 2


def test_C7_a_worker_that_stands_still_beyond_the_stall_limit_loses_its_job(shop: Shop) -> None:
    with shop.run("--stall-limit", "2", "--lease-time", NEVER) as run:
        run.until_up(1)
        job = enqueue(shop, "wait", name="a")
        ((_, _, pid),) = shop.until(1, "a", "begin")
        os.kill(int(pid), signal.SIGSTOP)
        run.until_said("has stood still for 2 s")
        shop.until(2, "a", "begin")
        shop.go()
        assert until_state(shop, job, "completed").rescues == 1


# --- the dead are replaced ------------------------------------------------------------------------


def test_C8_a_killed_worker_is_replaced_and_its_job_runs_again_at_once(shop: Shop) -> None:
    with shop.run("--processes", "2", "--lease-time", NEVER) as run:
        run.until_up(2)
        job = enqueue(shop, "wait", name="a")
        ((_, _, pid),) = shop.until(1, "a", "begin")
        os.kill(int(pid), signal.SIGKILL)
        again = shop.until(2, "a", "begin")
        shop.go()
        assert again[1][2] != pid
        run.until_up(3)
        assert until_state(shop, job, "completed").rescues == 1


def test_C6_a_job_that_kills_its_worker_ends_dead_and_others_do_not(shop: Shop) -> None:
    with shop.run("--lease-time", NEVER) as run:
        run.until_up(1)
        poison = enqueue(shop, "die", name="poison")
        innocent = [enqueue(shop, "mark", name=f"n{number}", seconds=0.1) for number in range(5)]
        assert until_state(shop, poison, "dead").crashes == 3
        assert [until_state(shop, job, "completed").crashes for job in innocent] == [0] * 5
        assert run.process.poll() is None


def test_C8_when_the_parent_is_killed_its_workers_stop_and_another_run_goes_on(shop: Shop) -> None:
    with shop.run("--processes", "2", "--grace", "0.5", "--lease-time", NEVER) as run:
        workers = run.until_up(2)
        job = enqueue(shop, "wait", name="a")
        shop.until(1, "a", "begin")
        run.process.kill()
        wait_until(lambda: not any(lives(pid) for pid in workers), 20.0, f"{workers} go on without their parent")
    assert record(shop, job).rescues == 0  # handed back
    shop.go()
    with shop.run("--drain") as run:
        assert run.code() == 0
    assert record(shop, job).state == "completed"


def test_C8_when_all_are_killed_another_run_rescues(shop: Shop) -> None:
    """Nobody is left who saw them die; their silence says it."""
    with shop.run("--processes", "2", "--lease-time", "1") as run:
        workers = run.until_up(2)
        job = enqueue(shop, "wait", name="a")
        shop.until(1, "a", "begin")
        run.process.kill()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
    shop.go()
    with shop.run("--lease-time", "1") as run:
        run.until_up(1)
        assert until_state(shop, job, "completed").rescues == 1


def test_C8_a_death_while_the_store_is_away_is_reported_when_it_is_back(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    shop = Shop(tmp_path, own_postgres.url("shop"))
    with shop.run("--lease-time", NEVER) as run:
        run.until_up(1)
        job = enqueue(shop, "wait", name="a")
        ((_, _, pid),) = shop.until(1, "a", "begin")
        own_postgres.stop()
        os.kill(int(pid), signal.SIGKILL)
        run.until_said("was killed by SIGKILL; jobs it had started: 1")
        own_postgres.start()
        shop.until(2, "a", "begin", within=40.0)
        shop.go()
        assert until_state(shop, job, "completed").rescues == 1


def test_drain_works_everything_and_ends(shop: Shop) -> None:
    jobs = [enqueue(shop, "mark", name=f"n{number}") for number in range(10)]
    with shop.run("--drain", "--processes", "2") as run:
        assert run.code() == 0
    assert [record(shop, job).state for job in jobs] == ["completed"] * 10
    assert len(shop.lines()) == 20


# --- migrate and check ----------------------------------------------------------------------------


def test_migrate_and_check(shop: Shop) -> None:
    with shop.start("check") as check:
        assert check.code() == 1
        assert "holds no store yet" in check.text()
    with shop.start("migrate") as first, shop.start("migrate") as second:
        assert (first.code(), second.code()) == (0, 0)
        ran = re.findall(r"^\d{4}_\w+$", first.text() + second.text(), re.MULTILINE)
        assert sorted(set(ran)) == sorted(ran)  # each once, in either of them
        assert ran
    with shop.start("migrate") as again, shop.start("check") as check:
        assert again.code() == 0
        assert re.fullmatch(r"postgresql://\S+ is up to date\n", again.text())
        assert check.code() == 0
        assert re.search(r"^ok ", check.text(), re.MULTILINE)


@pytest.mark.parametrize("verb", ["migrate", "check"])
def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path, verb: str) -> None:
    port = free_port()
    shop = Shop(tmp_path, f"postgresql://ada:secret@127.0.0.1:{port}/shop")
    with shop.start(verb) as run:
        assert run.code() == 1
        assert f"postgresql://ada:***@127.0.0.1:{port}/shop" in run.text()
        assert "secret" not in run.text()
        assert "Traceback" not in run.text()


def test_a_server_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """More often than an app that does not come up is tried, and in a line each time."""
    port = free_port()
    with Shop(tmp_path, f"postgresql://ada:secret@127.0.0.1:{port}/shop").run() as run:
        run.until_said("(?s)(worker process 1 has failed.*){4}")
        assert run.process.poll() is None
        assert "cannot be reached" in run.text()
        assert "Traceback" not in run.text()


def test_no_password_is_logged(tmp_path: Path) -> None:
    shop = Shop(tmp_path, f"postgresql://ada:secret@127.0.0.1:{free_port()}/shop")
    with shop.run("--log-level", "debug") as run:
        run.until_said("worker process 1 .*exited")
        assert "secret" not in run.text()
