"""The benchmark is part of the product: its rows have stable names and a stable shape, and it verifies itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench import retry, schedule
from bench.__main__ import main
from bench.frame import Ledger
from bench.measurement import Absent, Row, Run, Samples, Unverified, Way, interleaved, verify_once
from bench.peers import (
    SCHEDULERS,
    SMALL,
    SMALL_313,
    Environment,
    PeerFailed,
    interpreter,
    no_peers,
    retrying,
    scheduling,
)
from bench.peers.schedulers import Ledger as Fires
from bench.pictures import bars
from bench.postgres.rows import PEERS, taking_part
from bench.postgres.usage import server_seconds
from bench.report import as_json, row_of, table
from bench.rows import NAMES, UnknownRow, measure, select
from tests.servers.postgres import wheel_programs

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {"name", "value", "unit"}
OPTIONAL = {
    "ceiling_ratio", "ceiling", "peer", "peer_value", "peer_ratio",
    "low", "high", "rounds", "verified", "fdatasync_ms",
    "worker_us", "server_us", "wal_bytes", "commits", "ways",
}  # fmt: skip


def test_the_rows_that_the_targets_speak_of_exist() -> None:
    wanted = {
        "drain.memory", "drain.sqlite", "drain.normal.sqlite", "enqueue.one.memory", "enqueue.one.sqlite",
        "enqueue.concurrent.memory", "enqueue.concurrent.sqlite", "enqueue.bulk.memory", "enqueue.bulk.sqlite",
        "latency.p50.memory", "latency.p99.memory", "latency.p50.sqlite", "latency.p99.sqlite",
        "latency.cross.p50.sqlite", "latency.cross.p99.sqlite",
        "retry.sync", "retry.async", "retry.fails2.sync", "retry.fails2.async",
        "retry.py313.sync", "retry.py313.async", "retry.py313.fails2.sync", "retry.py313.fails2.async",
        "drain.postgres", "drain.2proc.postgres", "enqueue.one.postgres", "enqueue.concurrent.postgres",
        "enqueue.bulk.postgres", "latency.p50.postgres", "latency.p99.postgres",
        *(
            f"schedule.{what}.{store}"
            for what in ("add", "add.concurrent", "add.bulk", "start", "memory", "late.p50", "late.p99", "cpu")
            for store in ("memory", "sqlite", "postgres")
        ),
    }  # fmt: skip
    assert wanted <= set(NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_a_selection_is_by_name_or_by_what_names_begin_with() -> None:
    assert select(["drain"])[:3] == ["drain.memory", "drain.sqlite", "drain.normal.sqlite"]
    assert select(["latency.cross"]) == ["latency.cross.p50.sqlite", "latency.cross.p99.sqlite"]
    assert select(["drain.sqlite"]) == ["drain.sqlite"]
    assert select(["retry.sync"]) == ["retry.sync"], "the rows of another Python are asked for by their name"
    assert len(select(["retry.py313"])) == 4
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


def test_a_way_that_is_absent_is_left_out_and_noted_but_without_ours_there_is_no_row() -> None:
    run = Run(Path(), quick=True, rounds=2, peer=no_peers, progress=lambda what, done, total: None)

    def absent() -> float:
        raise Absent("p said: no")

    assert set(interleaved(run, "x", {"mainspring": lambda: 1.0, "p": absent})) == {"mainspring"}
    assert run.notes == ["x: p said: no"]
    with pytest.raises(Absent):
        interleaved(run, "x", {"mainspring": absent})


def test_a_quick_run_on_a_slow_machine_stops_early_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.measurement.QUICK_SECONDS", -1.0)
    run = Run(Path(), quick=True, rounds=3, peer=no_peers, progress=lambda what, done, total: None)
    assert interleaved(run, "x", {"mainspring": lambda: 1.0})["mainspring"].values == (1.0,)
    assert "1 of 3 rounds" in run.notes[0]


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
@pytest.mark.parametrize(
    "row",
    [
        "retry.sync", "drain.memory", "enqueue.concurrent.sqlite",
        "schedule.add.bulk.sqlite", "schedule.late.p99.memory",
    ],
)  # fmt: skip
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
    assert ("ceiling_ratio" in rows[0]) is row.startswith(("enqueue", "retry"))
    assert ("fdatasync_ms" in rows[0]) is row.endswith(".sqlite")
    assert "exactly once" in done.stdout
    assert list(tmp_path.iterdir()) == [file]  # nothing is left behind


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("fails", [0, 2])
def test_who_retries_is_verified_by_its_attempts(fails: int, kind: str) -> None:
    for contestant in ("mainspring", "bare-loop"):
        assert retrying.verify(retrying.DECORATORS[contestant](), kind, fails, times=10) == 10

    def once_too_often(fn: Callable[[], Any]) -> Callable[[], Any]:
        if kind == "sync":
            return lambda: (fn(), fn())[0]

        async def call() -> Any:
            return (await fn(), await fn())[0]

        return call

    with pytest.raises(SystemExit, match="20 attempts instead of 10"):
        retrying.verify(once_too_often, kind, 0, times=10)


def fired_thrice(times: tuple[int, ...] = (1, 1, 1)) -> Fires:
    """A ledger of one schedule with slots at 100, 101 and 102 s, which were fired so often; each ran once."""
    ledger = Fires()
    for slot, number in zip((100.0, 101.0, 102.0), times, strict=True):
        ledger.fired += [(0, slot, slot + 0.5)] * number
        ledger.run(0)
    return ledger


def test_dense_schedules_are_verified_slot_by_slot() -> None:
    assert scheduling.lateness(fired_thrice(), 1, 100.0, 3) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("times", [(1, 1, 0), (1, 2, 0), (1, 1, 2)])
def test_a_slot_that_was_fired_twice_or_not_has_no_number(times: tuple[int, ...]) -> None:
    with pytest.raises(SystemExit, match="3 slots, of which"):
        scheduling.lateness(fired_thrice(times), 1, 100.0, 3)


def test_a_slot_whose_function_ran_twice_has_no_number() -> None:
    ledger = fired_thrice()
    ledger.run(0)
    with pytest.raises(SystemExit, match="4 runs"):
        scheduling.lateness(ledger, 1, 100.0, 3)


def test_several_rows_of_one_trial_have_their_own_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours = {"p50": 1.0, "p99": 5.0, "cpu": 200.0, "server_cpu": 0.0, "verified": 4000.0}
    theirs = {"p50": 4.0, "p99": 10.0, "cpu": 100.0, "server_cpu": 0.0, "verified": 4000.0}
    monkeypatch.setattr(Environment, "installed", lambda self: True)
    monkeypatch.setattr(
        schedule, "run_with", lambda _python, _program, who, *_: ours if who == "mainspring" else theirs
    )
    run = Run(tmp_path, quick=True, rounds=2, peer=no_peers, progress=lambda what, done, total: None)
    (rows,) = measure(["schedule.late.p99.memory", "schedule.cpu.memory"], run)
    assert [(row.name, row.value, row.peer_ratio, row.verified) for row in rows] == [
        ("schedule.late.p99.memory", 5.0, 2.0, 8000),
        ("schedule.cpu.memory", 200.0, 0.5, 8000),
    ]


def test_a_scheduler_that_fails_ends_our_row_but_only_leaves_a_peer_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Environment, "installed", lambda self: True)

    def asked(_python: object, _program: str, who: str, *_: str) -> dict[str, float]:
        if who in failing:
            raise PeerFailed("a slot was fired twice")
        return {"us": 10.0, "verified": 2000.0}

    monkeypatch.setattr(schedule, "run_with", asked)
    run = Run(tmp_path, quick=True, rounds=1, peer=no_peers, progress=lambda what, done, total: None)
    failing = {"apscheduler"}
    ((row,),) = measure(["schedule.add.memory"], run)
    assert (row.value, row.peer) == (10.0, None)
    assert run.notes == ["schedule.add.memory: a slot was fired twice"]
    failing = {"mainspring"}
    with pytest.raises(Unverified, match="twice"):
        list(measure(["schedule.add.memory"], run))


def test_a_contestant_without_such_a_form_has_no_number() -> None:
    assert retrying.main("opnieuw", "sync", 2, 0.01) is None


def test_a_python_is_found_by_its_version() -> None:
    ours = sys.version_info[:2]
    assert interpreter(ours, exact=True) == sys.executable
    assert interpreter((3, 11)) == sys.executable, "ours is new enough"
    assert interpreter((3, 99), exact=True) is None


def test_a_row_of_a_python_that_is_not_here_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retry, "interpreter", lambda version, exact: None)
    run = Run(tmp_path, quick=True, rounds=1, peer=no_peers, progress=lambda what, done, total: None, peers=False)
    assert list(measure(["retry.py313.sync"], run)) == []
    assert run.notes == ["not measured: retry.py313.sync: there is no Python 3.13"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [({"over": 1.0, "verified": 1000, "minor": 10}, "is installed for Python 3.10"), (None, "cannot do this")],
)
def test_a_peer_of_another_python_is_not_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: dict[str, float] | None, said: str
) -> None:
    monkeypatch.setattr(Environment, "installed", lambda self: True)
    ours = {"over": 0.5, "verified": 1000, "minor": sys.version_info.minor}
    monkeypatch.setattr(retry, "run_with", lambda python, program, who, *_: answer if who == "tenacity" else ours)
    run = Run(tmp_path, quick=True, rounds=1, peer=no_peers, progress=lambda what, done, total: None)
    ((row,),) = measure(["retry.sync"], run)
    assert (row.value, row.peer, row.peer_ratio, row.ceiling_ratio, row.verified) == (0.5, "stamina", 1.0, 1.0, 1000)
    assert run.notes == [f"retry.sync: tenacity {said}" + (" (.cache/peers)" if answer else "")]


def test_peers_of_retries_that_are_not_installed_are_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Environment, "installed", lambda self: False)
    ours = {"over": 0.5, "verified": 1000, "minor": sys.version_info.minor}
    monkeypatch.setattr(retry, "run_with", lambda *_: ours)
    run = Run(tmp_path, quick=True, rounds=1, peer=no_peers, progress=lambda what, done, total: None)
    ((row,),) = measure(["retry.sync"], run)
    assert row.peer is None
    assert run.notes == ["retry.sync: its peers are not installed (python -m bench --peers)"]


def test_the_versions_of_the_peers_are_said() -> None:
    assert all(
        "==" in package
        for each in (SMALL, SMALL_313, SCHEDULERS, *(peer.environment for peer in PEERS))
        for package in each.packages
    )


def test_every_peer_says_its_settings_and_what_it_guarantees() -> None:
    assert [peer.name for peer in PEERS] == ["pgqueuer", "awa", "oban", "procrastinate", "dbos", "absurd"]
    for peer in PEERS:
        assert {"drain", "latency"} <= set(peer.settings)
        assert set(peer.settings) <= set(peer.jobs)
        assert "once" in peer.guarantee


def test_peers_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "installed", lambda self: self.name == "oban")
    run = Run(Path(), quick=False, rounds=1, peer=no_peers, progress=lambda what, done, total: None)
    assert [peer.name for peer in taking_part(run, "drain", "drain")] == ["oban"]
    assert run.notes == [
        "not installed, so not compared with: pgqueuer, awa, procrastinate, dbos, absurd (python -m bench --peers)"
    ]


def test_the_ledger_is_seen_by_whoever_maps_the_file(tmp_path: Path) -> None:
    theirs = Ledger(tmp_path / "ledger", 3, new=True)
    mine = Ledger(tmp_path / "ledger", 3)
    theirs.mark(2)
    theirs.mark(2)
    assert list(mine.ran) == [0, 0, 2]
    assert mine.began[2] > mine.began[0] == 0.0


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
def test_the_processor_time_of_a_server_holds_that_of_its_processes() -> None:
    busy = "import subprocess, sys, time\nwhile time.process_time() < 0.2: pass\n"
    here = server_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert server_seconds(os.getpid()) - here >= 0.15


def test_the_bars_are_sorted_and_escaped() -> None:
    ways = (
        Way(name="slow & old", value=10.0, low=9.0, high=11.0, jobs=1),
        Way(name="mainspring", value=20.0, low=19.0, high=21.0, jobs=1),
    )
    row = Row(name="a", value=20.0, unit="jobs/s", low=19.0, high=21.0, rounds=1, verified=1, ways=ways)
    (kept,) = json.loads(as_json([row]))
    picture = ET.fromstring(bars("T <1>", kept))
    words = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["T <1>", "mainspring", "20", "slow & old", "10"]
    less = ET.fromstring(bars("T", kept | {"unit": "ms"}))
    assert [text.text for text in less.iter("{http://www.w3.org/2000/svg}text")][1] == "slow & old"


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(180)
@pytest.mark.parametrize("row", ["enqueue.one.postgres", "drain.postgres", "latency.p50.postgres"])
def test_a_quick_row_with_a_server_measures_all_from_outside(row: str, tmp_path: Path) -> None:
    if not wheel_programs():
        pytest.skip("no PostgreSQL here")
    file = tmp_path / "rows.json"
    asked = ["-m", "bench", row, "--quick", "--no-peers", "--rounds", "1", "--json", str(file), "--dir", str(tmp_path)]
    done = subprocess.run([sys.executable, *asked], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(file.read_text(encoding="utf-8"))
    assert found["name"] == row
    assert FIELDS <= set(found) <= FIELDS | OPTIONAL
    assert [way["name"] for way in found["ways"]][:1] == ["mainspring"]
    if row.startswith("latency"):
        return
    assert len(found["ways"]) == 2
    for way in found["ways"]:
        assert way["wal_bytes"] > 100
        assert way["worker_us"] > 0
        assert way["server_us"] > 0
    assert found["commits"] >= (1.0 if row == "enqueue.one.postgres" else 0.0)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(180)
@pytest.mark.parametrize("row", ["schedule.cpu.postgres"])
def test_a_quick_row_of_schedules_with_a_server(row: str, tmp_path: Path) -> None:
    if not wheel_programs():
        pytest.skip("no PostgreSQL here")
    file = tmp_path / "rows.json"
    asked = ["-m", "bench", row, "--quick", "--rounds", "1", "--json", str(file), "--dir", str(tmp_path)]
    done = subprocess.run([sys.executable, *asked], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(file.read_text(encoding="utf-8"))
    assert found["name"] == row
    assert FIELDS <= set(found) <= FIELDS | OPTIONAL
    assert found["value"] > 0
    assert found["verified"] >= 4_000
    assert found["fdatasync_ms"] > 0
