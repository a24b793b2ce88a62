"""`make demo` keeps its promise on a small input, and its parts say what is true."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from demo.report import Figures, end_table, timeline
from demo.source import Facts, examine, facts_of, index_of, python_files, source_files
from demo.tasks import Entry, Ledger, fails, note

ROOT = Path(__file__).resolve().parents[2]
FILES = 60


@pytest.fixture(scope="module")
def shown() -> str:
    """What the demo prints on a small input."""
    asked = [sys.executable, "demo/run.py", "--files", str(FILES)]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def number(shown: str, name: str) -> int:
    found = re.search(rf"^  {name} +([\d,]+)", shown, re.MULTILINE)
    assert found, shown
    return int(found.group(1).replace(",", ""))


@pytest.mark.slow
def test_nothing_is_missing_and_nothing_is_counted_twice(shown: str) -> None:
    assert number(shown, "files") == FILES
    assert number(shown, "missing") == 0
    assert number(shown, "counted twice") == 0
    assert "equal to" in shown


@pytest.mark.slow
def test_it_tells_of_the_kill_and_of_what_it_cost(shown: str) -> None:
    stumbles = sum(fails(path, 1) for path in source_files(FILES))
    assert number(shown, "retried") + number(shown, "rescued") >= stumbles > 0  # one may have died before it was told
    assert number(shown, "run twice") <= number(shown, "rescued") <= 4
    assert shown.count("✗") == 2
    assert re.search(r"rescue took +[\d,]+ ms", shown)


@pytest.mark.slow
def test_it_says_what_became_of_the_plain_pool(shown: str) -> None:
    assert re.search(r"It hangs: [1-9]\d* of 60 files missing|Luck", shown)


def test_the_plain_computation_is_the_same_each_time() -> None:
    asked = [sys.executable, "-m", "demo.source", "--files", "20"]
    text = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert json.loads(text)["files"] == 20


def test_the_order_of_the_files_does_not_matter() -> None:
    facts = [examine(path) for path in source_files(12)]
    assert index_of(facts) == index_of(reversed(facts))


def test_a_file_counted_twice_is_seen() -> None:
    index = index_of([Facts(path="a.py"), Facts(path="a.py"), Facts(path="b/c.py")])
    assert (index.files, index.twice) == (3, 1)


@pytest.mark.parametrize("source", [b"print 1", b"a = (", b"\x00", b"# -*- coding: nonsense -*-\n"])
def test_a_file_that_does_not_parse_is_a_result(source: bytes) -> None:
    assert facts_of("x.py", source).broken


@pytest.mark.parametrize("source", [b"import os", b"a = ("])
def test_the_collector_of_cycles_works_again_after_a_file(source: bytes) -> None:
    facts_of("x.py", source)
    assert gc.isenabled()


def test_what_was_installed_beside_the_library_is_not_looked_into(tmp_path: Path) -> None:
    for name in ("b.py", "a/c.py", "a/data.txt", "site-packages/other.py", "a/__pycache__/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = sorted(path.relative_to(tmp_path).as_posix() for path in python_files(tmp_path))
    assert found == ["a/c.py", "b.py"]


def test_the_ledger_gives_back_what_was_noted(tmp_path: Path) -> None:
    path = tmp_path / "ledger.tsv"
    ledger = Ledger(path)
    assert ledger.look() == 0
    note(path, "a.py", 1, stumbles=True)
    assert ledger.look() == 0
    note(path, "a.py", 2, stumbles=False)
    assert ledger.look() == 1
    assert [(entry.path, entry.attempt, entry.stumbled) for entry in ledger.entries] == [
        ("a.py", 1, True),
        ("a.py", 2, False),
    ]


def test_no_file_stumbles_for_ever() -> None:
    assert not any(fails(path, 4) for path in source_files())


@pytest.mark.parametrize("wrong", [{"missing": 1}, {"counted_twice": 1}, {"equal": False}])
def test_a_broken_promise_is_not_well(wrong: dict[str, int]) -> None:
    well = {
        "files": 9, "missing": 0, "counted_twice": 0, "run_twice": 2, "rescued": 2, "retried": 1,
        "rescue_ms": 1.0, "seconds": 1.0, "equal": True,
    }  # fmt: skip
    assert Figures(**well).good  # type: ignore[arg-type]  # one dict of numbers of several kinds
    figures = Figures(**(well | wrong))  # type: ignore[arg-type]  # the same
    assert not figures.good
    assert "DIFFERENT" in end_table(figures) or figures.equal


def test_the_lanes_show_the_kill_and_who_went_on() -> None:
    seen = [Entry(f"{n}.py", 1, False, worker, float(n)) for n in range(60) for worker in (1 if n < 20 else 3, 2)]
    killed, other, axis, mark = timeline(seen, killed=1, at=20.0).splitlines()
    assert "✗" in killed
    assert "✗" not in other
    assert axis.endswith("59.0 s")
    assert "20.0 s" in mark
