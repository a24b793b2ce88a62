"""The command line's own face: help, version, and a missing extra."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from mainspring.cli.main import cli


def test_help_names_what_there_is() -> None:
    for arguments in ([], ["--help"], ["-h"]):
        said = CliRunner().invoke(cli, arguments).output
        assert "run" in said
        assert "Work that must not be lost" in said


def test_help_of_run_names_its_options_and_exit_codes() -> None:
    done = CliRunner().invoke(cli, ["run", "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.output)  # some CI systems force colours
    for option in ("processes", "queues", "concurrency", "drain", "reload", "grace", "stall-limit", "log-format"):
        assert f"--{option}" in said
    assert "70 a process stood still" in " ".join(said.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "a:b", "--processes", "0"],
        ["run", "a:b", "--log-format", "xml"],
        ["run", "a:b", "--grace", "-1"],
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, arguments).exit_code == 2


def test_the_module_is_the_script() -> None:
    done = subprocess.run([sys.executable, "-m", "mainspring", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mainspring {version('mainspring')}\n"


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['typer'] = None; from mainspring.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == ("mainspring: the command line needs typer; install it with: pip install 'mainspring[cli]'\n")
