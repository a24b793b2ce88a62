"""How rows are shown: a plain table for people, a list of rows as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TextIO

from bench.measurement import Row, Samples, Unit, Way

PART = ("  who", "value", "min-max", "worker", "server", "cores", "WAL", "commits", "jobs", "version", "settings")
HEAD = ("row", "value", "min-max", "unit", "of bare loop", "best peer", "times better", "exactly once", "fdatasync")


def row_of(
    name: str, unit: Unit, samples: Mapping[str, Samples], *, verified: int, fdatasync: float | None = None
) -> Row:
    """The row of what was measured in the same rounds: `mainspring`, maybe the `bare loop`, maybe peers."""
    mine, ceiling = samples["mainspring"], samples.get("bare loop")
    more = unit == "jobs/s"  # else less is better
    peers = {who: found for who, found in samples.items() if who not in {"mainspring", "bare loop"}}
    best = (max if more else min)(peers, key=lambda who: peers[who].median) if peers else None
    theirs = peers[best] if best else None
    return Row(
        name=name,
        value=mine.median,
        unit=unit,
        low=min(mine.values),
        high=max(mine.values),
        rounds=len(mine.values),
        verified=verified,
        ceiling=ceiling.median if ceiling else None,
        ceiling_ratio=mine.over(ceiling) if ceiling else None,
        peer=best,
        peer_value=theirs.median if theirs else None,
        peer_ratio=None if theirs is None else mine.over(theirs) if more else theirs.over(mine),
        fdatasync_ms=fdatasync,
    )


def table(rows: Sequence[Row]) -> str:
    """The rows in columns.

    >>> print(table([Row(name="a.b", value=1234.5, unit="jobs/s", low=1200, high=1300, rounds=3, verified=9)]))
    row  value  min-max      unit    of bare loop  best peer  times better  exactly once  fdatasync
    a.b  1,234  1,200-1,300  jobs/s  -             -          -             9 jobs        -
    """
    return _columns([HEAD, *(_cells(row) for row in rows)])


def parts(row: Row) -> str:
    """Everybody who took part in a row with a server, the best first; processor time, log and commits are per job.

    >>> way = Way(name="us", value=2000, low=1900, high=2100, jobs=50, worker_us=12.3, server_us=9, cores=0.9,
    ...           wal_bytes=700, commits=0.01)
    >>> print(parts(Row(name="a.b", value=2000, unit="jobs/s", low=1900, high=2100, rounds=3, verified=9, ways=(way,))))
    a.b, jobs/s
      who  value  min-max      worker   server  cores  WAL    commits  jobs  version  settings
      us   2,000  1,900-2,100  12.3 µs  9 µs    0.90   700 B  0.01     50    -        -
    """
    ways = sorted(row.ways or (), key=lambda way: way.value, reverse=row.unit == "jobs/s")
    return f"{row.name}, {row.unit}\n" + _columns([PART, *(_part(way) for way in ways)])


def as_json(rows: Sequence[Row]) -> str:
    """A list of rows; fields that do not exist for a row are left out."""
    return json.dumps(_plain(rows), indent=1, ensure_ascii=False) + "\n"


def write_json(rows: Sequence[Row], path: Path) -> None:
    path.write_text(as_json(rows), encoding="utf-8")


class Bar:
    """How far a measurement is, on one line of a terminal; silent elsewhere."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._shown = stream.isatty()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._shown:
            filled = 24 * done // max(total, 1)
            self._stream.write(f"\r\x1b[K{'█' * filled}{'░' * (24 - filled)} {done}/{total} {what}")
            self._stream.flush()

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def number(value: float) -> str:
    """Three digits that mean something.

    >>> number(12345.6), number(12.34), number(0.0815)
    ('12,346', '12.3', '0.0815')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def counted(row: str) -> str:
    """What the column "exactly once" counts in this row.

    >>> counted("drain.memory"), counted("schedule.late.p50.sqlite"), counted("schedule.start.sqlite")
    ('jobs', 'slots', 'schedules')
    """
    words = {"retry": "calls", "schedule.late": "slots", "schedule.cpu": "slots", "schedule": "schedules"}
    return next((word for prefix, word in words.items() if row.startswith(f"{prefix}.")), "jobs")


def _cells(row: Row) -> tuple[str, ...]:
    peer = f"{row.peer} {number(row.peer_value)}" if row.peer and row.peer_value is not None else "-"
    return (
        row.name,
        number(row.value),
        f"{number(row.low)}-{number(row.high)}",
        row.unit,
        number(row.ceiling_ratio) if row.ceiling_ratio is not None else "-",
        peer,
        f"{number(row.peer_ratio)} x" if row.peer_ratio is not None else "-",
        f"{row.verified:,} {counted(row.name)}",
        f"{number(row.fdatasync_ms)} ms" if row.fdatasync_ms is not None else "-",
    )


def _part(way: Way) -> tuple[str, ...]:
    def cell(value: float | None, unit: str = "") -> str:
        return "-" if value is None else number(value) + unit

    return (
        f"  {way.name}",
        number(way.value),
        f"{number(way.low)}-{number(way.high)}",
        cell(way.worker_us, " µs"),
        cell(way.server_us, " µs"),
        "-" if way.cores is None else f"{way.cores:.2f}",
        cell(way.wal_bytes, " B"),
        cell(way.commits),
        f"{way.jobs:,}",
        way.version or "-",
        way.settings or "-",
    )


def _columns(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _plain(value: object) -> object:
    """As JSON knows it: floats of six digits, nothing that is None."""
    if isinstance(value, Row | Way):
        named = ((each.name, getattr(value, each.name)) for each in fields(value))
        return {name: _plain(part) for name, part in named if part is not None and part != ""}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
