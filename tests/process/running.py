"""`mainspring run` as tests start it: a real parent, real worker processes, an app with a ledger outside the store."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mainspring.app.app import App
from mainspring.model.record import JobRecord

SHOP = """
import asyncio, ctypes, gc, json, os, signal, sys, time
from mainspring import App

app = App()
LEDGER = os.environ["LEDGER"]

def write(*words):
    with open(LEDGER, "a", encoding="utf-8") as ledger:
        ledger.write(" ".join(str(word) for word in words) + "\\n")

@app.task(name="mark")
async def mark(name: str, seconds: float = 0.0) -> None:
    write(name, "begin", os.getpid())
    await asyncio.sleep(seconds)
    write(name, "end", os.getpid())

@app.task(name="wait")
async def wait(name: str) -> None:
    write(name, "begin", os.getpid())
    while not os.path.exists("go"):
        await asyncio.sleep(0.02)
    write(name, "end", os.getpid())

@app.task(name="block")
async def block(name: str, seconds: float) -> None:
    write(name, "begin", os.getpid())
    time.sleep(seconds)
    write(name, "end", os.getpid())

@app.task(name="patient", timeout=60)
async def patient(name: str, seconds: float) -> None:
    write(name, "begin", os.getpid())
    await asyncio.sleep(1)
    time.sleep(seconds)
    write(name, "end", os.getpid())

@app.task(name="gil")
async def gil(name: str, seconds: int) -> None:
    write(name, "begin", os.getpid())
    ctypes.PyDLL(None).sleep(seconds)  # unlike CDLL, it keeps the GIL
    write(name, "end", os.getpid())

@app.task(name="thread")
def thread(name: str, seconds: float) -> None:
    write(name, "begin", os.getpid())
    time.sleep(seconds)

@app.task(name="square", process=True)
def square(n: int) -> int:
    write("square", os.getpid(), os.getppid())
    return n * n

@app.task(name="crash", process=True)
def crash(name: str) -> None:
    write(name, "begin", os.getpid())
    os._exit(9)

@app.task(name="burn", process=True)
def burn(name: str, seconds: float) -> None:
    write(name, "begin", os.getpid())
    time.sleep(seconds)

def holds_pipe():
    try:
        os.fstat(json.loads(sys.argv[1])["pipe"])
    except OSError:
        return "nothing"
    return "the pipe"

@app.task(name="fork")
async def fork(name: str, how: str) -> None:
    child = os.fork() if how == "python" else ctypes.CDLL(None).fork()
    if not child:
        write(name, "holds", holds_pipe())
        time.sleep(300)
        os._exit(0)
    write(name, "begin", os.getpid(), child)
    await asyncio.sleep(300)

@app.task(name="collect")
async def collect(name: str) -> None:
    write(name, "looked at", len(gc.get_objects()), "of", gc.get_freeze_count())

@app.task(name="die")
async def die(name: str) -> None:
    write(name, "begin", os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Shop:
    """A folder with an app in it, a SQLite file or another store, and a ledger."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'work.db'}" if url is None else url
        self.ledger = folder / "ledger.txt"
        (folder / "shop.py").write_text(SHOP, encoding="utf-8")

    def run(self, *arguments: str, app: str = "shop:app") -> Run:
        """`mainspring run shop:app` with these arguments, started."""
        return self.start("run", app, *arguments)

    def start(self, *arguments: str) -> Run:
        """`mainspring` with these arguments, started."""
        return Run(self.folder, arguments, {"MAINSPRING_URL": self.url, "LEDGER": str(self.ledger)})

    def go(self) -> None:
        """The jobs of task "wait" may end, these and those that come."""
        (self.folder / "go").touch()

    def lines(self, *beginning: str) -> list[list[str]]:
        """The ledger's lines that begin with these words."""
        text = self.ledger.read_text(encoding="utf-8") if self.ledger.exists() else ""
        split = [line.split() for line in text.splitlines()]
        return [words for words in split if words[: len(beginning)] == list(beginning)]

    def until(self, count: int, *beginning: str, within: float = 20.0) -> list[list[str]]:
        """Those lines, as soon as there are so many."""
        wait_until(lambda: len(self.lines(*beginning)) >= count, within, f"{count} lines {beginning}: {self.lines()}")
        return self.lines(*beginning)


class Run:
    """One `mainspring` process; what it logs is in a file."""

    def __init__(self, folder: Path, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self.log = folder / f"log-{len(list(folder.glob('log-*')))}.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mainspring", *arguments],
                cwd=folder,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        workers = self.workers()
        try:
            wait_until(lambda: not any(lives(pid) for pid in workers), 40.0, f"orphans of {workers}")
        finally:
            for pid in workers:
                if lives(pid):
                    os.kill(pid, signal.SIGKILL)
            if error is not None:
                sys.stdout.write(self.text())  # shown beside the failure

    def text(self) -> str:
        """Everything that was logged."""
        return self.log.read_text(encoding="utf-8")

    def workers(self) -> list[int]:
        """The process ids of all worker processes so far, in the order of their start."""
        return [int(found) for found in re.findall(r"worker process \d+ \(pid (\d+)\) is up", self.text())]

    def until_up(self, count: int, within: float = 30.0) -> list[int]:
        """Those ids, as soon as there have been so many."""
        self.until(lambda: len(self.workers()) >= count, within)
        return self.workers()

    def until_said(self, pattern: str, within: float = 20.0) -> None:
        """Returns when the log has it."""
        self.until(lambda: re.search(pattern, self.text()) is not None, within)

    def until(self, true: Callable[[], bool], within: float) -> None:
        """Returns when it is true; fails with the log when that takes too long, or the process has ended before."""
        ends = time.monotonic() + within
        while not true():
            alive = self.process.poll() is None
            if time.monotonic() > ends or (not alive and not true()):
                raise AssertionError(f"it did not come (process alive: {alive}); the log:\n{self.text()}")
            time.sleep(0.01)

    def signal(self, each: signal.Signals) -> None:
        """To the parent only."""
        self.process.send_signal(each)

    def code(self, within: float = 30.0) -> int:
        """The exit code, when it has ended by itself."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {within} s; the log:\n{self.text()}") from None


def enqueue(shop: Shop, task: str, **arguments: object) -> str:
    """Store a job of the shop's app; returns its id."""

    async def add() -> str:
        async with App(shop.url) as app:
            return (await app.remote(task).enqueue(**arguments)).id

    return asyncio.run(add())


def record(shop: Shop, job: str) -> JobRecord:
    """The job as the store has it now."""

    async def read() -> JobRecord:
        async with App(shop.url) as app:
            return await (await app.jobs.get(job)).refresh()

    return asyncio.run(read())


def until_state(shop: Shop, job: str, state: str) -> JobRecord:
    """The job, as soon as it is in this state."""
    wait_until(lambda: record(shop, job).state == state, 20.0, f"{job} is {record(shop, job)}, not {state}")
    return record(shop, job)


def lives(pid: int) -> bool:
    """Whether a process is there and has not ended (a zombie has)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(true: Callable[[], bool], within: float, what: str) -> None:
    """Returns when it is true; fails when that takes too long."""
    ends = time.monotonic() + within
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(0.01)
