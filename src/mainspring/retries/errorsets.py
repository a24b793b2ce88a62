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


class ErrorSet(Value):
    """An immutable set of error classes.

    Members are classes, qualified names (`"httpx.TransportError"`: nothing is imported), `"errno.EHOSTUNREACH"` for
    an OSError with that number, or other sets. An error belongs to the set when its class or a base class does.
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
    if not names.isdisjoint(_CARRIERS):
        reason: object = getattr(error, "reason", None)
        if isinstance(reason, BaseException) and reason is not error:
            names = names | names_of(reason)
    return names


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, outermost first; each once."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _checked_name(member: type[BaseException] | str) -> str:
    if isinstance(member, str):
        if "." not in member:
            raise InvalidPolicy(f"a set of errors takes qualified names such as 'builtins.OSError', not {member!r}")
        return member
    return qualified_name(checked_class(member))


def checked_class(cls: object) -> type[Exception]:
    """The class itself. Raises InvalidPolicy unless it is an error that may be retried."""
    if not isinstance(cls, type) or not issubclass(cls, BaseException):
        raise InvalidPolicy(f"on: {cls!r} is no error class")
    if not issubclass(cls, Exception):
        raise InvalidPolicy(f"on: {cls.__qualname__} is never retried, only Exception and its subclasses are")
    return cls


def derived_name(names: frozenset[str], parts: tuple[ErrorSet, ...], without: ErrorSet | None) -> str:
    """The name of a set that was given none."""
    held = "|".join([*sorted(names), *(f"({part.name})" if part.without else part.name for part in parts)])
    held = held or "nothing"
    return held if without is None else f"({held})-({without.name})"


_NOT_CURED_BY_TIME: Final = ErrorSet(
    "aiohttp.client_exceptions.ClientConnectorCertificateError",
    "redis.exceptions.AuthenticationError",
    "redis.exceptions.AuthorizationError",
    "requests.exceptions.SSLError",
    "ssl.SSLCertVerificationError",
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

In Python, and in httpx, httpcore, aiohttp, requests, urllib3, asyncpg and redis. Not: wrong certificates, wrong
passwords, answers with an error status.
"""
