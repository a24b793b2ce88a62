"""`mainspring schedules …` on a store: what it prints, changes and answers."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner, Result

from mainspring import App, Cron, Daily, Every
from mainspring.cli.loading import load_app
from mainspring.cli.main import cli
from mainspring.errors import StoreUnavailable

T = TypeVar("T")

URL = "sqlite:///work.db"
VERBS = ("ls", "show", "preview", "pause", "resume", "trigger", "rm")

OWN = """
from dataclasses import dataclass
from typing import ClassVar
from mainspring import App, Trigger

@dataclass(frozen=True, slots=True)
class Lunar(Trigger):
    kind: ClassVar[str] = "lunar"
    phase: int

    def next_after(self, t, /):
        return t + 2551443.0

app = App("sqlite:///work.db", triggers=[Lunar])

@app.task(name="howl")
async def howl() -> None: ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAINSPRING_URL", URL)
    monkeypatch.setattr(sys, "path", list(sys.path))
    loaded = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - loaded:
        if name.startswith("moon_of_schedules"):
            del sys.modules[name]


def within(verb: Callable[[App], Awaitable[T]]) -> T:
    """Something done by another process."""

    async def done() -> T:
        async with App(URL) as app:
            return await verb(app)

    return asyncio.run(done())


@pytest.fixture
def filled() -> None:
    async def fill(app: App) -> None:
        work = app.remote("report.build").options(queue="reports", tags=["eu"])
        await app.schedules.put("eu-nightly", Daily(time(3), tz="Europe/Berlin"), work.bind(region="eu"))
        await app.schedules.put("hourly", Cron("0 * * * *"), app.remote("tick").bind(), overlap="queue", jitter=60)
        await app.schedules.put(
            "later", Every(60), app.remote("tick").bind(), start_at=datetime(2040, 1, 1, tzinfo=UTC)
        )

    within(fill)


def schedules(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["schedules", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})


def columns(line: str) -> list[str]:
    """The cells, which are two spaces or more apart."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


MADE = """
from mainspring import App

app = App("sqlite:///work.db")

@app.task(name="tick")
async def tick() -> None: ...

@app.every(3600, id="made")
async def made() -> None: ...
"""


@pytest.fixture
def made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An app that has the task "tick", and declares a schedule which is in the store."""
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    (folder / "moon_of_schedules_made.py").write_text(MADE, encoding="utf-8")

    async def synchronise() -> None:
        async with load_app("moon_of_schedules_made:app") as app:
            await app.schedules.synchronise()

    asyncio.run(synchronise())
    return "moon_of_schedules_made:app"


# --- ls -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("filled")
def test_ls_shows_a_line_for_each() -> None:
    schedules("pause", "hourly")
    done = schedules("ls", "--tz", "Europe/Berlin")
    assert done.exit_code == 0, done.output
    heads, first, second, third = map(columns, done.stdout.splitlines())
    assert heads == ["ID", "STATE", "TRIGGER", "NEXT", "LAST", "RUNS", "MISSED", "SKIPPED"]
    assert first[:3] == ["eu-nightly", "active", "daily 03:00 (Europe/Berlin)"]
    assert " 03:00:00+0" in first[3]
    assert first[4:] == ["-", "0", "0", "0"]
    assert second == ["hourly", "paused", "cron 0 * * * * (UTC)", "-", "-", "0", "0", "0"]
    assert third[:4] == ["later", "active", "every 1 min", "2040-01-01 01:00:00+01:00"]


