"""The registry: which rows there are, and how a selection of them is found and measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench import drain, enqueue, latency, retry, schedule
from bench.measurement import Absent, Measurement, Row, Run
from bench.postgres import rows as postgres

MEASUREMENTS: tuple[Measurement, ...] = (
    *drain.MEASUREMENTS,
    *enqueue.MEASUREMENTS,
    *latency.MEASUREMENTS,
    *postgres.MEASUREMENTS,
    *retry.MEASUREMENTS,
    *schedule.MEASUREMENTS,
)
NAMES: tuple[str, ...] = tuple(name for measurement in MEASUREMENTS for name in measurement.names)


class UnknownRow(LookupError):
    """No row has this name or begins with it."""


def select(asked: Sequence[str]) -> list[str]:
    """The rows with these names, or that begin with them, in the order of the table; all when nothing is asked.

    A prefix ends at a dot: `latency.cross` is one, `lat` is none. Raises UnknownRow.

    >>> select(["retry.fails2", "drain.memory"])
    ['drain.memory', 'retry.fails2.sync', 'retry.fails2.async']
    """
    for name in asked:
        if not any(_belongs(row, name) for row in NAMES):
            raise UnknownRow(f"no row is called {name} or begins with it; there are: {', '.join(NAMES)}")
    return [row for row in NAMES if not asked or any(_belongs(row, name) for name in asked)]


def measure(names: Sequence[str], run: Run) -> Iterator[list[Row]]:
    """Measure what is needed for these rows, and nothing else. What cannot be measured here is said in the notes."""
    for measurement in MEASUREMENTS:
        wanted = [name for name in measurement.names if name in names]
        if not wanted:
            continue
        try:
            yield [row for row in measurement.measure(run) if row.name in wanted]
        except Absent as error:
            run.notes.append(f"not measured: {', '.join(wanted)}: {error}")


def _belongs(row: str, asked: str) -> bool:
    return row == asked or row.startswith(asked.rstrip(".") + ".")
