"""House rules on what is in the repository: nothing of one machine, no package index, documents that tell the truth."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Written so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:root|home|work|Users)" + r"/[\w.]")
INDEX_ADDRESS = re.compile(
    r"(?:py" + r"pi\.org|python" + r"hosted\.org|registry\." + r"npmjs|--(?:extra-)?index" + r"-url[ =]\S*/)"
)
TEXT = {".py", ".sql", ".md", ".toml", ".txt", ".cfg", ".ini", ".yml", ".yaml", ".json", ".html", ".css", ".js", ""}


def repository_files() -> list[Path]:
    """Tracked files and those that would be: what a commit of everything would hold."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        pytest.skip("not a git work tree")
    return sorted(path for line in answer.stdout.splitlines() if (path := ROOT / line).is_file())


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in repository_files()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_path_of_a_machine() -> None:
    assert lines_with(MACHINE_PATH) == []


def test_no_address_of_a_package_index() -> None:
    assert lines_with(INDEX_ADDRESS) == []


def test_no_lock_file_that_records_an_index() -> None:
    assert [path for path in repository_files() if path.name == "uv.lock"] == []


def test_every_pin_has_a_hash() -> None:
    for name in ("dev.txt", "uv.txt"):
        pins = (ROOT / "requirements" / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        assert pins
        assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []


def test_the_installer_is_pinned_once() -> None:
    pins = [(ROOT / "requirements" / name).read_text(encoding="utf-8") for name in ("dev.txt", "uv.txt")]
    versions = {re.search(r"^uv==(\S+)", text, re.MULTILINE) for text in pins}
    assert len({version.group(1) for version in versions if version}) == 1


def test_two_packages_are_always_installed() -> None:
    """`pip install mainspring` pulls msgspec and cronsim, nothing else on Linux and macOS."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    always = [re.split(r"[<>=]", line)[0] for line in project["dependencies"] if ";" not in line]
    assert sorted(always) == ["cronsim", "msgspec"]


@pytest.mark.parametrize("line", ["see /ro" + "ot/x", "sqlite:////ho" + "me/me/x.db", "cd /wo" + "rk/main"])
def test_machine_paths_are_recognised(line: str) -> None:
    assert MACHINE_PATH.search(line)


@pytest.mark.parametrize("line", ["sqlite:///work.db", "examples/work/x", "the /home page", "~/work/x"])
def test_other_paths_are_not(line: str) -> None:
    assert not MACHINE_PATH.search(line)
