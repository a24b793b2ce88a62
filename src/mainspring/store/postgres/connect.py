"""Opening a connection: its settings, and how ids and times are turned into ours and back.

Nothing here leaves state in the session of the server that a pooler could hand to somebody else.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final

import asyncpg

from mainspring.store.postgres import faults
from mainspring.store.postgres.place import Connection, Place

STATEMENTS_KEPT: Final = 250
"""Prepared statements per connection; there are fewer of them."""

_KEEPALIVES: Final = {
    "tcp_keepalives_idle": "30",  # the locks of a client whose machine has vanished are freed
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_SETTINGS: Final = _KEEPALIVES | {
    "plan_cache_mode": "force_generic_plan",  # each statement has one right plan; to plan anew costs more than to run
    # That plan is kept. Made while a table was small, it would go on reading all of it when it has become large.
    "enable_seqscan": "off",
    "jit": "off",  # no statement of ours is worth compiling, and a misjudged one would wait for it
}
"""For our own statements; a user's keep to the server's settings."""
_NO_SUCH_SETTING: Final = frozenset({"08P01", "42704"})
"""How a pooler answers to settings that it does not know."""

_EPOCH: Final = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01."""

_NEVER: Final = 2**63 - 1
_EVER: Final = -(2**63)
_ARRAYS: Final = (
    (1000, "_bool", 16, "bool"),
    (1007, "_int4", 23, "int4"),
    (1009, "_text", 25, "text"),
    (1016, "_int8", 20, "int8"),
    (1022, "_float8", 701, "float8"),
    (1185, "_timestamptz", 1184, "timestamptz"),
    (199, "_json", 114, "json"),
    (2951, "_uuid", 2950, "uuid"),
    (3807, "_jsonb", 3802, "jsonb"),
)
"""The array types of our statements: their numbers are the same in every server."""


async def connect(place: Place, *, plain: bool = False) -> Connection:
    """A new connection, with its codecs unless `plain`. Raises our errors; takes `place.timeout` seconds at most."""
    try:
        try:
            settings = _KEEPALIVES if plain else _SETTINGS
            connection = await _connected(place, settings if place.prepared else {})
        except asyncpg.PostgresError as error:
            if not place.prepared or faults.sqlstate_of(error) not in _NO_SUCH_SETTING:
                raise
            connection = await _connected(place, {})
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise faults.translated(error, place) from error
    try:
        if not plain:
            await _prepare(connection)
    except BaseException as error:
        connection.terminate()
        if faults.is_from_driver(error):
            raise faults.translated(error, place) from error
        raise
    return connection


async def _connected(place: Place, settings: dict[str, str]) -> Connection:
    names = {} if place.named else {"application_name": "mainspring"}
    return await asyncpg.connect(
        place.dsn,
        timeout=place.timeout,
        statement_cache_size=STATEMENTS_KEPT if place.prepared else 0,
        max_cached_statement_lifetime=0,
        max_cacheable_statement_size=0,
        server_settings={**settings, **names},
    )


async def _prepare(connection: Connection) -> None:
    """Codecs live in the client. For types of the server's own no question is asked."""
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=uuid_to_bytes, decoder=uuid_from_bytes, format="binary"
    )
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=time_to_tuple, decoder=time_from_tuple, format="tuple"
    )
    with suppress(AttributeError, KeyError, TypeError):  # a driver that does it otherwise asks the server
        connection.get_settings().register_data_types([_array(*each) for each in _ARRAYS])


def _array(number: int, name: str, of: int, of_name: str) -> dict[str, object]:
    """What the driver would ask the server about an array type, with three statements for each connection."""
    return {
        "oid": number,
        "ns": "pg_catalog",
        "name": name,
        "kind": "b",
        "basetype": None,
        "elemtype": of,
        "elemdelim": ",",
        "range_subtype": None,
        "attrtypoids": None,
        "attrnames": None,
        "depth": 0,
        "basetype_name": None,
        "elemtype_name": of_name,
        "range_subtype_name": None,
    }


_ID_LENGTH: Final = 36


def uuid_to_bytes(text: str) -> bytes:
    """An id as the server takes it.

    >>> uuid_from_bytes(uuid_to_bytes("0190163d-8694-739b-aea5-966c26f8ad91"))
    '0190163d-8694-739b-aea5-966c26f8ad91'
    """
    if len(text) != _ID_LENGTH or text != text.lower():  # another spelling would come back as another text
        raise ValueError("an id is a UUID in its canonical form")
    return bytes.fromhex(text.replace("-", ""))


def uuid_from_bytes(value: bytes) -> str:
    """An id in its canonical form."""
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def time_to_tuple(seconds: float) -> tuple[int]:
    """Seconds since 1970, rounded to microseconds, as the server takes them.

    >>> time_from_tuple(time_to_tuple(1767225600.123457)), time_from_tuple(time_to_tuple(math.inf))
    (1767225600.123457, inf)
    """
    if seconds == math.inf:
        return (_NEVER,)
    if seconds == -math.inf:
        return (_EVER,)
    return (round(seconds * 1e6) - _EPOCH,)


def time_from_tuple(value: tuple[int]) -> float:
    """Seconds since 1970; infinity as such."""
    count = value[0]
    if count == _NEVER:
        return math.inf
    if count == _EVER:
        return -math.inf
    return (count + _EPOCH) / 1e6
