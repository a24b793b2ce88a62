"""The benchmark is part of the product: its rows have stable names and a stable shape, and it verifies itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.measurement import Run, Samples, Unverified, interleaved, verify_once
from bench.peers import PACKAGES, no_peers
from bench.report import as_json, row_of, table
from bench.rows import NAMES, UnknownRow, select

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {"name", "value", "unit"}
OPTIONAL = {
    "ceiling_ratio", "ceiling", "peer", "peer_value", "peer_ratio",
    "low", "high", "rounds", "verified", "fdatasync_ms",
}  # fmt: skip


def test_the_rows_that_the_targets_speak_of_exist() -> None:
    wanted = {
        "drain.memory", "drain.sqlite", "drain.normal.sqlite", "enqueue.one.memory", "enqueue.one.sqlite",
        "enqueue.concurrent.memory", "enqueue.concurrent.sqlite", "enqueue.bulk.memory", "enqueue.bulk.sqlite",
        "latency.p50.memory", "latency.p99.memory", "latency.p50.sqlite", "latency.p99.sqlite",
        "latency.cross.p50.sqlite", "latency.cross.p99.sqlite",
        "retry.sync", "retry.async", "retry.fails2.sync", "retry.fails2.async",
    }  # fmt: skip
    assert wanted <= set(NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_a_selection_is_by_name_or_by_what_names_begin_with() -> None:
    assert select(["drain"]) == ["drain.memory", "drain.sqlite", "drain.normal.sqlite"]
    assert select(["latency.cross"]) == ["latency.cross.p50.sqlite", "latency.cross.p99.sqlite"]
    assert select(["drain.sqlite"]) == ["drain.sqlite"]
    assert select([]) == list(NAMES)
    with pytest.raises(UnknownRow, match="lat"):
        select(["lat"])


def test_a_row_that_does_not_exist_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drain.oracle"]) == 2
    assert "drain.memory" in capsys.readouterr().err


def test_ways_are_interleaved_and_every_second_round_goes_backwards() -> None:
    order: list[str] = []
    run = Run(Path(), quick=True, rounds=2, peer=no_peers, progress=lambda what, done, total: None)

    def way(name: str) -> float:
        order.append(name)
        return float(len(order))

    samples = interleaved(run, "x", {"a": lambda: way("a"), "b": lambda: way("b")})
    assert order == ["a", "b", "b", "a"]
    assert samples["a"].values == (1.0, 4.0)


@pytest.mark.parametrize(("unit", "mine", "theirs"), [("jobs/s", 100.0, 50.0), ("ms", 1.0, 2.0)])
def test_better_than_a_peer_is_above_one_whatever_the_unit(unit: str, mine: float, theirs: float) -> None:
    samples = {"mainspring": Samples((mine,) * 3), "p": Samples((theirs,) * 3), "q": Samples((theirs,) * 3)}
    row = row_of("x", unit, samples, verified=1)  # type: ignore[arg-type]  # a str from a parameter is one of the units
    assert row.peer_ratio == 2.0
    assert row.ceiling_ratio is None


@pytest.mark.parametrize("ran", [[1, 2], [0, 1], [0, 2]])
def test_a_run_in_which_a_job_did_not_run_exactly_once_has_no_numbers(ran: list[int]) -> None:
    with pytest.raises(Unverified):
        verify_once(ran)


def test_fields_that_do_not_exist_are_left_out_of_the_json() -> None:
    plain = row_of("a", "jobs/s", {"mainspring": Samples((3.0, 1.0, 2.0))}, verified=7)
    rows = json.loads(as_json([plain]))
    assert rows == [{"name": "a", "value": 2.0, "unit": "jobs/s", "low": 1.0, "high": 3.0, "rounds": 3, "verified": 7}]
    assert "7 jobs" in table([plain])


@pytest.mark.slow
@pytest.mark.parametrize("row", ["retry.sync", "drain.memory", "enqueue.concurrent.sqlite"])
def test_a_quick_row_runs_alone_and_verifies(row: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    asked = ["-m", "bench", row, "--quick", "--no-peers", "--rounds", "1", "--json", str(file), "--dir", str(tmp_path)]
    done = subprocess.run([sys.executable, *asked], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [found["name"] for found in rows] == [row]
    assert set(rows[0]) >= FIELDS
    assert set(rows[0]) <= FIELDS | OPTIONAL
    assert rows[0]["value"] > 0
    assert rows[0]["verified"] >= 1000
    assert ("ceiling_ratio" in rows[0]) is row.endswith(".sqlite")
    assert ("fdatasync_ms" in rows[0]) is row.endswith(".sqlite")
    assert "exactly once" in done.stdout
    assert list(tmp_path.iterdir()) == [file]  # nothing is left behind


def test_the_versions_of_the_peers_are_said() -> None:
    assert all("==" in package for package in PACKAGES)
