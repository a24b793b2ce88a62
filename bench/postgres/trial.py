"""One trial of one contestant: its programs are started, told to begin, watched from outside, and what they did is
verified in their tables and in the ledger that each job marks when it runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self
from uuid import uuid4

from bench.frame import Ledger
from bench.measurement import Absent, Unverified, verify_once
from bench.peers import ROOT, Peer
from bench.postgres.lab import Lab
from bench.postgres.usage import Meter, Usage

PATIENCE = 90.0  # seconds for anything that a program is asked for
SETTLE = 0.5  # seconds that workers get to become idle before the first job of a latency trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Somebody to be measured. `marks`: its tasks mark the ledger; the bare loop has none."""

    name: str
    module: str
    python: Path
    unfinished: str
    finished: str
    marks: bool = True

    @classmethod
    def of(cls, peer: Peer) -> Self:
        return cls(
            name=peer.name,
            module=peer.module,
            python=peer.environment.program,
            unfinished=peer.unfinished,
            finished=peer.finished,
        )


class Program:
    """A contestant's program that runs a command of `bench.frame`."""

    def __init__(self, who: Contestant, *words: str) -> None:
        self._who, self._words = who, words
        self._process = subprocess.Popen(
            [str(who.python), "-m", who.module, *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._said = ""

    def begin(self) -> None:
        """It is ready, or will be soon; it shall begin."""
        self.answer()
        self.tell()

    def tell(self) -> None:
        """Send the line that it waits for."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next thing it says. Raises Absent when it has died instead."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self.failed()
        found: dict[str, Any] = json.loads(line)
        return found

    def died(self) -> bool:
        return self._process.poll() is not None

    def failed(self, how: str = "failed") -> Absent:
        """Why it ended without an answer."""
        assert self._process.stderr
        self._process.kill()
        text = self._said if self._process.stderr.closed else self._process.stderr.read()
        said = text.strip().splitlines() or ["nothing"]
        return Absent(f"{self._who.name} {how} at {self._words[0]} and said: {said[-1][:300]}")

    def end(self) -> None:
        """Wait until it has gone."""
        try:
            _, self._said = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise self.failed() from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def drain(lab: Lab, who: Contestant, jobs: int, folder: Path, *, processes: int = 1, purpose: str = "drain") -> Usage:
    """From the start of the first job until all are recorded as done. Raises Unverified and Absent."""
    template = lab.template((who.name, "filled", jobs), partial(_filled, who, jobs))
    with lab.copy(template) as database, ExitStack() as stack:
        files = [_ledger(folder, jobs) for _ in range(processes)]
        ledgers = [Ledger(file, jobs) for file in files]
        words = ("work", lab.url(database), str(jobs), purpose)
        programs = [stack.enter_context(Program(who, *words, str(file))) for file in files]
        for program in programs:
            program.answer()
        meter = Meter(lab, database, [program.pid for program in programs])
        for program in programs:
            program.tell()
        _until(lambda: _runs(ledgers) > 0, programs)
        meter.begin()
        _until(lambda: _runs(ledgers) >= jobs, programs)
        asked = _until_recorded(lab, who, database, programs)
        meter.end()
        for program in programs:
            program.tell()
        for program in programs:
            program.end()
        usage = meter.usage(jobs, own_commits=asked)
        _verify(lab, who, database, finished=jobs)
        if who.marks:
            verify_once(_ran(ledgers))
        for file in files:
            file.unlink()
        return usage


def enqueue(lab: Lab, who: Contestant, how: str, jobs: int, folder: Path | None = None) -> Usage:
    """Storing jobs, each committed before it is counted; with a folder for the ledger they are run afterwards, to see
    that each is there once. Raises Unverified and Absent.
    """
    template = lab.template((who.name, "empty"), partial(_prepared, who))
    with lab.copy(template) as database:
        with Program(who, "enqueue", lab.url(database), str(jobs), how) as program:
            program.answer()
            meter = Meter(lab, database, [program.pid])
            program.tell()
            seconds = program.answer()["seconds"]
            meter.end()
            program.tell()
            program.end()
        usage = meter.usage(jobs, seconds)
        _verify(lab, who, database, unfinished=jobs)
        if folder is not None:
            _run_all(lab, who, database, jobs, folder)
        return usage


def latency(lab: Lab, who: Contestant, jobs: int, folder: Path) -> list[float]:
    """Milliseconds from before the call of enqueue in one process to the start of the task in another."""
    template = lab.template((who.name, "empty"), partial(_prepared, who))
    file = _ledger(folder, jobs)
    ledger = Ledger(file, jobs)
    with lab.copy(template) as database, _working(who, lab.url(database), jobs, file) as worker:
        with Program(who, "feed", lab.url(database), str(jobs)) as feeder:
            feeder.begin()
            called: Sequence[float] = feeder.answer()["called"]
            feeder.tell()
            feeder.end()
        _until(lambda: _runs([ledger]) >= jobs, [worker])
        worker.tell()
        worker.end()
    verify_once(_ran([ledger]))
    file.unlink()
    return [(began - call) * 1000 for began, call in zip(ledger.began, called, strict=True)]


@contextmanager
def _working(who: Contestant, url: str, jobs: int, file: Path) -> Iterator[Program]:
    with Program(who, "work", url, str(jobs), "latency", str(file)) as worker:
        worker.begin()
        sleep(SETTLE)
        yield worker


def _run_all(lab: Lab, who: Contestant, database: str, jobs: int, folder: Path) -> None:
    file = _ledger(folder, jobs)
    ledger = Ledger(file, jobs)
    with Program(who, "work", lab.url(database), str(jobs), "drain", str(file)) as worker:
        worker.begin()
        _until(lambda: _runs([ledger]) >= jobs, [worker])
        worker.tell()
        worker.end()
    verify_once(_ran([ledger]))
    file.unlink()


def _prepared(who: Contestant, url: str) -> None:
    with Program(who, "prepare", url, "0") as program:
        program.end()
        if program._process.returncode:  # noqa: SLF001
            raise program.failed()


def _filled(who: Contestant, jobs: int, url: str) -> None:
    _prepared(who, url)
    with Program(who, "enqueue", url, str(jobs), "bulk") as program:
        program.begin()
        program.answer()
        program.tell()
        program.end()


def _ledger(folder: Path, jobs: int) -> Path:
    file = folder / f"ledger-{uuid4().hex}"
    Ledger(file, jobs, new=True)
    return file


def _ran(ledgers: Sequence[Ledger]) -> list[int]:
    """How often each job ran, in all processes together."""
    return [sum(times) for times in zip(*(ledger.ran for ledger in ledgers), strict=True)]


def _runs(ledgers: Sequence[Ledger]) -> int:
    """How many jobs each process has run, added up: quick, for it is asked all the time."""
    return sum(len(ledger.ran) - bytes(ledger.ran).count(0) for ledger in ledgers)


def _until(true: Callable[[], bool], programs: Sequence[Program]) -> None:
    """Look every two milliseconds. Raises Absent when a program dies or nothing has come of it in time."""
    ends = monotonic() + PATIENCE
    while not true():
        if dead := [program for program in programs if program.died()]:
            raise dead[0].failed()
        if monotonic() > ends:
            raise programs[0].failed(f"was not done in {PATIENCE:.0f} s")
        sleep(0.002)


def _until_recorded(lab: Lab, who: Contestant, database: str, programs: Sequence[Program]) -> int:
    """Until its tables know of nothing unfinished; how often that was asked."""
    asked = 0
    with lab.connect(database) as connection:

        def recorded() -> bool:
            nonlocal asked
            asked += 1
            return connection.execute(who.unfinished).fetchone() == (0,)

        _until(recorded, programs)
    return asked


def _verify(lab: Lab, who: Contestant, database: str, *, unfinished: int = 0, finished: int = 0) -> None:
    with lab.connect(database) as connection:
        found = [connection.execute(statement).fetchone() for statement in (who.unfinished, who.finished)]
    if found != [(unfinished,), (finished,)]:
        raise Unverified(f"{who.name}: unfinished and finished jobs are {found} instead of {unfinished}, {finished}")


OURS = Contestant(
    name="mainspring",
    module="bench.postgres.ours",
    python=Path(sys.executable),
    unfinished="select count(*) from mainspring.jobs",
    finished="select count(*) from mainspring.jobs_done where state = 'completed'",
)
