"""The face has the types that were decided: both checkers accept `tests/typing/api.py`, errors included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FACE = "tests/typing/api.py"

pytestmark = pytest.mark.slow


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)


def test_mypy_accepts_the_face() -> None:
    checked = run("mypy", FACE)
    ours = [line for line in checked.stdout.splitlines() if line.startswith((FACE, "src/mainspring/app"))]
    assert ours == []
    assert checked.returncode == 0 or "Found" in checked.stdout, checked.stderr  # not a crash


def test_pyright_accepts_the_face() -> None:
    checked = run("basedpyright", "--level", "error", FACE, "src/mainspring/app")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("line", ["send_email.options(dely=60)", "chain(validate.bind(Order(1)), ship, charge)"])
def test_an_error_that_is_not_expected_is_found(line: str, tmp_path: Path) -> None:
    """The check can fail: the same lines without their ignores are errors."""
    source = (ROOT / FACE).read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(f"{source}\n\n{line}\n", encoding="utf-8")
    assert run("mypy", "--config-file", "pyproject.toml", str(wrong)).returncode == 1
