"""`mainspring migrate` and `mainspring check`: what they print, change and answer."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from typer.testing import CliRunner, Result

from mainspring.cli import stores
from mainspring.cli.main import cli
from mainspring.errors import StoreUnavailable, StoreUnsuitable
from mainspring.store.base import Finding, Store
from mainspring.store.sql import Migration, migrations
from mainspring.store.sqlite import connect

PASSWORD_URL = "postgresql://ada:secret@db.example.com/shop?password=secret"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAINSPRING_URL", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    loaded = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - loaded:
        if name.startswith("shop_of_stores"):
            del sys.modules[name]


def mainspring(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A store that does what its attributes say, and takes notes of what was asked."""
    said = SimpleNamespace(asked=[], pending=[], migrated=[], findings=[], trouble=None)

    def verb(name: str, answer: Callable[[], object]) -> Callable[[], object]:
        async def asked() -> object:
            said.asked.append(name)
            if said.trouble is not None and name != "close":
                raise said.trouble
            return answer()

        return asked

    store = SimpleNamespace(
        open=verb("open", lambda: None),
        close=verb("close", lambda: None),
        pending=verb("pending", lambda: said.pending),
        migrate=verb("migrate", lambda: said.migrated),
        check=verb("check", lambda: said.findings),
    )
    monkeypatch.setattr(stores, "open_store", lambda url: cast("Store", store))
    return said


# --- migrate --------------------------------------------------------------------------------------


def test_migrate_names_what_ran_and_then_nothing(folder: Path) -> None:
    first = mainspring("migrate", "sqlite:///work.db")
    assert (first.exit_code, first.stdout) == (0, "0001_jobs\n0002_schedules\nsqlite:///work.db is up to date\n")
    assert "work.db" in names(folder)
    again = mainspring("migrate", "sqlite:///work.db")
    assert (again.exit_code, again.stdout) == (0, "sqlite:///work.db is up to date\n")


def test_migrate_asks_for_nothing_else(fake: SimpleNamespace) -> None:
    fake.migrated = ["0002_more", "0003_most"]
    done = mainspring("migrate", PASSWORD_URL)
    assert done.stdout.splitlines()[:2] == ["0002_more", "0003_most"]
    assert fake.asked == ["migrate", "close"]


def test_migrate_runs_what_a_newer_version_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mainspring("migrate", "sqlite:///work.db").exit_code == 0
    known = migrations(connect.PACKAGE)
    newer = Migration(len(known) + 1, "0099_more", "CREATE TABLE more (id INTEGER PRIMARY KEY);")
    known = (*known, newer)
    monkeypatch.setattr(connect, "migrations", lambda package: known)
    old = mainspring("check", "sqlite:///work.db")
    assert (old.exit_code, "lacks 0099_more" in old.stdout) == (1, True)
    done = mainspring("migrate", "sqlite:///work.db")
    assert (done.exit_code, done.stdout) == (0, "0099_more\nsqlite:///work.db is up to date\n")
    assert mainspring("check", "sqlite:///work.db").exit_code == 0
    monkeypatch.undo()


def test_a_newer_schema_is_refused(folder: Path) -> None:
    mainspring("migrate", "sqlite:///work.db")
    with closing(sqlite3.connect(folder / "work.db")) as file:
        file.execute("PRAGMA user_version = 99")
    for verb in ("migrate", "check"):
        done = mainspring(verb, "sqlite:///work.db")
        assert done.exit_code == 1
        assert "has schema 99" in done.stderr
        assert "upgrade Mainspring" in done.stderr


# --- check ----------------------------------------------------------------------------------------


def test_check_creates_nothing(folder: Path) -> None:
    done = mainspring("check", "sqlite:///typo.db")
    assert done.exit_code == 1
    assert "error" in done.stdout
    assert "sqlite:///typo.db holds no store yet; run `mainspring migrate`" in done.stdout
    assert names(folder) == []


