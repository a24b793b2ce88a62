"""What the demo shows: progress, tables, and the lanes of the workers. Plain lines where there is no terminal."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from demo.source import Index
from demo.tasks import Entry

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

BLOCKS = " ▁▂▃▄▅▆▇█"
WIDTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The numbers of the end table."""

    files: int
    missing: int
    counted_twice: int
    run_twice: int
    rescued: int
    retried: int
    rescue_ms: float
    seconds: float
    equal: bool

    @property
    def good(self) -> bool:
        """What the demo promises; everything else is told, not promised."""
        return self.equal and self.missing == 0 and self.counted_twice == 0


class Progress:
    """How far one act is: a bar on a terminal, else a line for every fifth of the way."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._shown = title, total, -1
        self._bar = _bar() if sys.stdout.isatty() and importlib.util.find_spec("rich") else None
        self._line = self._bar.add_task(title, total=total) if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def at(self, done: int, note: str = "") -> None:
        """`done` of all, with a word on what is going on."""
        if self._bar and self._line is not None:
            self._bar.update(self._line, completed=done, description=f"{self._title} {note}")
        elif done * 5 // self._total > self._shown:
            self._shown = done * 5 // self._total
            print(f"  {self._title} {done:,} of {self._total:,} {note}", flush=True)

    def tell(self, news: str) -> None:
        """A line above the bar."""
        if self._bar:
            self._bar.console.print(news, highlight=False)
        else:
            print(news, flush=True)


def end_table(figures: Figures) -> str:
    """The numbers, each with what it means."""
    comparison = "equal to" if figures.equal else "DIFFERENT FROM"
    lines = (
        ("files", f"{figures.files:,}", f"indexed in {figures.seconds:.1f} s by two workers, one killed on the way"),
        ("missing", f"{figures.missing:,}", "in the durable result"),
        ("counted twice", f"{figures.counted_twice:,}", "in the durable result"),
        ("run twice", f"{figures.run_twice:,}", "at-least-once: these were running when the worker died"),
        ("rescued", f"{figures.rescued:,}", "taken over from the dead worker by the others"),
        ("retried", f"{figures.retried:,}", "attempts that stumbled on purpose"),
        ("rescue took", f"{figures.rescue_ms:,.0f} ms", "from the kill until the last of them was ready again"),
        ("result", comparison, "a plain single-process computation"),
    )
    return _columns(lines)


def largest(index: Index, number: int = 8) -> str:
    """The packages with the most lines."""
    head = ("package", "files", "lines", "functions", "classes", "imports", "do not parse")
    top = sorted(index.packages, key=lambda package: -package.lines)[:number]
    lines = [
        (each.name, *(f"{value:,}" for value in (
            each.files, each.lines, each.functions, each.classes, each.imports, each.broken,
        )))
        for each in top
    ]  # fmt: skip
    rest = len(index.packages) - len(top)
    return _columns([head, *lines], right=True) + (f"\n  and {rest:,} more" if rest else "")


def timeline(entries: Sequence[Entry], killed: int, at: float) -> str:
    """Two lanes: how many files each worker began in each slice of time; the replacement goes on in the dead one's."""
    begin, end = min(entry.began for entry in entries), max(entry.began for entry in entries)
    slice_of = _slices(begin, end)
    survivor = next((entry.worker for entry in entries if entry.worker != killed and entry.began < at), None)
    lanes = {"killed, then its replacement": [0] * WIDTH, "the other worker": [0] * WIDTH}
    for entry in entries:
        lane = "the other worker" if entry.worker == survivor else "killed, then its replacement"
        lanes[lane][slice_of(entry.began)] += 1
    highest = max(map(max, lanes.values()))
    drawn = {name: _blocks(counts, highest) for name, counts in lanes.items()}
    mark, name = slice_of(at), "killed, then its replacement"
    drawn[name] = drawn[name][:mark] + "✗" + drawn[name][mark + 1 :]
    wide = max(map(len, drawn))
    lines = [f"  {name.ljust(wide)}  {blocks}" for name, blocks in drawn.items()]
    lines.append(f"  {''.ljust(wide)}  {'0 s'.ljust(WIDTH - 8)}{end - begin:6.1f} s")
    return "\n".join([*lines, f"  {''.ljust(wide)}  ✗ = kill -9, {at - begin:.1f} s after the first file began"])


def _slices(begin: float, end: float) -> Callable[[float], int]:
    def slice_of(time: float) -> int:
        return min(WIDTH - 1, max(0, int((time - begin) / max(end - begin, 1e-9) * WIDTH)))

    return slice_of


def _blocks(counts: Sequence[int], highest: int) -> str:
    return "".join(BLOCKS[-(-count * (len(BLOCKS) - 1) // max(highest, 1))] for count in counts)


def _columns(lines: Sequence[Sequence[str]], *, right: bool = False) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

    def cell(text: str, column: int) -> str:
        return text.rjust(widths[column]) if column == 1 or (right and column) else text.ljust(widths[column])

    return "\n".join(
        "  " + "  ".join(cell(text, column) for column, text in enumerate(line)).rstrip() for line in lines
    )


def _bar() -> RichProgress:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
