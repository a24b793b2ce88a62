"""What `mainspring run` says of an app that cannot be run, or never comes up (API.md D49)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from mainspring.cli import parent
from mainspring.cli.settings import RunSettings
from tests.process.running import Shop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="`mainspring run` starts processes as POSIX has them"),
]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("shpo:app", "there is no module 'shpo'"),
        ("shop:ap", "did you mean shop:app?"),
        ("shop.py", "package.module:name"),
    ],
)
def test_a_wrong_place_is_answered_without_a_traceback(shop: Shop, app: str, said: str) -> None:
    with shop.run(app=app) as run:
        assert run.code() == 2
        assert said in run.text()
        assert "Traceback" not in run.text()
        assert len(run.text().splitlines()) == 1


def test_an_error_in_the_users_module_shows_where(shop: Shop) -> None:
    (shop.folder / "broken.py").write_text("import shop\n1 / 0\n", encoding="utf-8")
    with shop.run(app="broken:app") as run:
        assert run.code() == 2
        assert 'broken.py", line 2' in run.text()
        assert "ZeroDivisionError" in run.text()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_store_in_the_memory_of_one_process_is_refused(shop: Shop, processes: str) -> None:
    (shop.folder / "inside.py").write_text("from mainspring import App\napp = App('memory://')\n", encoding="utf-8")
    with shop.run("--processes", processes, app="inside:app") as run:
        assert run.code() == 2
        assert "memory of one process" in run.text()
        assert "sqlite:///" in run.text()
        assert "mainspring.testing" in run.text()
        assert "Traceback" not in run.text()


LIFESPAN = """
import os
from contextlib import asynccontextmanager
from mainspring import App
from mainspring.errors import StoreUnavailable
from shop import mark, write

@asynccontextmanager
async def mailbox(app):
    write("start")
    {how}
    yield

app = App(lifespan=mailbox)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise RuntimeError('no mailbox today')", "RuntimeError: no mailbox today"),
        ("raise SystemExit(5)", "it exited with code 5"),
        ("os._exit(7)", "it exited with code 7"),
        ("os.abort()", "it was killed by SIGABRT"),
    ],
)
def test_an_app_that_never_comes_up_is_given_up(shop: Shop, how: str, said: str) -> None:
    (shop.folder / "never.py").write_text(LIFESPAN.format(how=how), encoding="utf-8")
    with shop.run("--processes", "2", app="never:app") as run:
        assert run.code() == 1
        assert f"mainspring: never:app did not come up in 3 tries: {said}\n" in run.text()
    assert len(shop.lines("start")) == 3


def test_C7_an_app_that_stands_still_while_it_is_imported_is_given_up(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (shop.folder / "hangs.py").write_text("import time\ntime.sleep(300)\n", encoding="utf-8")
    monkeypatch.chdir(shop.folder)
    monkeypatch.setattr(parent, "START_LIMIT", 1.0)

    async def run() -> int:
        return await parent.Parent(RunSettings(app="hangs:app", stall_limit=0.2)).run()

    assert asyncio.run(run()) == 70
    assert "did not come up in 3 tries: it stood still, and was killed" in capfd.readouterr().err


def test_an_app_that_comes_up_at_last_is_run(shop: Shop) -> None:
    how = "if not os.path.exists('ready'): open('ready', 'x'); raise RuntimeError('not yet')"
    (shop.folder / "late.py").write_text(LIFESPAN.format(how=how), encoding="utf-8")
    with shop.run("--drain", app="late:app") as run:
        assert run.code() == 0
        assert "RuntimeError: not yet" in run.text()


def test_a_store_that_is_away_is_waited_for(shop: Shop) -> None:
    (shop.folder / "away.py").write_text(LIFESPAN.format(how="raise StoreUnavailable('away')"), encoding="utf-8")
    with shop.run(app="away:app") as run:
        shop.until(5, "start")
        assert run.process.poll() is None


def test_a_store_that_cannot_be_opened_is_named(shop: Shop) -> None:
    (shop.folder / "nourl.py").write_text("from mainspring import App\napp = App('redis://x')\n", encoding="utf-8")
    with shop.run(app="nourl:app") as run:
        assert run.code() == 2
        assert "names no store" in run.text()
        assert "Traceback" not in run.text()
