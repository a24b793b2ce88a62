"""Where a PostgreSQL store is, and how it is to be used: read from its URL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import asyncpg

from mainspring.errors import StoreUrlError
from mainspring.store.postgres.records import CLAIMED_COLUMNS, ENDED_COLUMNS, LIVE_COLUMNS
from mainspring.store.postgres.schedule_records import NOW, RUN_COLUMNS, SCHEDULE_COLUMNS
from mainspring.store.sql import statements
from mainspring.store.url import shown

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    """A connection of the driver; its class is generic for type checkers only."""
else:
    Connection = asyncpg.Connection

PACKAGE: Final = "mainspring.store.postgres"
LONGEST_NAME: Final = 63
"""Bytes of a name that PostgreSQL keeps; it cuts off the rest."""

_EXAMPLE: Final = "postgresql://user:password@host:5432/database?schema=mainspring"
_OURS: Final = ("schema", "notify", "prepared", "pool", "timeout")
_DRIVER: Final = frozenset({
    "application_name", "database", "dbname", "gsslib", "host", "krbsrvname", "options", "passfile", "password", "port",
    "service", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcrl", "sslkey", "sslmode",
    "sslnegotiation", "sslpassword", "sslrootcert", "target_session_attrs", "user",
})  # fmt: skip
_NOT_THE_DRIVER: Final = frozenset({
    "channel_binding", "client_encoding", "connect_timeout", "gssencmode", "hostaddr", "keepalives", "keepalives_count",
    "keepalives_idle", "keepalives_interval", "load_balance_hosts", "replication", "require_auth", "requirepeer",
    "tcp_user_timeout",
})  # fmt: skip
"""What other drivers know."""

_WORDS: Final = {
    "on": True,
    "true": True,
    "1": True,
    "yes": True,
    "off": False,
    "false": False,
    "0": False,
    "no": False,
}


@dataclass(frozen=True, slots=True)
class Place:
    """A schema of a database, and how this process uses it.

    `dsn`: what the driver is given. `schema`: all tables are in it. `notify`: workers are woken by LISTEN and NOTIFY;
    without, they look once a second. `prepared`: statements are prepared once per connection; not behind a pooler in
    transaction mode. `pool`: how many connections at most, beside the one that listens. `timeout`: seconds that one
    call may take, waiting for a connection included.

    >>> place = Place.parse("postgresql://ada:pw@db.example.com/shop?schema=work&pool=4&notify=off")
    >>> place.schema, place.pool, place.notify, place.timeout
    ('work', 4, False, 10.0)
    >>> place.shown
    'postgresql://ada:***@db.example.com/shop?schema=work&pool=4&notify=off'
    """

    dsn: str = field(repr=False)
    shown: str
    schema: str = "mainspring"
    notify: bool = True
    prepared: bool = True
    pool: int = 10
    timeout: float = 10.0
    named: bool = False
    """Whether the URL gives an application name."""

    @classmethod
    def parse(cls, url: str) -> Place:
        """The place that a URL names. Options that are not ours go to the driver.

        Raises StoreUrlError, without the password, for what cannot be meant.
        """
        safe = shown(url)
        try:
            parts = urlsplit(url)
            given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise StoreUrlError(f"{safe!r} is no URL of a database; write {_EXAMPLE}") from None
        _check_hosts(parts.netloc, safe)
        if parts.fragment:
            raise StoreUrlError(f"{safe!r}: write # as %23 in user, password and names")
        _check_names(given, safe)
        several = "," in parts.netloc.rpartition("@")[2] or "," in given.get("host", "")
        if several:
            given.setdefault("target_session_attrs", "read-write")
        rest = {name: value for name, value in given.items() if name not in _OURS}
        query = urlencode(rest, quote_via=quote)
        return cls(
            dsn=parts._replace(query=query).geturl(),
            shown=safe,
            schema=_schema(given.get("schema", "mainspring"), safe),
            notify=_flag(given, "notify", safe),
            prepared=_flag(given, "prepared", safe),
            pool=_count(given.get("pool", "10"), safe),
            timeout=_seconds(given.get("timeout", "10"), safe),
            named="application_name" in rest,
        )

    @property
    def quoted(self) -> str:
        """The schema's name as it is written in SQL."""
        return '"' + self.schema.replace('"', '""') + '"'

    def sql(self, group: str) -> Mapping[str, str]:
        """The statements of `sql/<group>.sql` by name, for this schema, with the columns of records written out."""
        return _statements(self.quoted, group)


@cache
def _statements(quoted: str, group: str) -> Mapping[str, str]:
    return {name: _filled(text).replace("{schema}", quoted) for name, text in statements(PACKAGE, group).items()}


def _filled(text: str) -> str:
    columns = {
        "{claimed}": CLAIMED_COLUMNS,
        "{live}": LIVE_COLUMNS,
        "{ended}": ENDED_COLUMNS,
        "{schedule}": SCHEDULE_COLUMNS,
        "{run}": RUN_COLUMNS,
        "{now}": NOW,
    }
    for name, value in columns.items():
        text = text.replace(name, value)
    return text


def _check_hosts(netloc: str, safe: str) -> None:
    """The driver would quote a part of a password that was not escaped, taken for a port."""
    for host in netloc.rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
        if port and not port.isdigit():
            raise StoreUrlError(
                f"{safe!r}: the port is no number; in user and password write : as %3A, / as %2F, @ as %40, ? as %3F"
            )


def _check_names(given: Mapping[str, str], safe: str) -> None:
    for name, value in given.items():
        if name in _NOT_THE_DRIVER:
            raise StoreUrlError(f"{safe!r}: the driver, asyncpg, has no option {name}; leave it out")
        if name not in _OURS and name not in _DRIVER:
            near = get_close_matches(name, [*_OURS, *sorted(_DRIVER)], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise StoreUrlError(
                f"{safe!r} has an unknown option {name}{hint} Ours are {', '.join(_OURS)};"
                " a setting of the server is given as options=-c%20name%3Dvalue"
            )
        if not value:
            raise StoreUrlError(f"{safe!r}: the option {name} has no value; give one, or leave it out")


def _schema(name: str, safe: str) -> str:
    if not name or "\0" in name or len(name.encode()) > LONGEST_NAME or name.startswith("pg_"):
        raise StoreUrlError(
            f"{safe!r}: schema= is a name of 1 to {LONGEST_NAME} bytes that does not begin with pg_, not {name!r}"
        )
    return name


def _flag(given: Mapping[str, str], name: str, safe: str) -> bool:
    value = _WORDS.get(given.get(name, "on").lower())
    if value is None:
        raise StoreUrlError(f"{safe!r}: {name}= is on or off")
    return value


def _count(text: str, safe: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise StoreUrlError(f"{safe!r}: pool= is how many connections may be open, 1 to 1000")
    return int(text)


def _seconds(text: str, safe: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise StoreUrlError(f"{safe!r}: timeout= is how many seconds one call may take, above 0")
    return value