@pytest.mark.usefixtures("filled")
def test_ls_as_json_by_state_and_in_parts() -> None:
    schedules("pause", "hourly")
    paused = json.loads(schedules("ls", "--state", "paused", "--json").stdout)
    assert [(each["id"], each["state"], each["paused"]) for each in paused] == [("hourly", "paused", "by request")]
    first = schedules("ls", "--limit", "2", "--json")
    assert [each["id"] for each in json.loads(first.stdout)] == ["eu-nightly", "hourly"]
    assert first.stderr == "there are more: go on with --after hourly, or raise --limit\n"
    rest = schedules("ls", "--after", "hourly", "--json")
    (later,) = json.loads(rest.stdout)
    assert rest.stderr == ""
    assert later == {
        "id": "later", "state": "active", "paused": None, "unreadable": None, "task": "tick",
        "task_known": None, "queue": "default",
        "trigger": {"trigger": "every", "interval": 60.0, "anchor": "grid", "first": "now", "start": None},
        "next": "2040-01-01T00:00:00Z", "due": "2040-01-01T00:00:00Z",
        "runs": 0, "missed": 0, "skipped": 0, "last": None,
    }  # fmt: skip


@pytest.mark.usefixtures("filled")
def test_one_that_cannot_be_read_is_shown_with_the_reason_and_can_be_removed() -> None:
    """S3-44: a newer version has written it; C10: the others are as before."""
    with closing(sqlite3.connect("work.db")) as file, file:
        file.execute(
            "UPDATE schedules SET definition = json_set(definition, '$.overlap', 'shuffle') WHERE id = 'hourly'"
        )
        # What is no trigger at all, in a definition that is one.
        file.execute("UPDATE schedules SET definition = json_set(definition, '$.trigger', 'e3t7') WHERE id = 'later'")
    done = schedules("ls")
    assert done.exit_code == 0, done.output
    _, first, second, third = map(columns, done.stdout.splitlines())
    assert first[:3] == ["eu-nightly", "active", "daily 03:00 (Europe/Berlin)"]
    assert second == ["hourly", "active", "unreadable", "-", "-", "0", "0", "0"]
    assert third[:3] == ["later", "active", "unreadable"]
    reason = "Invalid enum value 'shuffle' - at `$.overlap`"
    shown = schedules("show", "hourly")
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.stdout.splitlines()] == [
        "id", "state", "unreadable", "created", "changed", "counted",
    ]  # fmt: skip
    assert reason in shown.stdout
    (_, hourly, later) = json.loads(schedules("ls", "--json").stdout)
    assert (hourly["unreadable"], hourly["trigger"], hourly["task"], hourly["queue"]) == (reason, None, None, None)
    assert (later["unreadable"], later["trigger"], later["task"]) == (None, None, "tick")
    assert "overlap" not in json.loads(schedules("show", "hourly", "--json").stdout)
    for verb in ("pause", "resume", "trigger", "preview"):
        refused = schedules(verb, "hourly")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "schedule 'hourly': its definition cannot be read" in refused.stderr
        assert "put it again or remove it" in refused.stderr
    assert schedules("rm", "hourly", "later").stdout == "hourly is removed\nlater is removed\n"
    assert schedules("show", "hourly").exit_code == 1


