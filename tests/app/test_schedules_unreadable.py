"""A schedule that a newer version has written, on SQLite and PostgreSQL: it is told of, left alone, and hurts no other."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from mainspring import App, Every, Schedule, ScheduleExists
from mainspring.errors import ScheduleNotFound, ScheduleUnreadable
from mainspring.store.postgres.place import Place

REASON = "Invalid enum value 'shuffle' - at `$.overlap`"

Spoil = Callable[[str], Awaitable[None]]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'work.db'}"


@pytest.fixture
def spoil(url: str) -> Spoil:
    """Give its definition a word that this version does not know."""

    async def in_sqlite(schedule: str) -> None:
        with closing(sqlite3.connect(urlsplit(url).path)) as file, file:
            statement = "UPDATE schedules SET definition = json_set(definition, '$.overlap', 'shuffle') WHERE id = ?"
            file.execute(statement, (schedule,))

    async def in_postgres(schedule: str) -> None:
        place = Place.parse(url)
        connection = await asyncpg.connect(place.dsn)
        await connection.execute(
            f'UPDATE "{place.schema}".schedules'
            """ SET definition = (definition::jsonb || '{"overlap":"shuffle"}')::json WHERE id = $1""",
            schedule,
        )
        await connection.close()

    return in_sqlite if url.startswith("sqlite") else in_postgres


def shop(url: str, *, declared: bool = False) -> App:
    app = App(url)

    @app.task(name="tick")
    async def tick() -> None: ...

    if declared:
        app.every(0.05, id="bad", overlap="allow")(tick)
    return app


async def filled(url: str, spoil: Spoil) -> None:
    async with shop(url) as app:
        for schedule in ("bad", "good", "zeal"):
            await app.schedules.put(schedule, Every(0.05), app.remote("tick").bind(), overlap="allow")
    await spoil("bad")


async def until_run(app: App, schedule: str) -> Schedule:
    async with asyncio.timeout(10):
        while not (seen := await app.schedules.get(schedule)).runs:
            await asyncio.sleep(0.01)
    return seen


async def test_S3_44_C10_the_others_fire_and_it_is_told_of_once(
    url: str, spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(url, spoil)
    app = shop(url)
    async with app.running():
        for schedule in ("good", "zeal"):
            await until_run(app, schedule)
        listed = await app.schedules.list()
        assert [(each.id, each.state, each.unreadable) for each in listed] == [
            ("bad", "active", REASON), ("good", "active", ""), ("zeal", "active", ""),
        ]  # fmt: skip
        assert [each.id for each in await app.schedules.list(ids=["bad", "good"])] == ["bad", "good"]
        assert await app.schedules.runs("bad") == []
    ours = [each for each in caplog.records if each.name.startswith("mainspring")]
    told = [each.getMessage() for each in ours if each.levelno >= logging.ERROR]
    assert len(told) == 1
    assert told[0].startswith(f"schedule 'bad' does not fire: its definition cannot be read ({REASON})")


async def test_what_needs_its_definition_says_so_and_what_does_not_works(url: str, spoil: Spoil) -> None:
    await filled(url, spoil)
    async with shop(url) as app:
        face = app.schedules
        bad = await face.get("bad")
        assert (bad.state, bad.reason, bad.unreadable, bad.runs) == ("active", REASON, REASON, 0)
        assert repr(bad).startswith("<Schedule bad active unreadable")
        for look in (lambda: bad.trigger, lambda: bad.task, lambda: bad.metadata, lambda: bad.options):
            with pytest.raises(ScheduleUnreadable, match="schedule 'bad'"):
                look()
        for verb in (
            face.pause("bad"), face.resume("bad"), face.trigger("bad"), face.replace("bad", Every(1)),
            face.next_fires("bad"),
        ):  # fmt: skip
            with pytest.raises(ScheduleUnreadable, match=r"'bad': .*put it again or remove it") as raised:
                await verb
            assert raised.value.schedule == "bad"
        with pytest.raises(ScheduleExists):
            await face.add("bad", Every(1), app.remote("tick").bind())
        assert (await face.get("bad")).record == bad.record  # nothing of all this was written
        assert await face.remove("bad", cancel=True)
        with pytest.raises(ScheduleNotFound):
            await face.get("bad")
        assert not await face.remove("bad")
        anew = await face.put("bad", Every(60), app.remote("tick").bind())
        assert (anew.unreadable, anew.task) == ("", "tick")


async def test_a_put_mends_it_for_the_workers_that_run(url: str, spoil: Spoil) -> None:
    await filled(url, spoil)
    app = shop(url)
    async with app.running():
        await until_run(app, "good")
        async with shop(url) as other:
            mended = await other.schedules.put("bad", Every(0.05), other.remote("tick").bind(), keep=7)
        assert (mended.reason, mended.options["keep"], mended.record.revision) == ("", 7, 2)
        assert (await until_run(app, "bad")).task == "tick"


async def test_declaring_it_mends_it_and_one_declared_no_more_is_left_as_it_is(url: str, spoil: Spoil) -> None:
    """An app that does not declare it cannot know whether the newer one does."""
    async with shop(url, declared=True) as app:
        assert await app.schedules.synchronise() == ("bad",)
        await spoil("bad")
        assert await app.schedules.synchronise() == ("bad",)
        assert (await app.schedules.get("bad")).unreadable == ""
        await spoil("bad")
    async with shop(url) as app:
        assert await app.schedules.synchronise() == ()
        bad = await app.schedules.get("bad")
        assert (bad.state, bad.unreadable, bad.declared_by) == ("active", REASON, "tests")
