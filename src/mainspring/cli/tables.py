"""What the verbs print: aligned text for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import typer

Json = dict[str, object]

COLOURS: Final[Mapping[str, str]] = {
    "active": "green",
    "completed": "green",
    "paused": "yellow",
    "missed": "yellow",
    "skipped": "yellow",
    "dead": "red",
    "expired": "red",
    "removed": "red",
    "unreadable": "red",
}
"""Of a cell that says just this; the terminal shows them, a file or a pipe gets none."""


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str | int]]) -> None:
    """Columns as wide as their widest cell; numbers to the right. Nothing is cut, so that lines can be searched."""
    lines = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(line[place]) for line in (heads, *lines)) for place in range(len(heads))]
    right = [bool(rows) and all(isinstance(row[place], int) for row in rows) for place in range(len(heads))]
    typer.secho(_line(heads, widths, right), bold=True)
    for line in lines:
        typer.echo(_line(line, widths, right, coloured=True))


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """A name and its value a line; those without a value are left out."""
    there = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in there), default=0)
    for name, value in there:
        typer.echo(f"{typer.style(f'{name:<{width}}', bold=True)}  {value}")


def print_json(value: object) -> None:
    """One JSON document."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _text(cell: str | int) -> str:
    """On one line, whatever people put into an id."""
    return str(cell) if isinstance(cell, int) or cell.isprintable() else repr(cell)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], *, coloured: bool = False) -> str:
    parts: list[str] = []
    for cell, width, to_right in zip(cells, widths, right, strict=True):
        padding = " " * (width - len(cell))
        colour = COLOURS.get(cell) if coloured else None
        shown = typer.style(cell, fg=colour) if colour else cell
        parts.append(padding + shown if to_right else shown + padding)
    return "  ".join(parts).rstrip()
