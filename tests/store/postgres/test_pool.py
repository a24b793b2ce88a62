"""Connections: taken and given back, lost, silent, too many."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mainspring.errors import AppError, EncodingError, StoreClosed, StoreUnavailable, StoreUnsuitable
from mainspring.store.postgres import pool as module
from mainspring.store.postgres.connect import connect
from mainspring.store.postgres.place import Connection, Place
from mainspring.store.postgres.pool import Pool
from tests.servers.postgres import Postgres, PostgresServer
from tests.servers.proxy import TcpProxy

PID = "SELECT pg_backend_pid()::bigint"


@pytest.fixture
def place(postgres_url: str) -> Place:
    return Place.parse(postgres_url)


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[Pool]:
    pool = Pool(place)
    await pool.open()
    yield pool
    await pool.close()


async def pid_of(pool: Pool) -> int:
    return int((await pool.fetch(PID))[0][0])


async def kill(pool: Pool, pid: int) -> None:
    await pool.fetch("SELECT pg_terminate_backend($1::integer)", pid)


async def test_the_connection_that_was_used_last_is_used_next(pool: Pool) -> None:
    async with pool.use() as first, pool.use() as second:
        pids = [first.get_server_pid(), second.get_server_pid()]
    assert pids[0] != pids[1]
    assert [await pid_of(pool) for _ in range(3)] == [pids[0]] * 3  # the block inside gave back first
    assert pool.owns(pids[1])
    assert not pool.owns(1)


async def test_no_question_is_asked_of_the_server_beyond_the_statement(pool: Pool) -> None:
    """No reset, no look at types: what a pooler in transaction mode would mix up."""
    said: list[str] = []
    async with pool.use() as connection:
        connection.add_query_logger(lambda each: said.append(each.query))
    await pool.fetch("SELECT $1::uuid[], $2::timestamptz[], $3::jsonb", [], [], "{}")
    await pool.fetch("SELECT 1")
    await asyncio.sleep(0)  # what was said is told soon
    assert said == ["SELECT $1::uuid[], $2::timestamptz[], $3::jsonb", "SELECT 1"]


async def test_ids_and_times_come_back_as_they_were_given(pool: Pool) -> None:
    ids = ["0190163d-8694-739b-aea5-966c26f8ad91", None]
    times = [1767225600.123457, 0.0, -1.5, math.inf, -math.inf, None]
    rows = await pool.fetch(
        "SELECT $1::uuid, $2::uuid[], $3::timestamptz[], $3::timestamptz[]::text", ids[0], ids, times
    )
    assert tuple(rows[0])[:3] == (ids[0], ids, times)
    assert "2026-01-01 00:00:00.123457" in rows[0][3]
    now = (await pool.fetch("SELECT now()"))[0][0]
    assert abs(now - time.time()) < 60
    assert now == round(now, 6)


async def test_those_who_wait_are_served_in_their_order(place: Place) -> None:
    pool = Pool(replace(place, pool=2))
    await pool.open()
    served: list[int] = []

    async def use(number: int) -> None:
        async with pool.use():
            served.append(number)
            await asyncio.sleep(0)

    async with pool.use(), pool.use():
        waiting = [asyncio.create_task(use(number)) for number in range(5)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.sleep(0)
        assert not served
    await asyncio.gather(*waiting, return_exceptions=True)
    assert served == [0, 2, 3, 4]
    assert len(pool._idle) == 2
    await pool.close()


async def test_a_connection_handed_to_somebody_who_has_just_gone_is_not_lost(place: Place) -> None:
    pool = Pool(replace(place, pool=1, timeout=1))
    await pool.open()
    async with pool.use():
        waiting = asyncio.create_task(pool.fetch("SELECT 1"))
        await asyncio.sleep(0)
    waiting.cancel()  # it was handed over, and not taken yet
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await pool.fetch("SELECT 1")
    await pool.close()


async def test_waiting_for_a_connection_has_a_limit(place: Place) -> None:
    pool = Pool(replace(place, pool=1, timeout=0.3))
    await pool.open()
    async with pool.use(timed=False):
        with pytest.raises(StoreUnavailable, match="raise pool="):
            await pool.fetch("SELECT 1")
    assert await pool.fetch("SELECT 1")
    await pool.close()


async def test_a_refused_statement_leaves_the_connection_in_use(pool: Pool) -> None:
    pid = await pid_of(pool)
    with pytest.raises(EncodingError) as caught:
        await pool.fetch("SELECT $1::text::integer", "geheim")
    assert "geheim" not in str(caught.value)
    with pytest.raises(EncodingError):
        await pool.fetch("SELECT $1::integer", "geheim")  # refused by the driver
    with pytest.raises(StoreUnsuitable):
        await pool.fetch("SELECT * FROM no_such_table")
    assert await pid_of(pool) == pid


async def test_a_transaction_is_committed_at_its_end_and_rolled_back_by_an_error(pool: Pool, place: Place) -> None:
    await pool.fetch(f"CREATE SCHEMA {place.quoted}")
    await pool.fetch(f"CREATE TABLE {place.quoted}.t (n integer)")
    pid = await pid_of(pool)
    insert, count = f"INSERT INTO {place.quoted}.t VALUES (1)", f"SELECT count(*) FROM {place.quoted}.t"
    async with pool.transaction(0.25) as connection:
        assert await connection.fetchval("SHOW lock_timeout") == "250ms"
        await connection.execute(insert)
    with pytest.raises(KeyError):
        async with pool.transaction() as connection:
            await connection.execute(insert)
            raise KeyError
    with pytest.raises(EncodingError):
        async with pool.transaction() as connection:
            await connection.execute(insert)
            await connection.execute("SELECT 1/0")
    assert (await pool.fetch(count))[0][0] == 1
    assert (await pool.fetch("SHOW lock_timeout"))[0][0] == "0"
    assert await pid_of(pool) == pid


async def test_a_transaction_that_failed_unnoticed_is_not_taken_for_committed(pool: Pool) -> None:
    with pytest.raises(StoreUnavailable, match="rolled back"):
        async with pool.transaction() as connection:
            try:
                await connection.execute("SELECT 1/0")
            except Exception:
                pass


async def test_locked_rows_are_waited_for_as_long_as_allowed(pool: Pool, place: Place) -> None:
    await pool.fetch(f"CREATE SCHEMA {place.quoted}")
    await pool.fetch(f"CREATE TABLE {place.quoted}.t (n integer)")
    async with pool.transaction() as holder:
        await holder.execute(f"LOCK TABLE {place.quoted}.t")
        with pytest.raises(StoreUnavailable, match="locked for too long"):
            async with pool.transaction(0.05) as connection:
                await connection.execute(f"LOCK TABLE {place.quoted}.t")


async def test_a_transaction_left_open_ends_with_its_connection(pool: Pool) -> None:
    async with pool.use() as connection:
        pid = connection.get_server_pid()
        await connection.execute("BEGIN")
    assert await pid_of(pool) != pid


async def test_a_cancelled_use_loses_its_connection_and_ends_its_statement(pool: Pool) -> None:
    async with pool.use() as connection:
        pid = connection.get_server_pid()
    task = asyncio.create_task(pool.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pid_of(pool) != pid
    async with asyncio.timeout(5):
        while (await pool.fetch("SELECT count(*) FROM pg_stat_activity WHERE pid = $1::integer", pid))[0][0]:
            await asyncio.sleep(0.02)


async def test_a_connection_that_died_idle_is_replaced_without_a_word(pool: Pool) -> None:
    async with pool.use() as first, pool.use() as second:
        gone = [first.get_server_pid(), second.get_server_pid()]
    async with pool.use(), pool.use(), pool.use() as third:
        kept = third.get_server_pid()
    async with pool.use():
        pass
    other = Pool(pool._place)
    await other.open()
    for pid in gone:
        await kill(other, pid)
    await other.close()
    await asyncio.sleep(0.1)
    assert await pid_of(pool) == kept


async def test_a_connection_that_dies_in_use_says_so_and_the_next_call_works(pool: Pool) -> None:
    sleeping = asyncio.create_task(pool.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.1)
    pids = [slot.connection.get_server_pid() for slot in pool._busy]
    for pid in pids:
        await kill(pool, pid)
    with pytest.raises(StoreUnavailable):
        await sleeping
    assert await pid_of(pool) not in pids


async def test_a_server_that_was_restarted_is_found_again(own_postgres: PostgresServer) -> None:
    pool = Pool(Place.parse(own_postgres.url("work")))
    await pool.open()
    async with pool.use(), pool.use(), pool.use():
        pass
    own_postgres.kill()
    with pytest.raises(StoreUnavailable):
        await pool.fetch("SELECT 1")
    own_postgres.start()
    assert (await pool.fetch("SELECT 1"))[0][0] == 1
    await pool.close()


async def test_a_black_hole_ends_a_use_after_the_time_limit(
    postgres_server: Postgres, postgres_proxy: TcpProxy
) -> None:
    pool = Pool(Place.parse(postgres_server.url("work", port=postgres_proxy.port) + "&timeout=0.4"))
    await pool.open()
    async with pool.use(), pool.use():
        pass
    postgres_proxy.blackhole()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.4 s"):
        await pool.fetch("SELECT 1")
    assert 0.3 < time.monotonic() - began < 1.5
    assert not pool._idle  # the other one leads to the same silence
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with pytest.raises(StoreUnavailable):
        async with pool.transaction() as connection:
            await connection.execute("SELECT 1")
    postgres_proxy.heal()
    assert await pool.fetch("SELECT 1")
    await pool.close()


async def test_a_cancel_during_the_time_limit_stays_a_cancel(
    postgres_server: Postgres, postgres_proxy: TcpProxy
) -> None:
    pool = Pool(Place.parse(postgres_server.url("work", port=postgres_proxy.port) + "&timeout=0.3"))
    await pool.open()
    postgres_proxy.blackhole()
    task = asyncio.create_task(pool.fetch("SELECT 1"))
    asyncio.get_running_loop().call_later(0.1, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    postgres_proxy.heal()
    await pool.close()


async def test_a_use_without_a_limit_may_last(place: Place) -> None:
    pool = Pool(replace(place, timeout=0.1))
    await pool.open()
    async with pool.use(timed=False) as connection:
        await connection.execute("SELECT pg_sleep(0.4)")
    with pytest.raises(StoreUnavailable):
        async with pool.use() as connection:
            await asyncio.sleep(5)
    await pool.close()


async def test_a_demoted_primary_loses_all_its_connections(pool: Pool) -> None:
    """SQLSTATE 25006: everything that goes there is refused, so another host is to be asked."""
    async with pool.use() as first, pool.use() as second, pool.use() as third:
        pids = {first.get_server_pid(), second.get_server_pid(), third.get_server_pid()}
    async with pool.use() as busy:
        with pytest.raises(StoreUnavailable, match="standby"):
            async with pool.use() as connection:
                await connection.execute("BEGIN READ ONLY; CREATE TABLE no_such (n integer)")
        assert not pool._idle
        pids.add(busy.get_server_pid())
    assert await pid_of(pool) not in pids


async def test_idle_connections_are_closed_after_a_while(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_LIMIT", 0.1)
    pool = Pool(replace(place, timeout=0.4))
    await pool.open()
    async with pool.use(), pool.use(), pool.use(), pool.use():
        pass
    assert len(pool._idle) == 4
    async with asyncio.timeout(5):
        while len(pool._idle) > module.IDLE_KEPT:
            await asyncio.sleep(0.02)
    assert pool._timer is None or pool._timer.when() > 0
    assert await pool.fetch("SELECT 1")
    await pool.close()


async def test_a_server_that_cannot_be_reached(
    place: Place, postgres_proxy: TcpProxy, postgres_server: Postgres
) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await Pool(Place.parse("postgresql://127.0.0.1:1/shop")).open()
    with pytest.raises(StoreUnsuitable, match="does not exist"):
        await Pool(replace(place, dsn=place.dsn + "_no_such")).open()
    postgres_proxy.blackhole()
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await Pool(Place.parse(postgres_server.url("work", port=postgres_proxy.port) + "&timeout=0.2")).open()


async def test_a_closed_pool_says_so(place: Place) -> None:
    pool = Pool(replace(place, pool=1))
    with pytest.raises(StoreClosed):
        await pool.fetch("SELECT 1")
    await pool.open()
    await pool.open()
    running = asyncio.create_task(pool.fetch("SELECT pg_sleep(0.2), 7 AS seven"))
    waiting = asyncio.create_task(pool.fetch("SELECT 1"))
    await asyncio.sleep(0.05)
    await pool.close()
    assert (await running)[0]["seven"] == 7  # what was under way is let finish
    for refused in (waiting, pool.fetch("SELECT 1")):
        with pytest.raises(StoreClosed):
            await refused
    assert not pool.is_open
    await pool.close()


async def test_a_forked_process_has_to_open_its_own(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        with pytest.raises(AppError, match="forked"):
            await pool.fetch("SELECT 1")
        with pytest.raises(AppError, match="forked"):
            async with pool.use():
                pass
        await pool.close()
    assert await pool.fetch("SELECT 1")


async def test_a_hook_of_tests_runs_each_time(place: Place) -> None:
    seen: list[int] = []

    async def before(connection: Connection) -> None:
        seen.append(connection.get_server_pid())

    pool = Pool(place, before=before)
    await pool.open()
    await pool.fetch("SELECT 1")
    async with pool.transaction():
        pass
    assert len(seen) == 2
    await pool.close()


async def test_many_at_once_never_open_more_than_allowed(place: Place) -> None:
    pool = Pool(replace(place, pool=3))
    await pool.open()
    most = 0

    async def use() -> None:
        nonlocal most
        for _ in range(20):
            await pool.fetch("SELECT 1")
            most = max(most, len(pool._busy) + len(pool._idle) + pool._opening)

    await asyncio.gather(*(use() for _ in range(20)))
    assert most == 3
    assert (len(pool._busy), pool._opening, len(pool._idle)) == (0, 0, 3)
    await pool.close()


async def test_through_a_pooler_in_transaction_mode(pgbouncer_url: str) -> None:
    place = Place.parse(f"{pgbouncer_url}&prepared=off&notify=off")
    pool = Pool(place)
    await pool.open()

    async def use(number: int) -> None:
        for _ in range(5):
            assert (await pool.fetch("SELECT $1::integer, $2::uuid[]", number, []))[0][0] == number
            async with pool.transaction() as connection:
                assert await connection.fetchval("SELECT $1::integer", number) == number

    await asyncio.gather(*(use(number) for number in range(20)))
    await pool.close()


async def test_a_pooler_that_refuses_our_settings_is_connected_to_without(pgbouncer_url: str) -> None:
    connection = await connect(Place.parse(pgbouncer_url))
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
