"""Workers that live in another program and keep their leases while its loop is blocked (RULES C8)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from mainspring.app.app import App
from mainspring.model.record import JobRecord
from mainspring.store.base import Beat, Worker
from mainspring.store.postgres.lifeline import PostgresLifeline
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.store import PostgresStore
from tests.servers.postgres import Postgres
from tests.servers.proxy import TcpProxy

LEASE = 2.0


def named(url: str, name: str) -> str:
    """The URL with a name for its connections."""
    return f"{url}&application_name={quote(name)}"


def connections(server: Postgres, name: str) -> int:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        found = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name])
        ((count,),) = found.fetchall()
        return int(count)


@contextmanager
def neighbour(url: str) -> Iterator[None]:
    """A worker in another thread that rescues what the dead have left; it knows no task, so it runs nothing."""
    ended = threading.Event()
    up = threading.Event()

    async def work() -> None:
        app = App(url)
        async with app.running(lease_time=LEASE, poll=0.1):
            up.set()
            while not ended.is_set():  # set by another thread
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=asyncio.run, args=(work(),), daemon=True)
    thread.start()
    try:
        assert up.wait(20.0)
        time.sleep(LEASE * 1.3)  # from then on it may judge others
        yield
        assert thread.is_alive()
    finally:
        ended.set()
        thread.join(20.0)


async def record(app: App, job: str) -> JobRecord:
    (found,) = await (await app.store()).get([job])
    assert found is not None
    return found


def beating() -> bool:
    return any(thread.name == "mainspring-beat" for thread in threading.enumerate())


async def test_a_lifeline_is_one_connection_and_leaves_none(postgres_server: Postgres, postgres_url: str) -> None:
    store = PostgresStore(Place.parse(postgres_url))
    await store.open()
    await store.join(Worker("w"))
    lifeline = PostgresLifeline(Place.parse(named(postgres_url, "lifeline")))
    assert connections(postgres_server, "lifeline") == 0
    await lifeline.open()
    assert (await lifeline.beat(Beat("w"))).known
    assert connections(postgres_server, "lifeline") == 1
    await lifeline.close()
    while connections(postgres_server, "lifeline"):  # the server takes a moment to notice
        await asyncio.sleep(0.01)
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.03])
async def test_C8_an_embedded_worker_whose_loop_is_blocked_for_three_lease_times_keeps_its_job(
    postgres_server: Postgres, postgres_url: str, postgres_proxy: TcpProxy, delay: float
) -> None:
    """Beside it a worker that would rescue it. Its thread is there for as long as it is needed, and not before.

    With a delay, in each direction, everything that is asked of the server takes 60 ms, and connecting several times
    that.
    """
    postgres_proxy.delay(delay)
    schema = Place.parse(postgres_url).schema
    app = App(named(postgres_server.url(schema, port=postgres_proxy.port), "blocked"))
    ran: list[bool] = []
    seen: list[bool] = []
    opened: list[int] = []

    @app.task(name="block")
    async def block() -> None:
        ran.append(beating())
        before = connections(postgres_server, "blocked")
        for _ in range(3):
            time.sleep(LEASE)  # noqa: ASYNC251  # the point of the test
            seen.append(beating())
        opened.append(connections(postgres_server, "blocked") - before)

    with neighbour(postgres_url):
        async with app.running(lease_time=LEASE):
            job = await block.enqueue()
            await job.result(timeout=60)
            ended = await record(app, job.id)
            await asyncio.sleep(LEASE)  # its own beats come again
            assert not beating()
    assert (ended.state, ended.attempt, ended.rescues, ended.lease) == ("completed", 1, 0, 1)
    assert ran == [False]
    assert seen == [True, True, True]
    assert opened == [1]


async def test_C7_others_see_that_the_loop_stands_still(postgres_url: str) -> None:
    app = App(postgres_url)
    other = PostgresStore(Place.parse(postgres_url))
    seen: list[bool] = []

    @app.task(name="block")
    async def block() -> None:
        time.sleep(6.0)  # noqa: ASYNC251  # longer than `stall_warn`
        seen.extend(await asyncio.to_thread(asyncio.run, stalled()))

    async def stalled() -> list[bool]:
        await other.open()
        try:
            return [worker.stalled for worker in await other.workers()]
        finally:
            await other.close()

    async with app.running(lease_time=600.0):
        await (await block.enqueue()).result(timeout=60)
    assert seen == [True]


SCRIPT = """
import asyncio, os, signal, sys, threading, time
from mainspring import App

app = App(sys.argv[1])
how = sys.argv[2]

def beating():
    return any(thread.name == "mainspring-beat" for thread in threading.enumerate())

@app.task(name="block")
async def block() -> None:
    while not beating():
        time.sleep(0.01)
    time.sleep(0.5)
    if how == "fork":
        child = os.fork()
        if not child:
            print("in the child", beating(), flush=True)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(3)
        print("child", code, "beating", beating(), flush=True)
    elif how == "interrupt":
        for wait in (0.1, 0.5):  # the first asks the loop, which does not hear it
            threading.Timer(wait, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(3600)
    else:
        time.sleep(3600)

async def main():
    async with app.running(lease_time=1.0, grace=1.0):
        job = await block.enqueue()
        await job.result()

if how == "daemon":
    threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
    while not beating():
        time.sleep(0.01)
    time.sleep(0.5)
else:
    asyncio.run(main())
print("over", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["daemon", "interrupt", "fork"])
def test_C8_the_thread_holds_up_no_end_of_the_program(tmp_path: Path, postgres_url: str, how: str) -> None:
    """Neither that of the interpreter with a loop that stands for ever, nor one by Ctrl-C, nor that of a fork."""
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    done = subprocess.run(  # our own interpreter
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script), postgres_url, how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout.split("\n")
    assert "Fatal" not in done.stderr
    if how == "fork":
        assert "in the child False" in said
        assert "child 0 beating True" in said
    if how == "interrupt":
        assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    else:
        assert "over" in said
        assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
