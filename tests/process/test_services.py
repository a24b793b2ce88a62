"""Services in real processes: signals, threads that do not listen, kills, and what is kept over them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX knows them"),
]

LIMIT = 30.0  # seconds, for what takes a fraction of one

BEGIN = """
import asyncio, logging, signal, sys, threading, time
from mainspring import Retry, Service, Supervisor, constant
from mainspring.retries.attempt_file import SQLiteAttempts
from mainspring.service import stopping

logging.basicConfig(stream=sys.stdout, format="%(message)s")

def say(*words):
    # In one piece: print() writes the end of the line by itself, and another thread may come between.
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()
"""

SUPERVISED = """
async def tick():
    say("tick")

def watch(stop):
    say("thread is up")
    stop.wait()
    say("thread returned")

async def last():
    try:
        say("block is up")
        await asyncio.Event().wait()
    finally:
        say("cleaned up")

async def shut_down():
    say("shut down")

async def main():
    sup = Supervisor(grace=10)
    inner = Supervisor()
    inner.add(Service("tick", tick, every=3600, on_shutdown=shut_down))
    sup.add(Service("inner", inner))
    sup.add(Service("watch", watch))
    sup.add(Service("last", last))
    async with sup:
        said = await sup.run_until_signal()
    say(said.name, *[f"{each.name}={each.state}" for each in sup.health()], *sup.overdue)

asyncio.run(main())
say("end of the program")
"""

DEAF = """
stopping.UNWIND = 0.1

def deaf(stop):
    say("deaf is up")
    while True:
        time.sleep(3600)

async def main():
    async with Supervisor(grace=0) as sup:
        sup.add(Service("deaf", deaf, timeout=HOW_LONG))
        said = await sup.run_until_signal()
    say(said.name, "overdue:", *sup.overdue)
"""

COUNTED = """
async def fails():
    global runs
    runs += 1
    if runs > int(sys.argv[2]):
        say("stands")
        await asyncio.Event().wait()
    say("run")
    raise OSError("down")

runs = 0
retry = Retry(on=OSError, attempts=5, backoff=constant(0))
sup = Supervisor()
sup.add(Service("poll", fails, retry=retry, attempt_store=SQLiteAttempts(sys.argv[1])))
try:
    asyncio.run(sup.run())
except OSError as error:
    say("gave up:", error.__notes__[0])
"""

COUNTING = """
async def main():
    async with SQLiteAttempts(sys.argv[1]) as attempts:
        while True:
            say(await attempts.add("poll", "rule"))

asyncio.run(main())
"""

READING = """
say(asyncio.run(SQLiteAttempts(sys.argv[1]).load("poll"))["rule"])
"""


@contextmanager
def program(text: str, *arguments: object) -> Generator[subprocess.Popen[str]]:
    """A Python of its own, killed at the end whatever happens."""
    started = subprocess.Popen(
        [sys.executable, "-c", BEGIN + text, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate(timeout=LIMIT)


def output(started: subprocess.Popen[str]) -> IO[str]:
    assert started.stdout is not None
    return started.stdout


def said_until(started: subprocess.Popen[str], *words: str) -> list[str]:
    """What it says until each of these lines has come."""
    lines: list[str] = []
    while not set(words) <= set(lines):
        line = output(started).readline()
        assert line, f"it has ended: {lines}"
        lines.append(line.rstrip("\n"))
    return lines


def rest_of(started: subprocess.Popen[str]) -> list[str]:
    """What it says to its end."""
    lines = output(started).read().splitlines()
    started.wait(LIMIT)
    return lines


def test_S1_32_SIGTERM_stops_async_sync_and_nested_services_in_order() -> None:
    with program(SUPERVISED) as started:
        said_until(started, "tick", "thread is up", "block is up")
        started.send_signal(signal.SIGTERM)
        assert rest_of(started) == [
            "cleaned up",
            "thread returned",
            "shut down",
            "SIGTERM inner=cancelled inner/tick=cancelled last=cancelled watch=cancelled",
            "end of the program",
        ]
        assert started.returncode == 0


@pytest.mark.parametrize("how_long", ["None", "0.01"], ids=["stopped", "overdue already"])
def test_a_thread_that_does_not_listen_is_told_of_and_keeps_nothing_alive(how_long: str) -> None:
    end = "asyncio.run(main())\nsay('end of the program')"
    with program(DEAF.replace("HOW_LONG", how_long) + end) as started:
        said_until(started, "deaf is up")
        if how_long != "None":
            said_until(
                started,
                "service 'deaf' is overdue: its timeout has passed, and its thread goes on; it runs again when that has"
                " returned",
            )
        started.send_signal(signal.SIGTERM)
        assert rest_of(started) == [
            "service 'deaf' was cancelled and has not stopped in time; it is left behind",
            "SIGTERM overdue: deaf",
            "end of the program",
        ]
        assert started.returncode == 0


def test_the_end_of_the_loop_does_not_wait_for_such_a_thread_either() -> None:
    """`asyncio.run` cancels every task at once, that which stops the services as well."""
    end = """
