"""The first screen of the README, killed in the middle and run again (API.md §4)."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mainspring.app.app import App
from mainspring.store.base import Filter

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples" / "hello.py"
KILLED_AFTER = 3.0  # seconds

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")]


def start(folder: Path, output: Path) -> subprocess.Popen[bytes]:
    """Unbuffered: what was printed before the kill was seen by a reader."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT / "src")}
    with output.open("wb") as written:
        return subprocess.Popen(
            [sys.executable, str(HELLO)], cwd=folder, env=environment, stdout=written, stderr=subprocess.STDOUT
        )


def printed(path: Path) -> Counter[int]:
    output = path.read_text(encoding="utf-8")
    assert "Traceback" not in output
    for number, square in re.findall(r"^(\d+) squared is (\d+)$", output, re.MULTILINE):
        assert int(square) == int(number) ** 2
    return Counter(int(number) for number in re.findall(r"^(\d+) squared is \d+$", output, re.MULTILINE))


def test_hello_ends_quietly_with_ctrl_c(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    with start(tmp_path, output) as program:
        while not printed(output):
            time.sleep(0.02)
        program.send_signal(signal.SIGINT)
        assert program.wait(20) == 0, output.read_text(encoding="utf-8")
    assert 0 < len(printed(output)) < 20


async def rescued(folder: Path) -> set[int]:
    """The squares of the numbers whose jobs were running when the first process was killed."""
    async with App(f"sqlite:///{folder / 'hello.db'}") as app:
        page = await (await app.store()).find(Filter())
    assert [job.state for job in page.jobs] == ["completed"] * 20
    return {int(job.result or b"-1") for job in page.jobs if job.rescues}


def test_hello_survives_a_kill(tmp_path: Path) -> None:
    first_output, second_output = tmp_path / "first.txt", tmp_path / "second.txt"
    with start(tmp_path, first_output) as first:
        time.sleep(KILLED_AFTER)
        while not printed(first_output):  # a busy machine: it shall be killed in the middle
            time.sleep(0.05)
        first.kill()
    with start(tmp_path, second_output) as again:
        assert again.wait(60) == 0, second_output.read_text(encoding="utf-8")

    before = printed(first_output)
    times = before + printed(second_output)
    assert 0 < len(before) < 20, "the kill did not come in the middle"
    assert sorted(times) == list(range(20))
    running = asyncio.run(rescued(tmp_path))
    assert len(running) <= 2
    assert {number**2 for number, count in times.items() if count > 1} <= running
