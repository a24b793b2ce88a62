"""What a measurement is, what it yields, and how several ways of doing one thing are measured fairly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple, Protocol

Unit = Literal["jobs/s", "ms", "µs"]


class Unverified(Exception):
    """A job ran twice, or not at all: the numbers of this run mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the result. `low` and `high` are the worst and the best round by number, not by merit.

    `ceiling_ratio`: this value over that of a bare loop that does the least durable work on our own tables.
    `peer_ratio`: how many times better than `peer`, the best of the peers. `verified`: how many jobs (or calls) were
    seen to run exactly once. `fdatasync_ms`: what one takes on this disk; None where nothing is synced.
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


class Progress(Protocol):
    """Whoever wants to know how far a run is."""

    def __call__(self, what: str, done: int, total: int, /) -> None: ...


class PeerRunner(Protocol):
    """Runs one peer program in the peers' own environment; None when that is not there."""

    def __call__(self, program: str, /, *arguments: str) -> dict[str, float] | None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """One call of the benchmark. `folder` is new and empty, on the disk that is to be measured."""

    folder: Path
    quick: bool
    rounds: int
    peer: PeerRunner
    progress: Progress

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

    >>> from bench.peers import no_peers
    >>> run = Run(Path(), quick=True, rounds=3, peer=no_peers, progress=lambda what, done, total: None)
    >>> interleaved(run, "x", {"a": lambda: 1.0, "b": lambda: 2.0})["b"].values
    (2.0, 2.0, 2.0)
    """
    values: dict[str, list[float]] = {name: [] for name in ways}
    total, done = run.rounds * len(ways), 0
    for number in range(run.rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            run.progress(f"{what}: {name}", done, total)
            values[name].append(ways[name]())
            done += 1
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
