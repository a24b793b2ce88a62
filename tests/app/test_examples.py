"""The programs in examples/ do what they say, each as a process of its own. `hello.py` has tests with kills."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TESTED = {
    "blocking.py",
    "fan_in.py",
    "fire_and_forget.py",
    "flaky_client.py",
    "hello.py",
    "own_transaction.py",
    "schedules.py",
    "supervised_poller.py",
    "welcome_mail.py",
}


def run(name: str, directory: Path) -> list[str]:
    """The lines that the program prints. On stderr it may say why an attempt failed, and nothing else."""
    answer = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        cwd=directory,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    strange = [line for line in answer.stderr.splitlines() if not re.match(r"job \S+ of \S+: attempt \d+ failed", line)]
    assert (answer.returncode, strange) == (0, [])
    return answer.stdout.splitlines()


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED


def test_welcome_mail(tmp_path: Path) -> None:
    lines = run("welcome_mail.py", tmp_path)
    for said in (
        "ada@example.com gets a mail",
        "ada@example.com has one on its way",
        "bob@example.com gets a mail",
    ):
        assert lines.count(said) == 1
    mails = [line for line in lines if re.search(r"\(attempt \d\)$", line)]
    assert sorted(line.partition(" (")[0] for line in mails) == [
        "At last, eve@example.com",
        "Welcome, ada@example.com",
        "Welcome, bob@example.com",
    ]
    assert any(re.fullmatch(r"attempts: [1-8]", line) for line in lines)
    assert [line for line in lines if line.startswith("dead: ")] == ["dead: welcome 'nobody' is no address"]
    again = run("welcome_mail.py", tmp_path)
    assert again[0] == "ada@example.com has one on its way", "the key is kept for a day"


@pytest.mark.slow
def test_fan_in(tmp_path: Path) -> None:
    lines = run("fan_in.py", tmp_path)
    assert len(lines) == 1
    said = re.fullmatch(r"(\d+) files; the longest: (\w+\.py \(\d+ words\)(, )?){3}", lines[0])
    assert said
    assert int(said[1]) > 20


def test_blocking(tmp_path: Path) -> None:
    assert run("blocking.py", tmp_path) == [
        "TO BE",
        "OR",
        "NOT TO BE",
        "ValueError: nothing to shout",
        "shout completed: 3",
        "shout dead: 1",
    ]


def test_own_transaction(tmp_path: Path) -> None:
    assert run("own_transaction.py", tmp_path) == [
        "order 1: 1999 cents",
        "order 2: 0 cents",
        "pay completed: 1",
        "pay dead: 1",
        "ship completed: 1",
    ]


def test_schedules(tmp_path: Path) -> None:
    lines = run("schedules.py", tmp_path)
    assert [line for line in lines if not line.startswith("a beat")] == [
        "2027-03-27T02:30:00+01:00 none",
        "2027-03-28T03:00:00+02:00 moved",
        "2027-03-29T02:30:00+02:00 none",
        "nightly:Oslo: Oslo in NOK",
        "heartbeat: finished, 3 completed",
        "nightly:Berlin: active, 0 completed",
        "nightly:Oslo: paused, 1 completed",
    ]
    assert lines.count("a beat of heartbeat") == 3


@pytest.mark.slow
def test_flaky_client(tmp_path: Path) -> None:
    assert run("flaky_client.py", tmp_path) == [
        "attempt 1: HTTPError, again in 1 s",  # told by Retry-After, not by the backoff of 10 s
        "attempt 2: RemoteDisconnected, again in 0.1 s",
        "attempt 3: HTTPError, again in 1 s",  # told as a date
        "attempt 4: IncompleteRead, again in 0.1 s",
        "21 degrees after 5 attempts",
        "HTTP Error 404: Not Found - raised as it is, by the first attempt",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="a SIGTERM to oneself ends a process there")
def test_supervised_poller(tmp_path: Path) -> None:
    assert run("supervised_poller.py", tmp_path) == [
        "disk   waiting    restarts 0  -",
        "poll   waiting    restarts 0  -",
        "poll 1: 21 degrees",
        "WARNING service 'poll' failed and runs again in 0.05 s: ConnectionResetError('the other side hung up')",
        "poll 3: 21 degrees",
        "ERROR service 'poll' failed and runs again in 0.05 s: KeyError('humidity')",
        "poll 5: 21 degrees",
        "poll 6: 21 degrees",
        "the disk is watched no more",
        "goodbye",
        "stopped by SIGTERM",
        "disk   cancelled  restarts 0  -",
        "poll   cancelled  restarts 2  KeyError: 'humidity'",
    ]


def test_fire_and_forget(tmp_path: Path) -> None:
    lines = run("fire_and_forget.py", tmp_path)
    assert [line for line in lines if not line.startswith(" ")] == [
        "answered at once: not yet done",
        "ada: saved 'login'",
        "eve: the database is away",
        "eve: the database is away",
        "eve: saved 'login' in attempt 3",
        "mallory: cancelled",
        "ada: mail sent",
        "ada: saved 'logout'",
        "ERROR background call bob failed in attempt 2, and nobody has read its result",
        "Traceback (most recent call last):",
        "ConnectionError: bob: the database is away",
        lines[-1],
    ]
    assert re.fullmatch(r"gave up after 2 attempts in \d\.\d s", lines[-1])
