"""What `check` finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mainspring.store.base import Finding
from mainspring.store.postgres import checks
from mainspring.store.postgres.checks import findings
from mainspring.store.postgres.opening import open_schema
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Pool


@pytest.fixture
def place(postgres_url: str) -> Place:
    return Place.parse(postgres_url)


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[Pool]:
    pool = Pool(place)
    await pool.open()
    await open_schema(pool, place)
    yield pool
    await pool.close()


def by_subject(found: list[Finding]) -> dict[str, Finding]:
    assert len({each.subject for each in found}) == len(found)
    return {each.subject: each for each in found}


async def test_a_sound_place(pool: Pool, place: Place) -> None:
    found = by_subject(await findings(pool, place))
    assert {subject for subject, each in found.items() if each.level != "ok"} <= {"durability", "transactions"}
    assert "came back" in found["notices"].message


async def test_fsync_off_is_told(pool: Pool, place: Place) -> None:
    durability = by_subject(await findings(pool, place))["durability"]
    off = (await pool.fetch("SHOW fsync"))[0][0] == "off"
    assert (durability.level, "fsync" in durability.message) == (("warning", True) if off else ("ok", False))


@pytest.mark.parametrize(
    ("setting", "value", "subject", "level"),
    [
        ("fsync", "off", "durability", "warning"),
        ("synchronous_commit", "off", "durability", "warning"),
        ("synchronous_commit", "local", "durability", "ok"),
        ("autovacuum", "off", "autovacuum", "warning"),
        ("track_counts", "off", "autovacuum", "warning"),
        ("max_connections", "38", "connections", "warning"),
        ("max_connections", "39", "connections", "ok"),
        ("default_transaction_read_only", "on", "primary", "error"),
    ],
)
def test_settings(setting: str, value: str, subject: str, level: str) -> None:
    settings = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "autovacuum": "on",
        "track_counts": "on",
        "max_connections": "100",
        "superuser_reserved_connections": "3",
        "default_transaction_read_only": "off",
    } | {setting: value}
    found = {
        "durability": checks._durability(settings),
        "autovacuum": checks._autovacuum(settings, []),
        "connections": checks._room(settings, Place.parse("postgresql://db/shop")),
        "primary": checks._primary(False, settings),
    }
    assert {name: each.level for name, each in found.items()} == dict.fromkeys(found, "ok") | {subject: level}


def test_a_standby_and_a_clock_that_is_off() -> None:
    assert checks._primary(True, {}).level == "error"
    assert checks._clock(0.9).level == "ok"
    assert (checks._clock(-3600).level, "behind" in checks._clock(-3600).message) == ("warning", True)
    assert "ahead of" in checks._clock(1.1).message


async def test_a_table_without_vacuum_and_an_old_transaction_are_told(pool: Pool, place: Place) -> None:
    await pool.fetch(f"ALTER TABLE {place.quoted}.jobs SET (autovacuum_enabled = false)")
    async with pool.transaction() as connection:
        await connection.execute(f"INSERT INTO {place.quoted}.paused_queues VALUES ('x')")
        await asyncio.sleep(0.1)
        found = by_subject(await findings(pool, place, long=0.05))
        assert "autovacuum_enabled of jobs" in found["autovacuum"].message
        assert found["transactions"].level == "warning"
        assert f"pid {connection.get_server_pid()} (mainspring)" in found["transactions"].message


async def test_a_schema_that_is_behind(pool: Pool, place: Place) -> None:
    other = replace(place, schema=f"{place.schema}_none")
    assert by_subject(await findings(pool, other))["schema"].level == "error"


async def test_a_pooler_is_noticed(pgbouncer_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "NOTICE_LIMIT", 0.3)
    place = Place.parse(f"{pgbouncer_url}&prepared=off&notify=off")
    pool = Pool(place)
    await pool.open()
    await open_schema(pool, place)
    found = by_subject(await findings(pool, place))
    assert (found["pooler"].level, found["notices"].level) == ("ok", "ok")
    found = by_subject(await findings(pool, replace(place, notify=True)))
    assert found["pooler"].level == "warning"
    await pool.close()
