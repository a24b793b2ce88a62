"""What a measurement is, what it yields, and how several ways of doing one thing are measured fairly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Literal, NamedTuple, Protocol

Unit = Literal["jobs/s", "ms", "µs", "B"]
OURS = "mainspring"
QUICK_SECONDS = 18.0  # after them a quick run begins no further round


class Unverified(Exception):
    """A job ran twice, or not at all: the numbers of this run mean nothing."""


class Absent(Exception):
    """Something that was to be measured is not here, or did not work; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How somebody fared in a row with a server: ourselves, a bare loop, or a peer in these settings.

    `cores`: how many were kept busy, the server's part included.
    """

    name: str
    value: float
    low: float
    high: float
    jobs: int
    settings: str = ""
    guarantee: str = ""
    version: str = ""
    worker_us: float | None = None
    server_us: float | None = None
    cores: float | None = None
    wal_bytes: float | None = None
    commits: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the result. `low` and `high` are the worst and the best round by number, not by merit.

    `ceiling_ratio`: this value over that of a bare loop that does the least durable work on our own tables.
    `peer_ratio`: how many times better than `peer`, the best of the peers. `verified`: how many jobs (or calls, slots, schedules)
    were seen to run, or to be stored, exactly once. `fdatasync_ms`: what one takes on this disk; None where nothing is synced.
    With a server, per job: processor time of the worker and of the server, write-ahead log, commits; `ways`: the same
    for everybody who took part.
    """

    name: str
    value: float
    unit: Unit
    low: float
    high: float
    rounds: int
    verified: int
    ceiling_ratio: float | None = None
    ceiling: float | None = None
    peer: str | None = None
    peer_value: float | None = None
    peer_ratio: float | None = None
    fdatasync_ms: float | None = None
    worker_us: float | None = None
    server_us: float | None = None
    wal_bytes: float | None = None
    commits: float | None = None
    ways: tuple[Way, ...] | None = None


class Progress(Protocol):
    """Whoever wants to know how far a run is."""

    def __call__(self, what: str, done: int, total: int, /) -> None: ...


class PeerRunner(Protocol):
    """Runs one peer program in the peers' own environment; None when that is not there."""

    def __call__(self, program: str, /, *arguments: str) -> dict[str, float] | None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """One call of the benchmark. `folder` is new and empty, on the disk that is to be measured.

    `peers`: those with a server may be measured too. `notes`: what whoever reads the rows must know besides.
    """

    folder: Path
    quick: bool
    rounds: int
    peer: PeerRunner
    progress: Progress
    peers: bool = True
    notes: list[str] = field(default_factory=list)

    def count(self, full: int, quick: int) -> int:
        """How many jobs or calls."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Measurement:
    """One thing to do; it yields one row for each of its names."""

    names: tuple[str, ...]
    measure: Callable[[Run], Sequence[Row]]


class Samples(NamedTuple):
    """What the rounds gave, in order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def over(self, other: Samples) -> float:
        """The median of the ratios round by round: what slows a whole round cancels out.

        >>> Samples((10.0, 5.0, 30.0)).over(Samples((5.0, 2.5, 10.0)))
        2.0
        """
        return median(mine / theirs for mine, theirs in zip(self.values, other.values, strict=True))


def interleaved(run: Run, what: str, ways: Mapping[str, Callable[[], float]]) -> dict[str, Samples]:
    """Every way once in each round; every second round backwards, so that no way always follows the same other.

    A way that turns out to be Absent is left out, with a note; without our own there is nothing to say (raises Absent).

    >>> from bench.peers import no_peers
    >>> run = Run(Path(), quick=True, rounds=3, peer=no_peers, progress=lambda what, done, total: None)
    >>> interleaved(run, "x", {"a": lambda: 1.0, "b": lambda: 2.0})["b"].values
    (2.0, 2.0, 2.0)
    """
    values: dict[str, list[float]] = {name: [] for name in ways}
    total, done = run.rounds * len(ways), 0
    begin = perf_counter()
    for number in range(run.rounds):
        if run.quick and number and perf_counter() - begin > QUICK_SECONDS:
            run.notes.append(f"{what}: {number} of {run.rounds} rounds, this machine is busy or slow")
            break
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            run.progress(f"{what}: {name}", done, total)
            done += 1
            if name not in values:
                continue
            try:
                values[name].append(ways[name]())
            except Absent as error:
                if name == OURS:
                    raise
                run.notes.append(f"{what}: {error}")
                del values[name]
    run.progress(what, done, total)
    return {name: Samples(tuple(found)) for name, found in values.items()}


def verify_once(ran: Sequence[int]) -> int:
    """How many jobs there are, when each ran exactly once. Raises Unverified.

    >>> verify_once([1, 1, 1])
    3
    >>> verify_once([1, 2, 0])
    Traceback (most recent call last):
        ...
    bench.measurement.Unverified: 1 of 3 jobs never ran, 1 ran more than once
    """
    never, often = sum(count == 0 for count in ran), sum(count > 1 for count in ran)
    if never or often:
        raise Unverified(f"{never} of {len(ran)} jobs never ran, {often} ran more than once")
    return len(ran)
