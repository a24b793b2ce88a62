"""What the server says, in our words."""

from __future__ import annotations

import asyncpg
import pytest

from mainspring.errors import (
    EncodingError,
    LeaseLost,
    MainspringError,
    StoreFull,
    StoreUnavailable,
    StoreUnsuitable,
    StoreUrlError,
)
from mainspring.store.postgres import faults
from mainspring.store.postgres.place import Place

PLACE = Place.parse("postgresql://ada:geheim@db/shop?schema=work")


def said(state: str, text: str = "geheim") -> asyncpg.PostgresError:
    """An error as the driver makes it of an answer of the server."""
    error = asyncpg.PostgresError.new({"C": state, "M": text, "S": "ERROR"})
    assert isinstance(error, asyncpg.PostgresError)
    return error


@pytest.mark.parametrize(
    ("state", "kind", "says"),
    [
        ("08006", StoreUnavailable, "may be repeated"),
        ("25006", StoreUnavailable, "standby"),
        ("40001", StoreUnavailable, "go first"),
        ("40P01", StoreUnavailable, "deadlock"),
        ("53200", StoreUnavailable, "may be repeated"),
        ("53300", StoreUnavailable, "max_connections"),
        ("55P03", StoreUnavailable, "locked"),
        ("57014", StoreUnavailable, "cancelled"),
        ("57P01", StoreUnavailable, "shut down"),
        ("57P03", StoreUnavailable, "starting or stopping"),
        ("58030", StoreUnavailable, "may be repeated"),
        ("XX000", StoreUnavailable, "may be repeated"),
        ("ZZ999", StoreUnavailable, "may be repeated"),
        ("53100", StoreFull, "free space"),
        ("22P05", EncodingError, "nothing of it was stored"),
        ("23505", EncodingError, "nothing of it was stored"),
        ("54000", EncodingError, "nothing of it was stored"),
        ("28P01", StoreUnsuitable, "user or password"),
        ("3D000", StoreUnsuitable, "does not exist"),
        ("42501", StoreUnsuitable, 'GRANT it USAGE and CREATE on the schema "work"'),
        ("42P01", StoreUnsuitable, "mainspring migrate"),
        ("42703", StoreUnsuitable, "mainspring migrate"),
        ("42601", StoreUnsuitable, "cannot run a statement"),
        ("26000", StoreUnsuitable, "prepared=off"),
    ],
)
def test_what_the_server_says(state: str, kind: type[MainspringError], says: str) -> None:
    ours = faults.translated(said(state), PLACE)
    assert type(ours) is kind
    assert says in str(ours)
    assert "geheim" not in str(ours)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), StoreUnavailable),
        (ConnectionRefusedError(111, "refused"), StoreUnavailable),
        (asyncpg.InterfaceError("connection is closed"), StoreUnavailable),
        (asyncpg.ConnectionDoesNotExistError("geheim"), StoreUnavailable),
        (asyncpg.ClientConfigurationError("`sslmode` must be one of …"), StoreUrlError),
        (ValueError("geheim"), StoreUrlError),
        (asyncpg.DataError("invalid input for query argument $1: 'geheim'"), EncodingError),
    ],
)
def test_what_the_driver_and_the_network_say(error: Exception, kind: type[MainspringError]) -> None:
    ours = faults.translated(error, PLACE)
    assert type(ours) is kind
    assert "geheim" not in str(ours)


def test_our_own_errors_stay() -> None:
    ours = LeaseLost("gone")
    assert faults.translated(ours, PLACE) is ours


@pytest.mark.parametrize("state", ["08006", "25006", "57014", "57P01"])
def test_a_connection_is_not_used_again_after(state: str) -> None:
    assert faults.spoils(said(state))


@pytest.mark.parametrize("state", ["22P05", "23505", "40001", "40P01", "42P01", "55P03"])
def test_a_plain_refusal_leaves_the_connection_in_use(state: str) -> None:
    assert not faults.spoils(said(state))