async def beside():
    stopping_soon = asyncio.create_task(main())
    await asyncio.to_thread(begun.wait)

begun = threading.Event()
real = deaf

def deaf(stop):
    begun.set()
    real(stop)

asyncio.run(beside())
say("end of the program")
"""
    with program(DEAF.replace("HOW_LONG", "None") + end) as started:
        assert rest_of(started) == [
            "deaf is up",
            "service 'deaf' was cancelled and has not stopped in time; it is left behind",
            "end of the program",
        ]
        assert started.returncode == 0


def test_a_second_signal_ends_the_grace() -> None:
    text = """
async def stop():
    say("asked")

async def main():
    async with Supervisor(grace=3600) as sup:
        sup.add(Service("a", asyncio.Event().wait, stop=stop))
        asyncio.get_running_loop().call_soon(say, "up")
        said = await sup.run_until_signal()
    say(said.name, sup.health()[0].state)

asyncio.run(main())
"""
    with program(text) as started:
        said_until(started, "up")
        started.send_signal(signal.SIGINT)
        said_until(started, "asked")
        started.send_signal(signal.SIGTERM)
        assert rest_of(started) == ["SIGTERM again: stopping now", "SIGINT cancelled"]


# --- counts that outlive the process -----------------------------------------------------------------


def test_ATT_010_counts_survive_SIGKILL(tmp_path: Path) -> None:
    """Five runs in all, over three processes, each but the last one killed while it runs."""
    path = tmp_path / "attempts.db"
    for _ in range(2):
        with program(COUNTED, path, 2) as started:
            assert said_until(started, "stands").count("run") == 2
            started.send_signal(signal.SIGKILL)
            assert started.wait(LIMIT) == -signal.SIGKILL
    with program(COUNTED, path, 1000) as started:
        said = rest_of(started)
    assert said.count("run") == 1
    assert said[-1].startswith("gave up: the service gave up after 5 failed run(s)")


def test_a_kill_in_the_middle_loses_no_count_that_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "attempts.db"
    answered = 0
    for _ in range(3):
        with program(COUNTING, path) as started:
            for _ in range(20):
                before = int(output(started).readline())
                assert before in {answered, answered + 1}  # the one under way at the kill may have been written
                answered = before + 1
            os.kill(started.pid, signal.SIGKILL)
            answered += len(rest_of(started))
    with program(READING, path) as started:
        (counted,) = rest_of(started)
    assert int(counted) in {answered, answered + 1}


def test_two_processes_on_one_file_share_the_counts_of_one_service(tmp_path: Path) -> None:
    """As two workers of an app with a service do, which is one per process (D40)."""
    path = tmp_path / "attempts.db"
    with program(COUNTED, path, 2) as first:
        said_until(first, "stands")
        with program(COUNTED, path, 1000) as second:
            said = rest_of(second)
    assert said.count("run") == 3
    assert said[-1].startswith("gave up: the service gave up after 5 failed run(s)")
