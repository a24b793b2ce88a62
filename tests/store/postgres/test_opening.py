"""The schema: made, brought up to date, refused."""

from __future__ import annotations

import asyncio
import shutil
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import mainspring.store.postgres
from mainspring.errors import StoreUnavailable, StoreUnsuitable
from mainspring.store.postgres import opening
from mainspring.store.postgres.connect import connect
from mainspring.store.postgres.opening import open_schema, pending
from mainspring.store.postgres.place import PACKAGE, Place
from mainspring.store.postgres.pool import Pool
from mainspring.store.postgres.store import PostgresStore
from mainspring.store.sql import migrations

OURS = [each.name for each in migrations(PACKAGE)]
FOLDER = Path(mainspring.store.postgres.__file__).parent / "migrations"
TABLES = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace($1)"


@pytest.fixture
def place(postgres_url: str) -> Place:
    return Place.parse(postgres_url)


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package of a later Mainspring, which has one more migration."""
    name = f"newer_{uuid.uuid4().hex}"
    folder = tmp_path / name / "migrations"
    shutil.copytree(FOLDER, folder)
    (tmp_path / name / "__init__.py").touch()
    (folder / "9999_colour.sql").write_text("ALTER TABLE {schema}.jobs ADD COLUMN colour text;\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package of the first Mainspring, which had one migration."""
    name = f"older_{uuid.uuid4().hex}"
    folder = tmp_path / name / "migrations"
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / f"{OURS[0]}.sql", folder)
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return name


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Pool]:
    pool = Pool(place)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


async def test_an_empty_database_gets_the_schema_once(place: Place) -> None:
    assert await pending(place) == OURS
    async with opened(place) as pool:
        assert await open_schema(pool, place) == OURS
        assert await open_schema(pool, place) == []
        rows = await pool.fetch(f"SELECT name, applied FROM {place.quoted}.migrations ORDER BY number")
        assert [row[0] for row in rows] == OURS
        assert await pool.fetch(f"SELECT {place.quoted}.clock()")
    assert await pending(place) == []


async def test_every_table_and_column_is_explained(place: Place) -> None:
    """A copy of a table has the comments of the first; what its columns mean there may differ."""
    async with opened(place) as pool:
        await open_schema(pool, place)
        bare = await pool.fetch(UNEXPLAINED, place.schema)
        states = await pool.fetch(f"SELECT col_description(a.attrelid, a.attnum) {STATES}", place.schema)
    assert bare == []
    assert {row[0] for row in states} == {"completed, dead, cancelled or expired"}


UNEXPLAINED = """
SELECT c.relname, a.attname
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)
"""
STATES = """
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'state'
WHERE c.relnamespace = to_regnamespace($1) AND c.relname IN ('jobs_done', 'jobs_kept', 'tallies')
"""


async def test_a_schema_with_any_name(place: Place) -> None:
    place = replace(place, schema=f'{place.schema} "Ä"; --')
    async with opened(place) as pool:
        assert await open_schema(pool, place) == OURS
        assert await open_schema(pool, place) == []
        await pool.fetch(f"DROP SCHEMA {place.quoted} CASCADE")


async def test_an_empty_schema_that_is_there_is_used(place: Place) -> None:
    async with opened(place) as pool:
        await pool.fetch(f"CREATE SCHEMA {place.quoted}")
        assert await open_schema(pool, place) == OURS


async def test_several_at_once_on_an_empty_database(place: Place) -> None:
    async def start() -> list[str]:
        async with opened(place) as pool:
            return await open_schema(pool, place)

    ran = await asyncio.gather(*(start() for _ in range(8)))
    assert sorted(ran) == [[]] * 7 + [OURS]


async def test_several_processes_at_once_on_an_empty_database(postgres_url: str) -> None:
    code = (
        "import asyncio, sys\n"
        "from mainspring.store.postgres.opening import open_schema\n"
        "from mainspring.store.postgres.place import Place\n"
        "from mainspring.store.postgres.pool import Pool\n"
        "async def main():\n"
        "    place = Place.parse(sys.argv[1]); pool = Pool(place); await pool.open()\n"
        "    print(len(await open_schema(pool, place))); await pool.close()\n"
        "asyncio.run(main())\n"
    )
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, postgres_url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    said = [await each.communicate() for each in started]
    assert sorted(int(out) for out, _ in said) == [0, 0, 0, len(OURS)], said


async def test_a_later_migration_runs_alone_and_an_old_worker_then_refuses(place: Place, newer: str) -> None:
    async with opened(place) as pool:
        assert await open_schema(pool, place) == OURS
        assert await pending(place, newer) == ["9999_colour"]
        assert await open_schema(pool, place, newer) == ["9999_colour"]
        assert await open_schema(pool, place, newer) == []
        before = await pool.fetch(TABLES, place.schema)
        with pytest.raises(StoreUnsuitable, match="upgrade Mainspring"):
            await open_schema(pool, place)
        with pytest.raises(StoreUnsuitable, match="upgrade Mainspring"):
            await pending(place)
        assert await pool.fetch(TABLES, place.schema) == before


