"""The story: the same input in a plain pool and in Mainspring, with a `kill -9` in each; then the proof.

`make demo`, or `.venv/bin/python demo/run.py [--files N]`. Exits with 1 when the durable result is not the plain one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it would find its own folder only

import msgspec  # noqa: E402

from demo.durable import Outcome, run_durable, workers  # noqa: E402
from demo.report import Figures, Progress, end_table, largest, timeline  # noqa: E402
from demo.source import STDLIB, Index, source_files  # noqa: E402

PATIENCE = 2.0  # seconds without news after which a reader of the plain pool gives up


def main() -> int:
    """0 when nothing is missing, nothing is counted twice, and the result is the plain computation's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, help="so many, evenly spread, instead of all")
    asked = parser.parse_args()
    begin = time.monotonic()
    paths = source_files(asked.files)
    size = sum((STDLIB / path).stat().st_size for path in paths) / 1e6
    python = f"Python {platform.python_version()}"
    print(f"The input: the standard library of your {python}, {len(paths):,} source files, {size:.1f} MB.\n")
    with plain_computation(len(paths)) as plain, tempfile.TemporaryDirectory(prefix="mainspring-demo-") as folder:
        with workers(Path(folder)):  # they are up when the pool has had its turn
            plain_pool(len(paths))
            print("\n2. Mainspring on SQLite: one job per file, two workers; one of them is killed after a third.")
            outcome = asyncio.run(run_durable(paths, Path(folder)))
        expected = index_from(plain)
    figures = figures_of(outcome, expected, paths)
    show(outcome, figures)
    print(f"\n{'All well' if figures.good else 'NOT WELL'}; the whole demo took {time.monotonic() - begin:.1f} s.")
    return 0 if figures.good else 1


@contextmanager
def plain_computation(files: int) -> Iterator[subprocess.Popen[bytes]]:
    """The answer that is to come out, in a process beside the rest, with which it has nothing to do.

    Not one of low priority: on a busy machine the demo would wait for it in the end.
    """
    asked = [sys.executable, "-m", "demo.source", "--files", str(files)]
    with subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def plain_pool(files: int) -> None:
    """Act one: `multiprocessing.Pool` loses what the killed worker had in hand, and waits for it."""
    print("1. A plain multiprocessing.Pool with two workers; one of them is killed after a third.")
    asked = [sys.executable, "-m", "demo.pool", "--files", str(files), "--patience", str(PATIENCE)]
    end: dict[str, float] = {}
    with (
        subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process,
        Progress("pool", files) as progress,
    ):
        assert process.stdout
        for line in process.stdout:
            end = json.loads(line)
            progress.at(int(end["done"]))
    if end.get("hung"):
        print(f"   It hangs: {end['missing']:,.0f} of {files:,} files missing, and no error. ", end="")
        print(f"We stopped reading after {PATIENCE:.0f} s without news; it would wait for ever.")
    else:
        print("   Luck: this time the kill fell between two files.")


def index_from(plain: subprocess.Popen[bytes]) -> Index:
    """What the plain computation says. Waits for it."""
    text, _ = plain.communicate(timeout=120)
    return msgspec.json.decode(text, type=Index)


def figures_of(outcome: Outcome, expected: Index, paths: list[str]) -> Figures:
    """What the store, the ledger and the plain computation say, as numbers."""
    times_run: dict[str, int] = {}
    for entry in outcome.entries:
        times_run[entry.path] = times_run.get(entry.path, 0) + (not entry.stumbled)
    counted = outcome.index.files - outcome.index.twice
    never_ran = sum(times_run.get(path, 0) == 0 for path in paths)
    return Figures(
        files=len(paths),
        missing=max(len(paths) - counted, never_ran),
        counted_twice=outcome.index.twice,
        run_twice=sum(times > 1 for times in times_run.values()),
        rescued=outcome.rescued,
        retried=outcome.retried,
        rescue_ms=outcome.rescue_seconds * 1000,
        seconds=outcome.seconds,
        equal=outcome.index == expected,
    )


def show(outcome: Outcome, figures: Figures) -> None:
    """The tables."""
    print(f"\n3. What came of it\n\n{end_table(figures)}")
    print(
        f"\n   Files begun by each worker over time\n\n{timeline(outcome.entries, outcome.killed, outcome.killed_at)}"
    )
    print(f"\n   The largest packages\n\n{largest(outcome.index)}")


if __name__ == "__main__":
    sys.exit(main())