@pytest.mark.usefixtures("filled")
def test_ls_names_schedules_of_tasks_that_the_app_does_not_know(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAINSPRING_URL")
    done = schedules("ls", "--app", made)
    assert done.exit_code == 0, done.output
    assert done.stderr == (
        "eu-nightly: this app has no task 'report.build'; where no worker knows it, its jobs wait for ever\n"
    )
    listed = json.loads(schedules("ls", "--app", made, "--json").stdout)
    assert {each["id"]: each["task_known"] for each in listed} == {
        "eu-nightly": False,
        "hourly": True,
        "later": True,
        "made": True,
    }
    shown = schedules("show", "eu-nightly", "--app", made).stdout
    assert "report.build (this app has no such task)" in shown
    assert "(this app" not in schedules("show", "hourly", "--app", made).stdout


@pytest.mark.usefixtures("filled")
def test_the_last_run_is_one_that_has_a_job_and_the_next_in_whole_seconds() -> None:
    async def fill(app: App) -> None:
        await app.schedules.put("busy", Every(60), app.remote("tick").bind(), jitter=30)
        await app.schedules.trigger("busy")
        await app.schedules.trigger("busy")  # left out: the first goes on

    within(fill)
    (busy,) = [line for line in schedules("ls").stdout.splitlines() if line.startswith("busy")]
    cells = columns(busy)
    assert cells[4] == "ready"
    assert "." not in cells[3]
    shown = schedules("show", "busy").stdout
    assert ", and its jitter)" in shown
    assert "skipped" in shown or "trigger" in shown


def test_ls_of_none() -> None:
    within(lambda app: app.store())
    done = schedules("ls")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no schedules\n")
    assert schedules("ls", "--json").stdout == "[]\n"


# --- show -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("filled")
def test_show_tells_what_was_declared_what_comes_and_what_was() -> None:
    job = schedules("trigger", "eu-nightly").stdout.strip()
    done = schedules("show", "eu-nightly", "--fires", "2", "--tz", "Europe/Berlin")
    assert done.exit_code == 0, done.output
    top, fires, runs = done.stdout.split("\n\n")
    told = dict(columns(line) for line in top.splitlines())
    assert told["trigger"] == "daily 03:00 (Europe/Berlin)"
    assert (told["state"], told["task"], told["queue"]) == ("active", "report.build", "reports")
    assert (told["arguments"], told["tags"]) == ('{"region":"eu"}', "eu")
    assert (told["misfire"], told["overlap"], told["keep"]) == ("once", "skip", "100 runs")
    assert told["counted"] == "0 runs, 0 missed, 0 skipped"
    title, heads, *lines = fires.splitlines()
    assert (title, columns(heads)) == ("next fires", ["LOCAL", "UTC", "DST"])
    assert [columns(line)[0][10:19] for line in lines] == [" 03:00:00"] * 2
    title, heads, line = runs.splitlines()
    assert (title, columns(line)) == ("last runs", ["1", "trigger", "-", "ready", "-", "-", "0", job])


@pytest.mark.usefixtures("filled")
def test_show_is_in_utc_and_its_fires_on_the_clock_of_the_trigger() -> None:
    top, fires = schedules("show", "eu-nightly").stdout.split("\n\n")
    told = dict(columns(line) for line in top.splitlines())
    assert told["created"].endswith("+00:00")
    assert told["next"].endswith((" 01:00:00+00:00", " 02:00:00+00:00"))
    local, utc = columns(fires.splitlines()[2])
    assert (local[10:19], utc) == (" 03:00:00", told["next"])


@pytest.mark.usefixtures("filled")
def test_show_says_why_it_is_paused() -> None:
    schedules("pause", "eu-nightly")
    assert "paused: by request" in schedules("show", "eu-nightly").stdout


@pytest.mark.usefixtures("filled")
def test_show_as_json() -> None:
    job = schedules("trigger", "hourly").stdout.strip()
    told = json.loads(schedules("show", "hourly", "--json", "--fires", "1", "--runs", "1").stdout)
    assert (told["id"], told["overlap"], told["jitter"], told["keep"]) == ("hourly", "queue", 60.0, 100)
    assert told["arguments"] == {}
    (fire,) = told["fires"]
    assert (fire["utc"], fire["dst"]) == (told["next"], "none")
    (run,) = told["last_runs"]
    assert (run["number"], run["kind"], run["job"], run["state"], run["slot"]) == (1, "trigger", job, "ready", None)
    assert told["last"] == run


# --- preview of a stored one ----------------------------------------------------------------------


@pytest.mark.usefixtures("filled")
def test_preview_of_a_stored_one_is_on_its_own_clock_unless_told_otherwise() -> None:
    lines = schedules("preview", "eu-nightly", "-n", "3").stdout.splitlines()[1:]
    assert [columns(line)[0][10:19] for line in lines] == [" 03:00:00"] * 3
    elsewhere = json.loads(schedules("preview", "eu-nightly", "-n", "1", "--tz", "Asia/Tokyo", "--json").stdout)
    assert elsewhere[0]["local"].endswith("+09:00")


# --- pause, resume, trigger, rm -------------------------------------------------------------------


@pytest.mark.usefixtures("filled")
def test_pause_and_resume_several() -> None:
    done = schedules("pause", "hourly", "later")
    assert (done.exit_code, done.stdout) == (0, "hourly is paused\nlater is paused\n")
    assert [each.id for each in within(lambda app: app.schedules.list(states=["paused"]))] == ["hourly", "later"]
    done = schedules("resume", "later", "hourly")
    assert (done.exit_code, done.stdout) == (0, "later is resumed\nhourly is resumed\n")
    assert within(lambda app: app.schedules.list(states=["paused"])) == []


@pytest.mark.usefixtures("filled")
def test_trigger_prints_the_job_and_says_when_it_was_skipped() -> None:
    done = schedules("trigger", "eu-nightly")
    job = within(lambda app: app.jobs.get(done.stdout.strip()))
    assert (done.exit_code, job.task, job.state) == (0, "report.build", "ready")
    again = schedules("trigger", "eu-nightly")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == "mainspring: eu-nightly was skipped: another run of it goes on\n"


@pytest.mark.usefixtures("filled")
def test_rm_leaves_the_jobs_unless_told_otherwise() -> None:
    first, second = schedules("trigger", "hourly").stdout.strip(), schedules("trigger", "eu-nightly").stdout.strip()
    assert schedules("rm", "hourly").stdout == "hourly is removed\n"
    assert schedules("rm", "eu-nightly", "--cancel", "--wait").exit_code == 0

    async def states(app: App) -> list[str | None]:
        return [(await app.jobs.get(each)).state for each in (first, second)]

    assert within(states) == ["ready", "cancelled"]
    assert [each.id for each in within(lambda app: app.schedules.list())] == ["later"]


async def test_rm_waits_for_a_job_that_runs() -> None:
    started, go = asyncio.Event(), asyncio.Event()
    app = App(URL)

    @app.task(name="long")
    async def long() -> None:
        started.set()
        await go.wait()

    async with app.running(), asyncio.timeout(30):
        await app.schedules.put("nightly", Daily(time(3)), long.bind())
        await app.schedules.trigger("nightly")
        await started.wait()
        removing = asyncio.create_task(asyncio.to_thread(schedules, "rm", "nightly", "--wait"))
        while await app.schedules.list():
            await asyncio.sleep(0.01)
        assert not removing.done()
        go.set()
        done = await removing
    assert (done.exit_code, done.stdout) == (0, "nightly is removed\n")


def test_rm_of_a_declared_one_says_that_it_comes_back(made: str) -> None:
    done = schedules("rm", "made")
    assert (done.exit_code, done.stdout) == (0, "made is removed\n")
    assert done.stderr == (
        "made is declared in the code of moon_of_schedules_made, and comes back when a worker of that starts: delete it "
        "from the code, or pause it instead\n"
    )


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "arguments", [("show", "hourly", "--runs", str(10**20)), ("show", "hourly", "--fires", str(10**20))]
)
def test_numbers_that_are_too_large_are_refused(arguments: tuple[str, ...]) -> None:
    done = schedules(*arguments)
    assert done.exit_code == 2
    assert "10000" in done.stderr


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("verb", ["show", "pause", "resume", "trigger", "rm"])
def test_an_empty_id_is_no_fault_of_the_store(verb: str) -> None:
    done = schedules(verb, "")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "mainspring: the id of a schedule must be a non-empty string, got ''\n"


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("verb", ["show", "preview", "pause", "resume", "trigger", "rm"])
def test_an_unknown_one_is_answered_with_one_that_is_there(verb: str) -> None:
    done = schedules(verb, "eu-nigthly")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "mainspring: there is no schedule 'eu-nigthly'; did you mean 'eu-nightly'?\n"
    assert schedules(verb, "xyz").stderr == "mainspring: there is no schedule 'xyz'\n"


