"""What `check` says about a place: does it keep what it promises?"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from typing import Final

from mainspring.errors import MainspringError
from mainspring.store.base import Finding
from mainspring.store.postgres.connect import connect
from mainspring.store.postgres.opening import missing
from mainspring.store.postgres.place import Connection, Place
from mainspring.store.postgres.pool import Pool
from mainspring.store.postgres.wake import channel_of

CLOCKS_APART: Final = 1.0
"""Seconds by which the clocks of the server and of this host may differ."""

LONG: Final = 300.0
"""Seconds after which an open transaction is in the way."""

NOTICE_LIMIT: Final = 2.0
"""Seconds for a notice to come back."""

LIVENESS: Final = Finding(
    "ok",
    "liveness",
    "by beats; code that holds the interpreter's lock (GIL) longer than the lease time stops those of a worker inside"
    " another program, and its jobs run again elsewhere: `mainspring run` beats for its workers, whatever they do",
)
"""What everybody should know of a store that goes by beats (RULES C8)."""

_ROOM: Final = 3
"""Processes that should find room; each opens up to `pool` connections, one that listens, and one that beats."""


async def findings(pool: Pool, place: Place, *, long: float = LONG) -> list[Finding]:
    """Version, durability, clock, schema, room, vacuum, pooler, liveness and notices. Changes nothing; may take seconds.

    `long`: from how many seconds on an open transaction is reported.
    """
    sql = place.sql("checks")
    async with pool.use() as connection:
        settings = {str(row[0]): str(row[1]) for row in await connection.fetch(sql["settings"])}
        sent = time.time()
        now, pid, standby = (await connection.fetch(sql["state"]))[0]
        apart = now - (sent + time.time()) / 2
        unvacuumed = [str(row[0]) for row in await connection.fetch(sql["unvacuumed"], place.schema)]
        opened = [
            (int(row[0]), float(row[1]), str(row[2])) for row in await connection.fetch(sql["open_for_long"], long)
        ]
        pooled = connection.get_server_pid() != pid
        said = [
            Finding("ok", "version", f"PostgreSQL {settings['server_version']}"),
            _durability(settings),
            _primary(standby, settings),
            _clock(apart),
            _schema(await missing(connection, place), place),
            _room(settings, place),
            _autovacuum(settings, unvacuumed),
            _transactions(opened),
            _pooler(place, pooled=pooled),
            LIVENESS,
        ]
    return [*said, await _notices(place, pooled=pooled)]


def _durability(settings: Mapping[str, str]) -> Finding:
    off = [name for name in ("fsync", "full_page_writes") if settings[name] == "off"]
    if off:
        message = f"{' and '.join(off)} off: a power cut can destroy the whole database; switch it on"
        return Finding("warning", "durability", message)
    if settings["synchronous_commit"] == "off":
        return Finding(
            "warning",
            "durability",
            "synchronous_commit=off: the last commits may be lost in a crash of the server, acknowledged jobs among"
            " them; switch it on for this role or database",
        )
    mode = settings["synchronous_commit"]
    return Finding("ok", "durability", f"synchronous_commit={mode}: acknowledged work survives a power cut")


def _primary(standby: object, settings: Mapping[str, str]) -> Finding:
    if standby:
        return Finding("error", "primary", "this server is a standby and takes no writes; name the primary in the URL")
    if settings["default_transaction_read_only"] == "on":
        return Finding("error", "primary", "default_transaction_read_only=on: nothing can be written; switch it off")
    return Finding("ok", "primary", "it takes writes")


def _clock(apart: float) -> Finding:
    if abs(apart) <= CLOCKS_APART:
        return Finding("ok", "clock", f"the server's differs from this host's by {abs(apart):.1f} s")
    word = "ahead of" if apart > 0 else "behind"
    return Finding(
        "warning",
        "clock",
        f"the server's is {abs(apart):.1f} s {word} this host's; jobs go by the server's: synchronise both by NTP",
    )


def _schema(names: Sequence[str], place: Place) -> Finding:
    if names:
        message = f"{place.quoted} lacks {', '.join(names)}: run `mainspring migrate`"
        return Finding("error", "schema", message)
    return Finding("ok", "schema", f"{place.quoted} is up to date")


def _room(settings: Mapping[str, str], place: Place) -> Finding:
    room = int(settings["max_connections"]) - int(settings["superuser_reserved_connections"])
    each = place.pool + place.notify + 1  # the last one while the loop stands still, or a parent's
    if room < _ROOM * each:
        return Finding(
            "warning",
            "connections",
            f"{room} fit, one process opens up to {each}: {room // each} process(es) at full load; raise"
            " max_connections, or lower pool= in the URL",
        )
    return Finding("ok", "connections", f"{room} fit, one process opens up to {each}")


def _autovacuum(settings: Mapping[str, str], tables: Sequence[str]) -> Finding:
    off = [name for name in ("autovacuum", "track_counts") if settings[name] == "off"]
    off += [f"autovacuum_enabled of {table}" for table in tables]
    if off:
        message = f"{', '.join(off)} off: the tables grow and every claim gets slower; switch it on"
        return Finding("warning", "autovacuum", message)
    return Finding("ok", "autovacuum", "it is on")


def _transactions(opened: Sequence[tuple[int, float, str]]) -> Finding:
    if not opened:
        return Finding("ok", "transactions", "none has been open for long")
    told = ", ".join(f"pid {pid} ({name or 'no name'}) {age / 60:.0f} min" for pid, age, name in opened)
    return Finding(
        "warning",
        "transactions",
        f"open for long: {told}; until they end nothing can be vacuumed and claims get slower: end them, if need be"
        " by SELECT pg_terminate_backend(pid)",
    )


def _pooler(place: Place, *, pooled: bool) -> Finding:
    if not pooled:
        return Finding("ok", "pooler", "there is none between")
    if place.prepared or place.notify:
        return Finding(
            "warning",
            "pooler",
            "there is one between: if it pools transactions or statements, add prepared=off&notify=off to the URL;"
            " pgbouncer from 1.21 on can keep prepared=on (max_prepared_statements)",
        )
    return Finding("ok", "pooler", "there is one between, and the URL suits it")


async def _notices(place: Place, *, pooled: bool) -> Finding:
    if not place.notify:
        return Finding("ok", "notices", "off: workers look for new work once a second")
    try:
        took = await _round_trip(place)
    except (MainspringError, TimeoutError):
        return Finding(
            "warning",
            "notices",
            f"a NOTIFY did not come back within {NOTICE_LIMIT:g} s"
            + (": the pooler does not pass LISTEN on; add notify=off to the URL" if pooled else "")
            + "; workers elsewhere find new work within a second",
        )
    return Finding("ok", "notices", f"a NOTIFY came back in {took * 1000:.1f} ms")


async def _round_trip(place: Place) -> float:
    """Seconds from telling to hearing, on a channel of its own. Raises TimeoutError, and what `connect` raises."""
    channel = f"{channel_of(place.schema)[:40]}_{os.urandom(8).hex()}"
    heard = asyncio.Event()
    listener = await connect(place)
    try:
        teller = await connect(place)
        try:
            async with asyncio.timeout(NOTICE_LIMIT):
                await _listen(listener, channel, heard)
                began = time.perf_counter()
                await teller.execute("SELECT pg_notify($1, '')", channel)
                await heard.wait()
                return time.perf_counter() - began
        finally:
            teller.terminate()
    finally:
        listener.terminate()


async def _listen(connection: Connection, channel: str, heard: asyncio.Event) -> None:
    await connection.add_listener(channel, lambda *_: heard.set())
