from __future__ import annotations

import asyncio
import errno
import http.client
import pickle
import socket
import ssl
import urllib.error

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import AttemptTimeout, InvalidPolicy, StoreUnavailable
from mainspring.retries import TRANSIENT, ErrorSet

CLASSES = [OSError, ConnectionError, ConnectionResetError, TimeoutError, ValueError, UnicodeError, KeyError, EOFError]
leaves = st.builds(lambda classes: ErrorSet(*classes), st.lists(st.sampled_from(CLASSES), max_size=3))
sets = st.recursive(
    leaves, lambda inner: st.tuples(inner, inner, st.booleans()).map(lambda t: t[0] | t[1] if t[2] else t[0] - t[1])
)


def foreign(name: str, *bases: type[Exception]) -> type[Exception]:
    """A class that calls itself like one of a library which is not installed."""
    module, _, qualname = name.rpartition(".")
    return type(qualname, bases or (Exception,), {"__module__": module, "__qualname__": qualname})


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionRefusedError(),
        BrokenPipeError(),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
        OSError(errno.EHOSTUNREACH, "no route"),
        OSError(errno.ENETUNREACH, "no network"),
        EOFError(),
        asyncio.IncompleteReadError(b"", 3),
        http.client.IncompleteRead(b""),
        http.client.RemoteDisconnected(""),
        ssl.SSLEOFError(),
        ssl.SSLWantReadError(),
        urllib.error.URLError(ConnectionRefusedError()),
        urllib.error.URLError(TimeoutError()),
        AttemptTimeout(),
        StoreUnavailable(),
        foreign("httpx.ConnectTimeout", foreign("httpx.TimeoutException"))(),
        foreign(
            "aiohttp.client_exceptions.ClientOSError", foreign("aiohttp.client_exceptions.ClientConnectionError")
        )(),
        foreign("asyncpg.exceptions.PostgresConnectionError")(),
        foreign("redis.exceptions.ConnectionError")(),
        foreign("requests.exceptions.ConnectionError", OSError)(),
        foreign("urllib3.exceptions.ProtocolError")(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_transient(error: Exception) -> None:
    assert TRANSIENT.matches(error)
    assert error in TRANSIENT


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        FileNotFoundError(errno.ENOENT, "gone"),
        OSError("no number"),
        OSError(99_999, "unknown number"),
        urllib.error.URLError("unknown url type"),
        urllib.error.HTTPError("http://x", 503, "busy", None, None),  # type: ignore[arg-type]  # headers are not needed
        ssl.SSLCertVerificationError(),
        urllib.error.URLError(ssl.SSLCertVerificationError()),
        foreign("requests.exceptions.SSLError", foreign("requests.exceptions.ConnectionError"))(),
        foreign("redis.exceptions.AuthenticationError", foreign("redis.exceptions.ConnectionError"))(),
        foreign("httpx.UnsupportedProtocol", foreign("httpx.TransportError"))(),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_not_transient(error: BaseException) -> None:
    assert not TRANSIENT.matches(error)


@given(sets, sets, st.sampled_from(CLASSES))
def test_union_and_difference_are_those_of_sets(one: ErrorSet, other: ErrorSet, cls: type[Exception]) -> None:
    error = cls()
    assert (one | other).matches(error) == (one.matches(error) or other.matches(error))
    assert (one - other).matches(error) == (one.matches(error) and not other.matches(error))
    assert (error in one) == (cls in one) == one.matches(error)


@given(sets, sets)
def test_equal_sets_have_equal_names(one: ErrorSet, other: ErrorSet) -> None:
    assert pickle.loads(pickle.dumps(one)) == one
    if one == other:
        assert one.name == other.name
        assert hash(one) == hash(other)


@given(sets, sets)
def test_the_name_tells_sets_apart(one: ErrorSet, other: ErrorSet) -> None:
    if one.name == other.name:
        assert all(one.matches(cls()) == other.matches(cls()) for cls in CLASSES)


def test_members_are_classes_names_and_sets() -> None:
    mine = ErrorSet(KeyError, "shop.errors.Sold", ErrorSet(EOFError), name="shop")
    assert mine.name == "shop"
    assert KeyError() in mine
    assert foreign("shop.errors.Sold") in mine
    assert EOFError in mine
    assert ValueError not in mine
    assert "builtins.KeyError" not in mine  # a class or an error, nothing else
    assert (KeyError | ErrorSet(EOFError)) == ErrorSet(KeyError, ErrorSet(EOFError))
    assert ConnectionError not in TRANSIENT - OSError
    assert not ErrorSet().matches(ValueError())


@pytest.mark.parametrize("member", [KeyboardInterrupt, asyncio.CancelledError, int, "OSError"])
def test_what_is_no_error_to_retry_is_refused(member: type[BaseException]) -> None:
    with pytest.raises(InvalidPolicy):
        ErrorSet(member)
