"""`mainspring run` with real processes and signals on SQLite (RULES C6, C7, C8; API.md D49)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from mainspring.app.app import App
from mainspring.model.every import Every
from tests.process.running import Run, Shop, enqueue, lives, record, until_state, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="`mainspring run` starts processes as POSIX has them"),
]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# --- the dead are replaced ------------------------------------------------------------------------


def test_C8_a_killed_worker_is_replaced_and_its_job_runs_again(shop: Shop) -> None:
    with shop.run("--processes", "2") as run:
        run.until_up(2)
        job = enqueue(shop, "wait", name="a")
        ((_, _, pid),) = shop.until(1, "a", "begin")
        os.kill(int(pid), signal.SIGKILL)
        again = shop.until(2, "a", "begin")
        shop.go()
        assert again[1][2] != pid
        run.until_up(3)
        shop.until(1, "a", "end")
        run.until_said("was killed by SIGKILL; jobs it had started: 1")
        assert until_state(shop, job, "completed").rescues == 1
        run.signal(signal.SIGTERM)
        assert run.code() == 0


def test_C6_a_job_that_kills_its_worker_ends_dead_and_others_do_not(shop: Shop) -> None:
    with shop.run() as run:
        run.until_up(1)
        poison = enqueue(shop, "die", name="poison")
        innocent = [enqueue(shop, "mark", name=f"n{number}", seconds=0.1) for number in range(5)]
        assert until_state(shop, poison, "dead").crashes == 3
        assert [until_state(shop, job, "completed").crashes for job in innocent] == [0] * 5
        assert 3 <= len(shop.lines("poison", "begin")) <= 4
        assert run.process.poll() is None


def test_C8_workers_stop_by_themselves_when_the_parent_is_killed(shop: Shop) -> None:
    with shop.run("--processes", "2", "--grace", "0.5") as run:
        workers = run.until_up(2)
        job = enqueue(shop, "mark", name="a", seconds=60)
        shop.until(1, "a", "begin")
        run.process.kill()
        wait_until(lambda: not any(lives(pid) for pid in workers), 20.0, f"{workers} go on without their parent")
        back = record(shop, job)
        assert (back.state in {"ready", "scheduled"}, back.attempt, back.rescues) == (True, 0, 0)


def test_C7_a_stopped_worker_is_killed_after_the_stall_limit(shop: Shop) -> None:
    with shop.run("--stall-limit", "2") as run:
        run.until_up(1)
        job = enqueue(shop, "wait", name="a")
        ((_, _, pid),) = shop.until(1, "a", "begin")
        os.kill(int(pid), signal.SIGSTOP)
        run.until_said("has stood still for 2 s")
        run.until_up(2)
        shop.until(2, "a", "begin")
        shop.go()
        assert until_state(shop, job, "completed").rescues == 1


def test_C7_a_blocked_loop_is_ended_and_its_job_is_a_suspect(shop: Shop) -> None:
    with shop.run("--stall-limit", "2") as run:
        run.until_up(1)
        job = enqueue(shop, "block", name="a", seconds=60)
        shop.until(1, "a", "begin")
        run.until_up(2)
        shop.until(2, "a", "begin")
        assert record(shop, job).suspect


def test_C7_nobody_is_killed_before_the_longest_timeout_of_its_jobs(shop: Shop) -> None:
    with shop.run("--stall-limit", "1") as run:
        run.until_up(1)
        job = enqueue(shop, "patient", name="a", seconds=3)
        shop.until(1, "a", "end")
        assert until_state(shop, job, "completed").attempt == 1
        assert "has stood still for 1 s" not in run.text()
        assert len(run.workers()) == 1


@pytest.mark.parametrize(("how", "held"), [("python", ["nothing"]), ("c", ["the", "pipe"])])
def test_C8_what_a_task_has_forked_hides_no_death(shop: Shop, how: str, held: list[str]) -> None:
    """It may hold the worker's end of the pipe: the code of another language forks without our knowledge."""
    with shop.run("--grace", "0.3") as run:
        run.until_up(1)
        job = enqueue(shop, "fork", name="a", how=how)
        ((_, _, worker, child),) = shop.until(1, "a", "begin")
        try:
            assert shop.until(1, "a", "holds")[0][2:] == held
            os.kill(int(worker), signal.SIGKILL)
            run.until_up(2)
            shop.until(2, "a", "begin")
            assert lives(int(child))
            assert record(shop, job).rescues == 1
            run.signal(signal.SIGTERM)
            assert run.code() == 0
        finally:
            for begun in shop.lines("a", "begin"):
                os.kill(int(begun[3]), signal.SIGKILL)


def test_a_stop_of_the_parent_itself_kills_nobody(shop: Shop) -> None:
    with shop.run("--stall-limit", "2") as run:
        (worker,) = run.until_up(1)
        run.signal(signal.SIGSTOP)
        let_pass(run, 4)
        run.signal(signal.SIGCONT)
        let_pass(run, 2)
        assert run.workers() == [worker]
        assert lives(worker)