async def test_a_database_of_an_older_version_is_upgraded_by_opening(place: Place, older: str) -> None:
    """What is in it stays; `pending` says what will be done, `migrate` what was."""
    async with opened(place) as pool:
        assert await open_schema(pool, place, older) == OURS[:1]
        await pool.fetch(f"INSERT INTO {place.quoted}.paused_queues VALUES ('mail')")
    store = PostgresStore(place)
    assert await store.pending() == OURS[1:]
    assert await store.migrate() == OURS[1:]
    try:
        assert await store.pending() == []
        assert (await store.check())[4].level == "ok"
        assert (await store.due_schedules()).schedules == []
        assert (await store._pool.fetch(f"SELECT queue FROM {place.quoted}.paused_queues"))[0][0] == "mail"
    finally:
        await store.close()


async def test_several_at_once_upgrade_once(place: Place, older: str) -> None:
    async with opened(place) as pool:
        await open_schema(pool, place, older)

    async def start() -> list[str]:
        store = PostgresStore(place)
        ran = await store.migrate()
        await store.close()
        return ran

    assert sorted(await asyncio.gather(*(start() for _ in range(4)))) == [[]] * 3 + [OURS[1:]]


async def test_a_migration_that_fails_leaves_nothing(place: Place, newer: str, tmp_path: Path) -> None:
    (tmp_path / newer / "migrations" / "9999_colour.sql").write_text("CREATE TABLE {schema}.x (n int); SELECT 1/0;")
    async with opened(place) as pool:
        with pytest.raises(ValueError, match="22012"):
            await open_schema(pool, place, newer)
        assert (await pool.fetch("SELECT to_regnamespace($1) IS NULL", place.quoted))[0][0]


@pytest.mark.parametrize(
    "foreign",
    [
        "CREATE TABLE {schema}.customers (id integer)",
        "CREATE TABLE {schema}.migrations (version text)",
        "CREATE TABLE {schema}.migrations (number integer, name text); INSERT INTO {schema}.migrations VALUES (1, 'a')",
        "CREATE VIEW {schema}.migrations AS SELECT 1 AS number, 'a' AS name",
    ],
)
async def test_a_schema_of_another_program_is_left_untouched(place: Place, foreign: str) -> None:
    async with opened(place) as pool:
        async with pool.use() as connection:
            await connection.execute(f"CREATE SCHEMA {place.quoted};" + foreign.format(schema=place.quoted))
        before = await pool.fetch(TABLES, place.schema)
        with pytest.raises(StoreUnsuitable, match="another program"):
            await open_schema(pool, place)
        assert await pool.fetch(TABLES, place.schema) == before


async def test_a_role_that_may_create_nothing_opens_what_is_up_to_date(place: Place) -> None:
    role = f"{place.schema}_guest"
    guest = Place.parse(place.dsn.replace("//postgres@", f"//{role}@"))
    guest = replace(guest, schema=place.schema)
    async with opened(place) as pool:
        await pool.fetch(f"CREATE ROLE {role} LOGIN")
        try:
            async with opened(guest) as asked:
                with pytest.raises(StoreUnsuitable, match="lacks a right"):
                    await open_schema(asked, guest)
            await open_schema(pool, place)
            await pool.fetch(f"GRANT USAGE ON SCHEMA {place.quoted} TO {role}")
            await pool.fetch(f"GRANT SELECT ON ALL TABLES IN SCHEMA {place.quoted} TO {role}")
            async with opened(guest) as asked:
                assert await open_schema(asked, guest) == []
        finally:
            await pool.fetch(f"DROP OWNED BY {role}")
            await pool.fetch(f"DROP ROLE {role}")


async def test_who_migrates_waits_for_who_migrates_before(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "TURN_TIMEOUT", 0.1)
    sql = place.sql("opening")["turn"]
    async with opened(place) as pool, opened(place) as other:
        async with other.transaction() as connection:
            await connection.execute(sql, f"mainspring {place.schema}")
            with pytest.raises(StoreUnavailable, match="another transaction"):
                await open_schema(pool, place)
        assert await open_schema(pool, place) == OURS


async def test_an_old_server_and_a_narrow_encoding_are_refused(place: Place) -> None:
    connection = await connect(place)

    class Old:
        def get_server_version(self) -> object:
            return type(connection.get_server_version())(14, 9, 0, "final", 0)

    with pytest.raises(StoreUnsuitable, match=r"is PostgreSQL 14\.9; Mainspring needs 15 or newer"):
        opening.check_server(Old(), place)  # type: ignore[arg-type]  # nothing else of it is looked at
    database = f"{place.schema}_latin"
    await connection.execute(
        f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        narrow = Place.parse(place.dsn.replace("/postgres", f"/{database}").replace(f"//{database}@", "//postgres@"))
        with pytest.raises(StoreUnsuitable, match="encoding LATIN1"):
            await pending(replace(narrow, dsn=narrow.dsn.replace(f"/{database}@", "/postgres@")))
    finally:
        await connection.execute(f"DROP DATABASE {database}")
        await connection.close()


async def test_through_a_pooler_in_transaction_mode(pgbouncer_url: str) -> None:
    place = Place.parse(f"{pgbouncer_url}&prepared=off&notify=off")

    async def start() -> list[str]:
        async with opened(place) as pool:
            return await open_schema(pool, place)

    ran = await asyncio.gather(*(start() for _ in range(4)))
    assert sorted(ran) == [[]] * 3 + [OURS]