def test_check_says_what_it_found() -> None:
    mainspring("migrate", "sqlite:///work.db")
    done = mainspring("check", "sqlite:///work.db")
    assert done.exit_code == 0
    lines = dict(line.split(maxsplit=2)[1::-1] for line in done.stdout.splitlines())
    assert lines["durability"] == "ok"
    assert lines["counts"] == "ok"


def test_check_leaves_the_file_as_it_is(folder: Path) -> None:
    mainspring("migrate", "sqlite:///work.db")
    before = (folder / "work.db").read_bytes(), names(folder)
    assert mainspring("check", "sqlite:///work.db").exit_code == 0
    assert ((folder / "work.db").read_bytes(), names(folder)) == before


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 0), ("error", 1)])
def test_an_error_decides_the_exit_code(fake: SimpleNamespace, level: str, code: int) -> None:
    fake.findings = [Finding("ok", "a", "fine"), Finding(level, "clock", "an hour off")]  # type: ignore[arg-type]  # one of them
    done = mainspring("check", PASSWORD_URL)
    assert done.exit_code == code
    assert done.stdout.splitlines()[1] == f"{level:<7}  clock  an hour off"
    assert fake.asked == ["pending", "open", "check", "close"]


def test_what_lacks_migrations_is_not_opened(fake: SimpleNamespace) -> None:
    fake.pending = ["0002_more"]
    assert mainspring("check", PASSWORD_URL).exit_code == 1
    assert fake.asked == ["pending", "close"]


def test_a_memory_store_is_only_good_for_tests() -> None:
    done = mainspring("check", "memory://")
    assert done.exit_code == 0
    assert done.stdout.startswith("warning  durability  ")


# --- which store ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["migrate", "check"])
@pytest.mark.parametrize("trouble", [StoreUnavailable("nobody listens on port 5432"), StoreUnsuitable("not ours")])
def test_a_store_that_cannot_be_used_is_named_without_its_password(
    fake: SimpleNamespace, verb: str, trouble: Exception
) -> None:
    fake.trouble = trouble
    done = mainspring(verb, PASSWORD_URL)
    assert done.exit_code == 1
    assert done.stderr == f"mainspring: postgresql://ada:***@db.example.com/shop?password=***: {trouble}\n"
    assert done.stdout == ""
    assert fake.asked[-1] == "close"


@pytest.mark.parametrize("verb", ["migrate", "check"])
def test_no_password_is_shown(fake: SimpleNamespace, verb: str) -> None:
    said = mainspring(verb, PASSWORD_URL).output
    fake.pending = ["0001_first"]
    said += mainspring(verb, PASSWORD_URL).output
    assert "secret" not in said
    assert "ada:***@" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a store: by its URL"),
        (["redis://ada:secret@db"], "'redis://ada:***@db' names no store"),
        (["memory://", "--app", "a:b"], "not by both"),
        (["--app", "no_such_shop:app"], "there is no module 'no_such_shop'"),
        (["--app", "no_such_shop"], "package.module:name"),
    ],
)
@pytest.mark.parametrize("verb", ["migrate", "check"])
def test_what_names_no_store_is_answered(verb: str, arguments: list[str], says: str) -> None:
    done = mainspring(verb, *arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_the_store_of_an_app(folder: Path) -> None:
    (folder / "shop_of_stores.py").write_text(
        "from mainspring import App\napp = App('sqlite:///shop.db')\nbare = App()\n", encoding="utf-8"
    )
    assert mainspring("migrate", "--app", "shop_of_stores:app").stdout.endswith("sqlite:///shop.db is up to date\n")
    bare = mainspring("migrate", "--app", "shop_of_stores:bare")
    assert (bare.exit_code, "has no URL" in bare.stderr) == (2, True)


def test_the_store_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINSPRING_URL", "sqlite:///by_environment.db")
    assert mainspring("migrate").stdout.endswith("sqlite:///by_environment.db is up to date\n")


@pytest.mark.parametrize("verb", ["migrate", "check"])
def test_the_help_says_what_it_does(verb: str) -> None:
    done = CliRunner().invoke(cli, [verb, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0
    for said in ("Exit codes:", "URL", "--app", "MAINSPRING_URL"):
        assert said in done.output