@pytest.mark.usefixtures("filled")
def test_what_was_done_before_an_unknown_one_is_told() -> None:
    done = schedules("pause", "hourly", "xyz", "later")
    assert (done.exit_code, done.stdout) == (1, "hourly is paused\n")
    assert "no schedule 'xyz'" in done.stderr


# --- triggers of a user's own ---------------------------------------------------------------------


def test_own_triggers_are_listed_and_take_the_app_to_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "moon_of_schedules.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    own = ("--app", "moon_of_schedules:app")
    from moon_of_schedules import Lunar, app, howl  # type: ignore[import-not-found]  # just written

    async def put() -> None:
        async with app:
            await app.schedules.put("moon", Lunar(3), howl.bind())

    asyncio.run(put())
    assert columns(schedules("ls").stdout.splitlines()[1])[2] == "lunar (own: name --app)"
    assert columns(schedules("ls", *own).stdout.splitlines()[1])[2] == "Lunar(phase=3)"
    assert "next fires" not in schedules("show", "moon").stdout
    assert "next fires" in schedules("show", "moon", *own).stdout
    assert schedules("pause", "moon").exit_code == 0
    refused = schedules("resume", "moon")
    assert (refused.exit_code, "unknown kind of trigger 'lunar'" in refused.stderr) == (1, True)
    assert schedules("resume", "moon", *own).exit_code == 0