def let_pass(run: Run, seconds: float) -> None:
    """Real time passes, and nobody is found to stand still."""
    with pytest.raises(AssertionError, match="it did not come"):
        run.until_said("has stood still", within=seconds)


# --- stopping -------------------------------------------------------------------------------------


def test_the_first_signal_lets_running_jobs_end(shop: Shop) -> None:
    with shop.run("--processes", "2") as run:
        run.until_up(2)
        job = enqueue(shop, "wait", name="a")
        shop.until(1, "a", "begin")
        run.signal(signal.SIGTERM)
        run.until_said("SIGTERM: stopping")
        shop.go()
        assert run.code() == 0
        assert len(shop.lines("a", "end")) == 1
        assert record(shop, job).state == "completed"
        assert "1 finished, 0 handed back" in run.text()


def test_jobs_that_outlast_the_grace_are_handed_back(shop: Shop) -> None:
    with shop.run("--grace", "0.3") as run:
        run.until_up(1)
        job = enqueue(shop, "mark", name="a", seconds=60)
        shop.until(1, "a", "begin")
        run.signal(signal.SIGINT)
        assert run.code() == 0
        back = record(shop, job)
        assert (back.state in {"ready", "scheduled"}, back.attempt) == (True, 0)
        assert "1 handed back" in run.text()


def test_a_thread_that_does_not_end_keeps_no_process_alive(shop: Shop) -> None:
    """Nobody can stop it, so its job stays held until the process is gone, and is rescued then."""
    with shop.run("--grace", "0.3") as run:
        run.until_up(1)
        job = enqueue(shop, "thread", name="a", seconds=300)
        shop.until(1, "a", "begin")
        run.signal(signal.SIGTERM)
        assert run.code() == 0
        assert "1 left behind" in run.text()
        rescued = record(shop, job)
        assert (rescued.state, rescued.rescues) == ("ready", 1)


def test_the_second_signal_hands_back_now(shop: Shop) -> None:
    with shop.run("--grace", "60") as run:
        run.until_up(1)
        job = enqueue(shop, "mark", name="a", seconds=60)
        shop.until(1, "a", "begin")
        run.signal(signal.SIGTERM)
        run.until_said("SIGTERM: stopping")
        run.signal(signal.SIGTERM)
        assert run.code(15) == 0
        assert record(shop, job).attempt == 0


def test_the_third_signal_kills_and_the_jobs_are_rescued(shop: Shop) -> None:
    with shop.run("--grace", "60", "--stall-limit", "0") as run:
        run.until_up(1)
        job = enqueue(shop, "block", name="a", seconds=60)
        shop.until(1, "a", "begin")
        for said in ("SIGTERM: stopping", "SIGTERM again", "SIGTERM once more"):
            run.signal(signal.SIGTERM)
            run.until(lambda said=said: said in run.text() or run.process.poll() is not None, 10)  # type: ignore[misc]  # mypy knows no lambda with a default
        assert run.code(15) == 1
        rescued = record(shop, job)
        assert (rescued.state, rescued.rescues, rescued.suspect) == ("ready", 1, True)


def test_a_signal_to_the_whole_group_counts_once(shop: Shop) -> None:
    """As Ctrl-C in a terminal, or a service manager that signals every process."""
    with shop.run("--grace", "30") as run:
        (worker,) = run.until_up(1)
        enqueue(shop, "wait", name="a")
        shop.until(1, "a", "begin")
        run.signal(signal.SIGTERM)
        os.kill(worker, signal.SIGTERM)
        run.until_said("mainspring.run: SIGTERM: stopping; ")
        run.until_said("mainspring.run: SIGTERM: stopping\n")
        shop.go()
        assert run.code() == 0
        assert len(shop.lines("a", "end")) == 1


def test_a_worker_that_was_asked_to_stop_by_somebody_else_is_replaced(shop: Shop) -> None:
    with shop.run() as run:
        (worker,) = run.until_up(1)
        os.kill(worker, signal.SIGTERM)
        assert run.until_up(2)[1] != worker


def test_a_full_collection_of_garbage_looks_at_little(shop: Shop) -> None:
    """What was imported before the first job is out of its sight: it would hold every job up each time."""
    enqueue(shop, "collect", name="a")
    with shop.run("--drain") as run:
        assert run.code() == 0
    ((_, _, _, seen, _, frozen),) = shop.lines("a")
    assert int(frozen) > 10_000
    assert int(seen) < int(frozen) / 4


# --- tasks with process=True ----------------------------------------------------------------------


def test_D26_a_task_of_the_app_runs_in_a_child_of_the_worker(shop: Shop) -> None:
    job = enqueue(shop, "square", n=7)
    with shop.run("--drain") as run:
        (worker,) = run.until_up(1)
        assert run.code() == 0
    assert record(shop, job).result == b"49"
    ((_, child, parent),) = shop.lines("square")
    assert (int(child) != worker, int(parent)) == (True, worker)


