"""What the documents say in tables and diagrams is what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from typer.main import get_command

from mainspring.cli.main import cli
from mainspring.cli.settings import Exit, RunSettings
from mainspring.engine.settings import DAY, DEFAULT_RETENTION
from mainspring.model.record import CRASH_LIMIT
from mainspring.model.states import STATES, TERMINAL, diagram
from tests.docs.pages import ROOT, blocks


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_list_of_pages_is_complete() -> None:
    listed = set(re.findall(r"\]\(([\w/-]+\.md)\)", page("README.md")))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed == {name for name in there if name != "README.md" and not name.startswith("decisions/")}


def test_the_diagram_is_the_one_of_the_table() -> None:
    shown = re.search(
        r"<!-- states -->\n```mermaid\n(.*?)```\n<!-- /states -->", page("explanation/state-machine.md"), re.DOTALL
    )
    assert shown
    assert shown[1].strip() == diagram().strip(), "run: python -m mainspring.model.states"


def test_every_state_is_explained_terminal_ones_last() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", page("explanation/state-machine.md"), re.MULTILINE)
    assert sorted(explained) == sorted(STATES)
    assert set(explained[4:]) == TERMINAL
    assert "The last four are *terminal*" in page("explanation/state-machine.md")


def test_numbers_that_are_told() -> None:
    """A change of these must reach the documents."""
    assert CRASH_LIMIT == 3  # "The third crash ends the job"
    assert DEFAULT_RETENTION == {"completed": DAY, "expired": DAY, "cancelled": DAY, "dead": 30 * DAY}


def test_the_exit_codes() -> None:
    table = page("how-to/run-workers.md").partition("## Exit codes")[2]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == sorted(Exit)


def test_the_options_of_run_and_their_defaults() -> None:
    told = dict(re.findall(r"^\| `--([\w-]+)[^`]*` \|.*\| ([\w-]*) ?\|$", page("how-to/run-workers.md"), re.MULTILINE))
    run = get_command(cli).commands["run"]  # type: ignore[attr-defined]  # a group, since there is a callback
    there = {option.name.replace("_", "-") for option in run.params if option.param_type_name == "option"}
    assert set(told) == there - {"help"}
    settings = RunSettings(app="a:b")
    for name, default in told.items():
        if default and name != "queues":
            assert str(getattr(settings, name.replace("-", "_"))).removesuffix(".0") == default


def test_the_tutorial_survives_kill_9(tmp_path: Path) -> None:
    """Its programs, as real processes in real time."""
    for block in blocks(ROOT / "docs/tutorial/first-jobs.md"):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.code.replace("asyncio.sleep(1)", "asyncio.sleep(0.2)"))
    killed = subprocess.Popen([sys.executable, "ten.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    with killed, killed.stdout as said:
        assert said.readline() == "order 0 is packed\n"
        killed.kill()
    began = time.monotonic()
    again = subprocess.run(
        [sys.executable, "ten.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert again.stdout.splitlines() == [f"order {order} is packed" for order in range(10)]
    assert time.monotonic() - began < 20
