"""What a trial used: processor time of the workers and of the server, write-ahead log, commits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.postgres.lab import Lab

TICK = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of one trial. `worker_us` and `server_us`: processor time per job, in microseconds. `cores`: both together, as
    the number of cores kept busy. `wal_bytes` and `commits`: per job.
    """

    rate: float
    worker_us: float
    server_us: float
    cores: float
    wal_bytes: float
    commits: float


class Meter:
    """Reads before, and tells the difference after.

    Args:
        pids: the processes of the contestant, without the server.
    """

    def __init__(self, lab: Lab, database: str, pids: Iterable[int]) -> None:
        self._lab = lab
        self._database = database
        self._pids = tuple(pids)
        self._commits = lab.commits(database)
        self.begin()

    def begin(self) -> None:
        """What follows counts."""
        self._wal = self._lab.wal()
        self._worker, self._server = self._cpu()
        self.began = perf_counter()

    def end(self) -> None:
        """What followed has ended. The processes must still be there."""
        self.took = perf_counter() - self.began
        worker, server = self._cpu()
        self._wal = self._lab.wal() - self._wal
        self._worker, self._server = worker - self._worker, server - self._server

    def usage(self, jobs: int, seconds: float | None = None, own_commits: int = 0) -> Usage:
        """The figures, after the processes have gone; `seconds` when the contestant knows better how long it took."""
        took = seconds or self.took
        self._lab.settled(self._database)
        commits = self._lab.commits(self._database) - self._commits - own_commits
        return Usage(
            rate=jobs / took,
            worker_us=self._worker / jobs * 1e6,
            server_us=self._server / jobs * 1e6,
            cores=(self._worker + self._server) / self.took,
            wal_bytes=self._wal / jobs,
            commits=max(commits, 0) / jobs,
        )

    def _cpu(self) -> tuple[float, float]:
        return sum(map(_own, self._pids)), server_seconds(self._lab.pid)


def server_seconds(first: int) -> float:
    """Processor time of the server's first process, of those it has now, and of those that have ended."""
    total = _own(first, ended=True)
    for place in Path("/proc").glob("[0-9]*"):
        if _fields(int(place.name))[1:2] == [str(first)]:
            total += _own(int(place.name))
    return total


def _own(pid: int, *, ended: bool = False) -> float:
    fields = _fields(pid)
    return sum(int(ticks) for ticks in fields[11 : 15 if ended else 13]) * TICK


def _fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on (state, parent, …); none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []
