"""From a URL to a store. Only the module of the backend that is named is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from mainspring.clock import Clock
from mainspring.errors import StoreUrlError
from mainspring.ids import IdSource, new_id
from mainspring.store.base import Store
from mainspring.store.url import shown

Synchronous = Literal["FULL", "NORMAL"]

_LATER: Final = frozenset({"mysql", "mariadb", "nats"})
_EXAMPLES: Final = (
    "sqlite:///work.db (beside you), sqlite:////srv/work.db (absolute), postgresql://user:password@host/database,"
    " memory://"
)


def open_store(url: str, *, clock: Clock | None = None, ids: IdSource = new_id) -> Store:
    """The store that a URL names, not opened yet.

    `memory://`; `sqlite:///work.db` for a file below the working directory, `sqlite:////srv/work.db` for an absolute
    one, with `?synchronous=NORMAL` to trade the last commits before a power cut for speed (default FULL);
    `postgresql://user:password@host:5432/database`, with the driver's options and ours: `schema=mainspring`, `pool=10`
    (connections at most), `timeout=10` (seconds for one call), and for poolers `prepared=off` and `notify=off`.
    `clock` is for stores that go by the clock of this process, which PostgreSQL does not.
    Raises StoreUrlError that says what to write instead, or what to install.

    >>> open_store("memory://").features.name
    'memory'
    """
    if not isinstance(url, str):
        raise StoreUrlError(f"a store is named by a URL, not by {url!r}; write one of: {_EXAMPLES}")
    scheme = urlsplit(url).scheme.lower()
    opener = _OPENERS.get(scheme)
    if opener is not None:
        return opener(url, clock, ids)
    if scheme in _LATER:
        raise StoreUrlError(f"{scheme}:// is not supported by this version of Mainspring yet; use {_EXAMPLES}")
    raise StoreUrlError(f"{shown(url)!r} names no store; write one of: {_EXAMPLES}")


def _memory(url: str, clock: Clock | None, ids: IdSource) -> Store:
    from mainspring.store.memory import MemoryStore  # noqa: PLC0415  # only when it is named

    if url.removeprefix("memory:").strip("/"):
        raise StoreUrlError(f"{shown(url)!r}: a memory store has no name; write memory://")
    return MemoryStore(clock=clock, ids=ids)


def _sqlite(url: str, clock: Clock | None, ids: IdSource) -> Store:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise StoreUrlError(
            f"{shown(url)!r}: a SQLite URL has three slashes, or four for an absolute path: {_EXAMPLES}"
        )
    path = unquote(parts.path[1:])
    if not path or path == ":memory:":
        raise StoreUrlError(f"{shown(url)!r} names no file; for a store in memory write memory://")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "FULL").upper()
    if options or synchronous not in {"FULL", "NORMAL"}:
        raise StoreUrlError(f"{shown(url)!r}: the one option of SQLite is synchronous=FULL (the default) or NORMAL")
    from mainspring.store.sqlite import SqliteStore  # noqa: PLC0415  # only when it is named

    return SqliteStore(path, synchronous=cast("Synchronous", synchronous), clock=clock, ids=ids)


def _postgres(url: str, _clock: Clock | None, ids: IdSource) -> Store:
    try:
        import asyncpg  # noqa: F401, PLC0415  # only when it is named
    except ImportError:
        raise StoreUrlError(
            f'{shown(url)!r}: the driver for PostgreSQL is missing; pip install "mainspring[postgres]"'
        ) from None
    from mainspring.store.postgres import PostgresStore  # noqa: PLC0415
    from mainspring.store.postgres.place import Place  # noqa: PLC0415

    return PostgresStore(Place.parse(url), ids=ids)


_OPENERS: Final[dict[str, Callable[[str, Clock | None, IdSource], Store]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "postgres": _postgres,
}