def test_H17_a_task_that_crashes_its_child_ends_dead_and_the_worker_goes_on(shop: Shop) -> None:
    poison = enqueue(shop, "crash", name="poison")
    good = enqueue(shop, "square", n=3)
    with shop.run() as run:
        dead = until_state(shop, poison, "dead")
        assert dead.error is not None
        assert "exited with code 9" in dead.error.message
        assert until_state(shop, good, "completed").crashes == 0
        assert len(run.until_up(1)) == 1


def test_H17_the_child_of_a_killed_worker_dies_with_it(shop: Shop) -> None:
    enqueue(shop, "burn", name="a", seconds=300)
    with shop.run() as run:
        ((_, _, child),) = shop.until(1, "a", "begin")
        os.kill(run.until_up(1)[0], signal.SIGKILL)
        wait_until(lambda: not lives(int(child)), 10.0, f"{child} goes on without its worker")
        run.signal(signal.SIGTERM)
        run.signal(signal.SIGTERM)
        run.code()


# --- other ways to run ----------------------------------------------------------------------------


@pytest.mark.parametrize("processes", ["1", "2"])
def test_drain_works_everything_and_ends(shop: Shop, processes: str) -> None:
    jobs = [enqueue(shop, "mark", name=f"n{number}") for number in range(10)]
    with shop.run("--drain", "--processes", processes) as run:
        assert run.code() == 0
    assert [record(shop, job).state for job in jobs] == ["completed"] * 10
    assert len(shop.lines()) == 20


@pytest.mark.parametrize("processes", ["1", "2"])
def test_drain_fires_and_runs_the_slots_that_are_due_and_no_later_ones(shop: Shop, processes: str) -> None:
    """On a fresh store, as one that a cron job of the system starts; the slots come faster than their jobs run."""

    async def put() -> None:
        async with App(shop.url) as app:
            mark = app.remote("mark")
            await app.schedules.put("minutely", Every(60), mark.bind(name="minutely"))
            await app.schedules.put("dense", Every(0.2), mark.bind(name="dense", seconds=0.5), overlap="queue")
            await app.schedules.put("later", Every(60, first="after"), mark.bind(name="later"))

    asyncio.run(put())
    with shop.run("--drain", "--processes", processes) as run:
        assert run.code() == 0
    assert len(shop.lines("minutely", "end")) == 1
    assert 1 <= len(shop.lines("dense", "end")) == len(shop.lines("dense", "begin"))
    assert shop.lines("later") == []
    left = asyncio.run(counted(shop))
    assert {state for state, number in left.items() if number} == {"completed"}


async def counted(shop: Shop) -> dict[str, int]:
    """How many jobs there are, by state."""
    async with App(shop.url) as app:
        numbers: dict[str, int] = {}
        for count in await (await app.store()).counts():
            numbers[count.state] = numbers.get(count.state, 0) + count.number
        return numbers


def test_drain_ends_beside_work_that_is_not_its_own(shop: Shop) -> None:
    """Jobs of queues that nobody here serves, and of paused ones."""

    async def add() -> None:
        async with App(shop.url) as app:
            for queue in ("default", "mail", "held"):
                await app.remote("mark").options(queue=queue).enqueue(name=queue)
            await app.queues.pause("held")

    asyncio.run(add())
    with shop.run("--drain", "--queues", "mail,held") as run:
        assert run.code() == 0
    assert [words[0] for words in shop.lines()] == ["mail", "mail"]
    with shop.run("--drain") as run:
        assert run.code() == 0
    assert shop.lines("default", "end")
    assert shop.lines("held") == []


def test_only_the_named_queues_are_worked(shop: Shop) -> None:
    async def add() -> None:
        async with App(shop.url) as app:
            await app.remote("mark").options(queue="other").enqueue(name="other")
            await app.remote("mark").options(queue="mail").enqueue(name="mail")

    asyncio.run(add())
    with shop.run("--queues", "mail, more") as run:
        run.until_up(1)
        shop.until(1, "mail", "end")
        assert shop.lines("other") == []


def test_reload_runs_the_new_code(shop: Shop) -> None:
    with shop.run("--reload", "--log-level", "debug") as run:
        run.until_up(1)
        file = shop.folder / "shop.py"
        text = file.read_text(encoding="utf-8")
        file.write_text("syntax error here", encoding="utf-8")
        run.until_said("cannot start: the app could not be imported")
        file.write_text(text.replace('write(name, "begin"', 'write(name, "newly begun"'), encoding="utf-8")
        run.until_up(2)
        enqueue(shop, "mark", name="a")
        shop.until(1, "a", "newly", "begun")


def test_json_logs_are_one_object_a_line(shop: Shop) -> None:
    enqueue(shop, "mark", name="secret-name")
    with shop.run("--drain", "--log-format", "json", "--log-level", "debug") as run:
        assert run.code() == 0
    said = [json.loads(line) for line in run.text().splitlines()]
    assert any("is up" in each["message"] for each in said)
    assert all({"ts", "level", "logger", "message"} <= each.keys() for each in said)
    assert "secret-name" not in run.text()
