"""PostgreSQL's errors as ours: what happened at which place, and what to do next. Never with a value or a password."""

from __future__ import annotations

from typing import Final

import asyncpg

from mainspring.errors import (
    AppError,
    EncodingError,
    MainspringError,
    StoreClosed,
    StoreFull,
    StoreUnavailable,
    StoreUnsuitable,
    StoreUrlError,
)
from mainspring.store.postgres.place import Place

READ_ONLY: Final = "25006"
MISSING: Final = frozenset({"42P01", "42703", "3F000", "42883"})
"""A table, column, schema or function that is not there."""

_DISK_FULL: Final = "53100"
NO_RIGHT: Final = "42501"
_NO_DATABASE: Final = "3D000"
LOCK_TIMEOUT: Final = "55P03"
_TOO_MANY: Final = "53300"
_POOLED: Final = frozenset({"26000", "42P05"})
"""A prepared statement that is not there, or already there: another session answers than the one asked before."""

_DATA: Final = frozenset({"22", "23", "54"})
_BROKEN: Final = frozenset({"08", "57"})
_FOR_PROGRAMMERS: Final = frozenset({"21", "42", "0A", "2F", "34", "38", "39", "3B", "3F", "P0"})


def sqlstate_of(error: BaseException) -> str:
    """The five characters by which the server names what happened; empty when it was not the server."""
    return getattr(error, "sqlstate", None) or ""


def is_from_driver(error: BaseException) -> bool:
    """Whether the driver or the server said this, and not the code that used the connection."""
    return isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError))


def spoils(error: BaseException) -> bool:
    """Whether a connection cannot be used again after this error: all but a plain refusal of one statement."""
    if not isinstance(error, asyncpg.PostgresError):
        return is_from_driver(error) or not isinstance(error, Exception)
    state = sqlstate_of(error)
    return state[:2] in _BROKEN or state == READ_ONLY or isinstance(error, asyncpg.FatalPostgresError)


def translated(error: BaseException, place: Place) -> MainspringError:
    """The error of ours that says what PostgreSQL, the driver or the network meant."""
    if isinstance(error, MainspringError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _said(error, sqlstate_of(error), place)
    if isinstance(error, TimeoutError):
        return silent(place)
    if isinstance(error, OSError):
        return StoreUnavailable(f"{place.shown} cannot be reached: {error}; every verb may be repeated")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return StoreUnavailable(f"none of the hosts of {place.shown} takes writes now; every verb may be repeated")
    if isinstance(error, asyncpg.ClientConfigurationError):
        return StoreUrlError(f"the driver does not take {place.shown}: {error}")
    if isinstance(error, ValueError) and not is_from_driver(error):
        return StoreUrlError(f"the driver does not understand {place.shown}; check its host, port and options")
    return StoreUnavailable(
        f"the connection to {place.shown} was lost ({type(error).__name__}); every verb may be repeated"
    )


def _said(error: asyncpg.PostgresError, state: str, place: Place) -> MainspringError:
    known = _UNAVAILABLE.get(state)
    kind = type(error).__name__
    if known is not None:
        return StoreUnavailable(f"{place.shown} {known}; every verb may be repeated")
    if state == _DISK_FULL:
        return StoreFull(
            f"the disk of {place.shown} is full; nothing of this call was stored: free space and repeat it"
        )
    if state[:2] in _DATA:
        where = getattr(error, "constraint_name", None) or getattr(error, "column_name", None)
        at = f", {where}" if where else ""
        return EncodingError(
            f"PostgreSQL refuses a value of this call at {place.shown} ({kind}, {state}{at}); nothing of it was stored"
        )
    if state in _POOLED:
        return StoreUnsuitable(
            f"{place.shown} is behind a pooler that mixes up prepared statements; add prepared=off to the URL, and"
            " notify=off if it pools transactions"
        )
    return _unsuitable(error, state, place) or StoreUnavailable(
        f"PostgreSQL cannot use {place.shown} now ({kind}, {state}); every verb may be repeated"
    )


def _unsuitable(error: asyncpg.PostgresError, state: str, place: Place) -> StoreUnsuitable | None:
    """What a person has to put right."""
    if state[:2] == "28":
        return StoreUnsuitable(f"{place.shown} refuses this user or password ({state}); check them, and pg_hba.conf")
    if state == _NO_DATABASE:
        return StoreUnsuitable(f"the database of {place.shown} does not exist; create it, or name another one")
    if state == NO_RIGHT:
        return StoreUnsuitable(
            f"this user lacks a right at {place.shown}; GRANT it USAGE and CREATE on the schema {place.quoted} and all"
            " rights on its tables, or open the store once as their owner"
        )
    if state in MISSING:
        return StoreUnsuitable(
            f"the tables in schema {place.quoted} of {place.shown} are not as this Mainspring made them ({state});"
            " name another schema, run `mainspring migrate`, or restore a backup"
        )
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return None
    if state[:2] in _FOR_PROGRAMMERS:
        return StoreUnsuitable(
            f"PostgreSQL cannot run a statement of Mainspring at {place.shown} ({type(error).__name__}, {state});"
            " are its tables, functions and types in this schema untouched?"
        )
    return None


_UNAVAILABLE: Final = {
    READ_ONLY: "takes no writes now: it is a standby, or was made one",
    LOCK_TIMEOUT: "has rows that another transaction holds locked for too long",
    _TOO_MANY: "has no room for another connection; raise max_connections, or lower pool= in the URLs",
    "40001": "let another transaction go first",
    "40P01": "ended a deadlock with another transaction",
    "57014": "ended the statement: it was cancelled, or statement_timeout passed",
    "57P01": "was shut down, or somebody ended this connection",
    "57P02": "is recovering from a crash",
    "57P03": "is starting or stopping",
}


def silent(place: Place) -> StoreUnavailable:
    """No answer within the time limit of a call."""
    return StoreUnavailable(f"{place.shown} did not answer within {place.timeout:g} s; every verb may be repeated")


def lost(place: Place) -> StoreUnavailable:
    """The server has ended a connection that nobody was using."""
    return StoreUnavailable(f"the connection to {place.shown} was lost")


def crowded(place: Place) -> StoreUnavailable:
    """No connection became free within the time limit of a call."""
    return StoreUnavailable(
        f"all {place.pool} connections to {place.shown} were in use for {place.timeout:g} s; raise pool= in the URL"
    )


def rolled_back(place: Place) -> StoreUnavailable:
    """A COMMIT that the server answered with ROLLBACK: a statement before it had failed."""
    return StoreUnavailable(f"a transaction at {place.shown} had failed and was rolled back; repeat the call")


def closed(place: Place) -> StoreClosed:
    """A verb after `close`, or before `open`."""
    return StoreClosed(
        f"the store {place.shown} is not open; open it before use, and do not use it after it was closed"
    )


def forked(place: Place) -> AppError:
    """A verb in a child process that inherited the store."""
    return AppError(f"{place.shown} was opened before this process was forked; open the store again in the child")
