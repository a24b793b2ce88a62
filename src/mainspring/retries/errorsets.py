"""Named sets of errors, matched by qualified name: a set can name classes of libraries that are not installed."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from mainspring.errors import InvalidPolicy
from mainspring.retries.value import Value

# Errors that only carry another one in `reason` and say nothing by themselves.
_CARRIERS: Final = frozenset({"urllib.error.URLError", "urllib3.exceptions.MaxRetryError"})

# Errors that their libraries make of the one being handled, and do not raise from it, or say so no more.
_MADE_OF_CONTEXT: Final = frozenset({
    "httpcore.ConnectError",
    "redis.exceptions.ConnectionError",
    "requests.exceptions.ConnectionError",
})  # fmt: skip

_WRAPPERS: Final = _CARRIERS | _MADE_OF_CONTEXT
_WRONG_CERTIFICATE: Final = "ssl.SSLCertVerificationError"


class ErrorSet(Value):
    """An immutable set of error classes.

    Members are classes, qualified names (`"httpx.TransportError"`: nothing is imported), `"errno.EHOSTUNREACH"` for
    an OSError with that number, or other sets. An error belongs to the set when its class or a base class does; one
    that was raised from a wrong certificate counts as an `"ssl.SSLCertVerificationError"` as well.
    `a | b` holds what either holds; `a - b` holds what `a` holds and `b` does not; `x in a` takes a class or an
    error. Two classes of the same module and qualified name are the same to a set.

    `name` is the set's part of the key under which failures are counted; by default it is made of its members.
    Raises InvalidPolicy for a member that is no error, or that is never retried (`KeyboardInterrupt`, …).

    >>> mine = ErrorSet(KeyError, ConnectionError) - ErrorSet(ConnectionRefusedError)
    >>> ConnectionResetError in mine, ConnectionRefusedError in mine, KeyError("x") in mine
    (True, False, True)
    """

    __slots__ = ("name", "names", "parts", "without")
    names: frozenset[str]
    parts: tuple[ErrorSet, ...]
    without: ErrorSet | None
    name: str

    def __init__(self, *members: type[BaseException] | str | ErrorSet, name: str | None = None) -> None:
        names = frozenset(_checked_name(member) for member in members if not isinstance(member, ErrorSet))
        parts = tuple(member for member in members if isinstance(member, ErrorSet))
        self._set(names, parts, None, name or derived_name(names, parts, None))

    def matches(self, error: BaseException) -> bool:
        """Whether the error belongs to the set."""
        return self.holds(names_of(error))

    def __contains__(self, item: object) -> bool:
        if isinstance(item, BaseException):
            return self.matches(item)
        return isinstance(item, type) and self.holds(class_names(item))

    def __or__(self, other: ErrorSet | type[BaseException]) -> ErrorSet:
        return ErrorSet(self, other)

    def __ror__(self, other: type[BaseException]) -> ErrorSet:
        return ErrorSet(other, self)

    def __sub__(self, other: ErrorSet | type[BaseException]) -> ErrorSet:
        without = other if isinstance(other, ErrorSet) else ErrorSet(other)
        return ErrorSet.composed(frozenset(), (self,), without)

    def __repr__(self) -> str:
        return f"<ErrorSet {self.name}>"

    @classmethod
    def composed(
        cls, names: frozenset[str], parts: tuple[ErrorSet, ...], without: ErrorSet | None, name: str | None = None
    ) -> ErrorSet:
        """A set of its four fields; how the stored form is read back."""
        return cls._made(names, parts, without, name or derived_name(names, parts, without))

    def holds(self, names: frozenset[str]) -> bool:
        """Whether an error that is known under these names belongs to the set."""
        if self.names.isdisjoint(names) and not any(part.holds(names) for part in self.parts):
            return False
        return self.without is None or not self.without.holds(names)


def qualified_name(cls: type) -> str:
    """`module.Qualname` of a class: its name in keys and sets.

    >>> qualified_name(OSError), qualified_name(ErrorSet)
    ('builtins.OSError', 'mainspring.retries.errorsets.ErrorSet')
    """
    return f"{cls.__module__}.{cls.__qualname__}"


@lru_cache(maxsize=256)
def class_names(cls: type) -> frozenset[str]:
    """The qualified names of a class and all its bases."""
    return frozenset(qualified_name(base) for base in cls.__mro__)


def names_of(error: BaseException) -> frozenset[str]:
    """Every name under which a set may hold this error."""
    kind: type = type(error)
    names = class_names(kind)
    if isinstance(error, OSError) and error.errno is not None:
        code = errno.errorcode.get(error.errno)
        names = names if code is None else names | {f"errno.{code}"}
    if error.__cause__ is None and names.isdisjoint(_WRAPPERS):
        return names  # nearly always
    if not names.isdisjoint(_CARRIERS):
        reason: object = getattr(error, "reason", None)
        if isinstance(reason, BaseException) and reason is not error:
            names = names | names_of(reason)
    if any(_WRONG_CERTIFICATE in behind for behind in _names_behind(error)):
        names = names | {_WRONG_CERTIFICATE}
    return names


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, outermost first; each once."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _names_behind(error: BaseException) -> Iterator[frozenset[str]]:
    """The names of `causes_of`, also behind errors that a library made of another one and did not raise from it.

    Elsewhere, what was being handled says nothing: it may be the failure to which this whole call is the answer.
    """
    seen: set[int] = set()
    made: BaseException | None = error
    while made is not None and id(made) not in seen:
        seen.add(id(made))
        kind: type = type(made)
        names = class_names(kind)
        yield names
        made = made.__context__ if made.__cause__ is None and names & _MADE_OF_CONTEXT else made.__cause__


def _checked_name(member: type[BaseException] | str) -> str:
    if isinstance(member, str):
        if "." not in member:
            raise InvalidPolicy(f"a set of errors takes qualified names such as 'builtins.OSError', not {member!r}")
        return member
    return qualified_name(checked_class(member))


def checked_class(cls: object) -> type[Exception]:
    """The class itself. Raises InvalidPolicy unless it is an error that may be retried."""
    given = cls
    if not isinstance(cls, type) or not issubclass(cls, BaseException):
        raise InvalidPolicy(f"on: {cls!r} is no error class{_instead(given)}")
    if not issubclass(cls, Exception):
        raise InvalidPolicy(f"on: {cls.__qualname__} is never retried, only Exception and its subclasses are")
    return cls


def _instead(given: object) -> str:
    """What to write for something that stands among error classes and is none."""
    if isinstance(given, ErrorSet):
        return "; sets are joined with |, not in a tuple: TRANSIENT | KeyError"
    if isinstance(given, BaseException):
        return f"; give the class, {type(given).__qualname__}"
    if callable(given):
        return "; a predicate stands alone, in a Rule of its own: Retry(Rule(TRANSIENT), Rule(predicate))"
    return ""


def derived_name(names: frozenset[str], parts: tuple[ErrorSet, ...], without: ErrorSet | None) -> str:
    """The name of a set that was given none."""
    held = "|".join([*sorted(names), *(f"({part.name})" if part.without else part.name for part in parts)])
    held = held or "nothing"
    return held if without is None else f"({held})-({without.name})"


_NOT_CURED_BY_TIME: Final = ErrorSet(
    "aiohttp.client_exceptions.ClientConnectorCertificateError",
    "aiohttp.client_exceptions.ServerFingerprintMismatch",
    "redis.exceptions.AuthenticationError",
    "redis.exceptions.AuthorizationError",
    "requests.exceptions.SSLError",
    _WRONG_CERTIFICATE,
    "urllib.error.HTTPError",
    name="not cured by time",
)

TRANSIENT: Final[ErrorSet] = ErrorSet.composed(
    frozenset({
        # Python
        "asyncio.exceptions.IncompleteReadError",
        "builtins.ConnectionError",
        "builtins.EOFError",
        "builtins.TimeoutError",
        "errno.EHOSTDOWN",
        "errno.EHOSTUNREACH",
        "errno.ENETDOWN",
        "errno.ENETRESET",
        "errno.ENETUNREACH",
        "http.client.IncompleteRead",
        "socket.gaierror",
        "socket.herror",
        "ssl.SSLEOFError",
        "ssl.SSLSyscallError",
        "ssl.SSLWantReadError",
        "ssl.SSLWantWriteError",
        "ssl.SSLZeroReturnError",
        # HTTP
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "httpcore.NetworkError",
        "httpcore.RemoteProtocolError",
        "httpcore.TimeoutException",
        "httpx.NetworkError",
        "httpx.RemoteProtocolError",
        "httpx.TimeoutException",
        "requests.exceptions.ChunkedEncodingError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "urllib3.exceptions.NewConnectionError",
        "urllib3.exceptions.ProtocolError",
        "urllib3.exceptions.TimeoutError",
        # Databases
        "asyncpg.exceptions.AdminShutdownError",
        "asyncpg.exceptions.CannotConnectNowError",
        "asyncpg.exceptions.CrashShutdownError",
        "asyncpg.exceptions.PostgresConnectionError",
        "asyncpg.exceptions.TooManyConnectionsError",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
    }),
    (),
    _NOT_CURED_BY_TIME,
    "TRANSIENT",
)  # fmt: skip
"""What often passes by itself: timeouts, lost or refused connections, DNS, answers cut short.

In Python, and in httpx, httpcore, aiohttp, requests, urllib3, asyncpg and redis. Not: wrong certificates, whatever
error they were made into, wrong passwords, answers with an error status.
"""
