from __future__ import annotations

import asyncio
import errno
import http.client
import pickle
import socket
import ssl
import urllib.error
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import AttemptTimeout, InvalidPolicy, StoreUnavailable
from mainspring.retries import TRANSIENT, ErrorSet, Rule
from mainspring.retries.classify import classify_transport

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
        foreign("aiohttp.client_exceptions.ServerFingerprintMismatch", ConnectionError)(),
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


# --- wrong certificates, in whatever the libraries make of them -------------------------------------------


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def while_handling(error: Exception, context: BaseException, *, hidden: bool = False) -> Exception:
    error.__context__, error.__suppress_context__ = context, hidden
    return error


HTTPX = foreign("httpx.ConnectError", foreign("httpx.NetworkError"))
HTTPCORE = foreign("httpcore.ConnectError", foreign("httpcore.NetworkError"))
REDIS = foreign("redis.exceptions.ConnectionError")
REQUESTS = foreign("requests.exceptions.ProxyError", foreign("requests.exceptions.ConnectionError", OSError))


def as_httpx_does(cause: BaseException) -> Exception:
    """`raise … from` twice, and its connection pool raises that `from None`."""
    return caused(HTTPX(), while_handling(HTTPCORE(), cause, hidden=True))


def as_redis_does(cause: BaseException) -> Exception:
    """Raised in an `except`, without `from`."""
    return while_handling(REDIS(), cause)


def as_a_program_does(cause: BaseException) -> Exception:
    return caused(ConnectionError(), caused(ValueError(), cause))


def as_requests_does(cause: BaseException) -> Exception:
    return while_handling(REQUESTS(), caused(foreign("urllib3.exceptions.MaxRetryError")(), cause))


WRAPS = pytest.mark.parametrize("wrap", [as_httpx_does, as_redis_does, as_a_program_does, as_requests_does])


@WRAPS
def test_a_wrong_certificate_is_not_transient_whatever_it_is_made_into(
    wrap: Callable[[BaseException], Exception],
) -> None:
    error = wrap(ssl.SSLCertVerificationError())
    assert not TRANSIENT.matches(error)
    assert error not in TRANSIENT | KeyError
    assert classify_transport(error) is None
    assert not Rule(TRANSIENT, causes=True).matches(error)
    assert error in ErrorSet(ssl.SSLCertVerificationError)


@WRAPS
@pytest.mark.parametrize("cause", [ConnectionRefusedError(), ssl.SSLEOFError(), socket.gaierror()])
def test_what_passes_by_itself_is(wrap: Callable[[BaseException], Exception], cause: Exception) -> None:
    assert TRANSIENT.matches(wrap(cause))
    assert TRANSIENT.matches(caused(wrap(cause), KeyError()))


@WRAPS
def test_a_certificate_of_another_host_that_was_asked_first_says_nothing(
    wrap: Callable[[BaseException], Exception],
) -> None:
    """`except SSLCertVerificationError: ask_another()`: whatever fails there does so during handling of it."""
    first = ssl.SSLCertVerificationError()
    assert TRANSIENT.matches(wrap(while_handling(ConnectionRefusedError(), first)))
    assert TRANSIENT.matches(while_handling(TimeoutError(), first))


def test_a_circle_of_causes_has_an_end() -> None:
    one = REDIS()
    other = caused(REDIS(), one)
    one.__cause__ = other
    assert TRANSIENT.matches(one)
    assert TRANSIENT.matches(caused(one, other))
