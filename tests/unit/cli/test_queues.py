"""`mainspring queues …` on a store."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mainspring import App
from mainspring.cli.main import cli

URL = "sqlite:///work.db"


@pytest.fixture(autouse=True)
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAINSPRING_URL", URL)

    async def fill() -> None:
        async with App(URL) as app:
            work = app.remote("work")
            await app.enqueue_many([work.options(queue="mail").bind() for _ in range(3)])
            await work.options(queue="mail", delay=60).enqueue()
            await work.enqueue()

    asyncio.run(fill())


def queues(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["queues", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_ls_counts_by_state_and_shows_which_are_paused() -> None:
    assert queues("pause", "mail", "empty").stdout == "mail is paused\nempty is paused\n"
    done = queues("ls")
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["QUEUE", "SCHEDULED", "WAITING", "READY", "RUNNING", "COMPLETED", "DEAD", "EXPIRED", "CANCELLED"],
        ["default", *"00100000"],
        ["empty", "paused", *"00000000"],
        ["mail", "paused", *"10300000"],
    ]


def test_ls_as_json_and_resume() -> None:
    queues("pause", "mail")
    assert json.loads(queues("ls", "--json").stdout) == [
        {"queue": "default", "paused": False, "jobs": {"ready": 1}},
        {"queue": "mail", "paused": True, "jobs": {"scheduled": 1, "ready": 3}},
    ]
    assert queues("resume", "mail", "mail").stdout == "mail is resumed\nmail is resumed\n"
    assert [each["paused"] for each in json.loads(queues("ls", "--json").stdout)] == [False, False]


def test_ls_of_none() -> None:
    CliRunner().invoke(cli, ["migrate", "sqlite:///other.db"])
    done = queues("ls", "--url", "sqlite:///other.db")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no queues\n")


@pytest.mark.parametrize("arguments", [("ls",), ("pause", "mail"), ("resume", "mail")])
def test_no_store_is_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = queues(*arguments, "--url", "sqlite:///typo.db")
    assert (done.exit_code, "holds no store yet" in done.stderr) == (1, True)
    assert not (tmp_path / "typo.db").exists()


def test_a_name_that_is_none_is_refused() -> None:
    done = queues("pause", "")
    assert (done.exit_code, "queue" in done.stderr) == (1, True)
    assert queues("pause").exit_code == 2


@pytest.mark.parametrize("verb", ["ls", "pause", "resume"])
def test_the_help_says_what_it_does(verb: str) -> None:
    done = queues(verb, "--help")
    assert done.exit_code == 0
    for said in ("Exit codes:", "--url", "--app", "MAINSPRING_URL"):
        assert said in done.output