# --- which store ----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("ls",), ("show", "a"), ("pause", "a"), ("trigger", "a"), ("rm", "a")])
def test_no_store_is_made(folder: Path, arguments: tuple[str, ...]) -> None:
    done = schedules(*arguments, "--url", "sqlite:///typo.db")
    assert done.exit_code == 1
    assert done.stderr.startswith("mainspring: sqlite:///typo.db holds no store yet; run `mainspring migrate`")
    assert list(folder.iterdir()) == []


def test_a_store_in_memory_is_refused() -> None:
    done = schedules("ls", "--url", "memory://")
    assert (done.exit_code, "seen by its own process alone" in done.stderr) == (1, True)


@pytest.mark.parametrize("noun", ["schedules", "queues"])
def test_a_store_that_cannot_be_reached_is_named_without_its_password(
    noun: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pending(_: object) -> list[str]:
        raise StoreUnavailable("nobody listens on port 5432")

    monkeypatch.setattr("mainspring.store.postgres.PostgresStore.pending", pending)
    url = "postgresql://ada:secret@db.example.com/shop?password=secret"
    done = CliRunner().invoke(cli, [noun, "ls", "--url", url])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "mainspring: postgresql://ada:***@db.example.com/shop?password=***: nobody listens on port 5432\n"
    )


def test_no_store_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAINSPRING_URL")
    done = schedules("ls")
    assert (done.exit_code, "name a store" in done.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [("ls", "--tz", "Mars/Olympus"), ("ls", "--state", "dead"), ("pause",), ()])
def test_what_cannot_be_meant_is_answered_with_code_2(arguments: tuple[str, ...]) -> None:
    assert schedules(*arguments).exit_code == 2


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_says_what_it_does(verb: str) -> None:
    done = schedules(verb, "--help")
    assert done.exit_code == 0
    for said in ("Exit codes:", "--url", "--app", "MAINSPRING_URL"):
        assert said in done.output


def test_run_starts_without_them() -> None:
    code = (
        "import sys; from mainspring.cli.main import cli;"
        " print([name for name in sys.modules if name in {'cronsim', 'mainspring.model.cron',"
        " 'mainspring.cli.schedule_reads', 'mainspring.cli.preview'}])"
    )
    assert run_python(code) == "[]\n"


def run_python(code: str) -> str:
    import subprocess

    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
