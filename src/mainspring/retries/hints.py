"""What an error itself says about when to come back: the `Retry-After` of an HTTP answer, or a `retry_after` of its own.

Duck-typed: nothing of any library is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, timedelta
from typing import Final, cast

from mainspring.errors import InvalidPolicy
from mainspring.retries.backoff import LONGEST_WAIT

LONGEST_ASKED: Final = 86_400.0
"""Seconds, one day: a longer wait that the other side asks for is cut to it; whoever is still busy then asks again."""

WaitHint = Callable[[BaseException], float | None]
"""A policy's own look at an error: seconds to wait before the next attempt, None to leave it to the backoff."""

# Classes of which an instance without attributes says nothing: most failures are told apart by this alone.
_SILENT: Final[set[type]] = set()
_SILENT_KEPT: Final = 256
_TELLING: Final = ("retry_after", "response", "headers", "__getattr__")


def asked_wait(error: BaseException, wait_hint: WaitHint | None = None) -> float | None:
    """The wait that the error asks for, by the policy's own `wait_hint` or by `retry_after`: seconds, or None.

    Raises whatever `wait_hint` raises, and InvalidPolicy for an answer of it that is neither None nor a number of
    seconds, 0 or more; the caller logs that and takes it for None.
    """
    if wait_hint is None:
        return retry_after(error)
    said = wait_hint(error)
    wait = as_seconds(said)
    if wait is None and said is not None:
        raise InvalidPolicy(f"wait_hint must give seconds, 0 or more, or None; not {said!r}")
    return wait


def retry_after(error: BaseException, *, now: float | None = None) -> float | None:
    """Seconds after which the other side wants to be asked again; None when the error does not say. Never raises.

    Looked at, in this order: `error.retry_after` (seconds or timedelta), then the header `Retry-After` (seconds or
    an HTTP date) in `error.headers` and in the headers of `error.response`, as the errors of httpx, requests,
    aiohttp, urllib and botocore have them. An error that says nothing is asked for what it was raised from; of a
    group the longest wait counts. A date is measured from the answer's own `Date`, else from `now` (seconds since
    1970; default: the clock). A date that has passed is 0; what makes no sense is None; at most one day
    (`LONGEST_ASKED`): no answer may put a call to sleep for years. A `wait_hint` of your own is not cut.

    >>> from urllib.error import HTTPError
    >>> retry_after(HTTPError("http://localhost", 503, "busy", {"retry-after": "120"}, None))
    120.0
    >>> retry_after(OSError("busy")) is None
    True
    """
    if type(error) in _SILENT and error.__cause__ is None and not error.__dict__:
        return None
    return _said_within(error, now)


def parse_retry_after(value: str, now: float | None = None) -> float | None:
    """The value of a `Retry-After` header in seconds from `now` (default: the clock); None for nonsense.

    Source: RFC 9110, section 10.2.3.

    >>> parse_retry_after("7"), parse_retry_after("-7"), parse_retry_after("Thu, 01 Jan 1970 00:00:10 GMT", now=4.0)
    (7.0, None, 6.0)
    """
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return min(float(text), LONGEST_WAIT)
    date = _seconds_since_1970(text)
    if date is None:
        return None
    if now is None:
        from time import time  # noqa: PLC0415  # so that a test may replace it

        now = time()
    return min(max(date - now, 0.0), LONGEST_WAIT)


def as_seconds(hint: object) -> float | None:
    """A number of seconds or a timedelta as seconds, at most `LONGEST_WAIT`; None for what is neither, or below 0."""
    if isinstance(hint, bool) or not isinstance(hint, int | float | timedelta):
        return None
    seconds = hint.total_seconds() if isinstance(hint, timedelta) else hint
    return float(min(seconds, LONGEST_WAIT)) if seconds >= 0 else None


def _said_within(error: BaseException, now: float | None) -> float | None:
    """What the error says; if nothing, what its cause or the leaves of a group say, each asked once."""
    seen: set[int] = set()
    waits: list[float] = []
    unasked = [error]
    while unasked:
        each = unasked.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        cause = each.__cause__
        said = _said(each, now)
        if said is not None:
            waits.append(said)
            continue
        if cause is not None:
            unasked.append(cause)
        if isinstance(each, BaseExceptionGroup):
            unasked += cast("BaseExceptionGroup[BaseException]", each).exceptions
    return min(max(waits), LONGEST_ASKED) if waits else None


def _said(error: BaseException, now: float | None) -> float | None:
    kind = type(error)
    if kind in _SILENT:
        if not error.__dict__:
            return None
    elif _is_silent(kind):
        if len(_SILENT) >= _SILENT_KEPT:  # classes that are made at run time must not stay for ever
            _SILENT.clear()
        _SILENT.add(kind)
    said = as_seconds(_field(error, "retry_after"))
    if said is not None:
        return said
    response = _field(error, "response")
    for headers in (_field(error, "headers"), _field(response, "headers"), _aws_headers(response)):
        try:
            said = None if headers is None else _said_in(headers, now)
        except Exception:  # noqa: BLE001  # whatever calls itself headers must not turn the failure into another
            said = None
        if said is not None:
            return said
    return None


def _is_silent(kind: type[object]) -> bool:
    try:
        return not issubclass(kind, BaseExceptionGroup) and not any(hasattr(kind, name) for name in _TELLING)
    except Exception:  # noqa: BLE001  # a descriptor of somebody's own, which fails on the class
        return False


def _field(owner: object, name: str) -> object:
    try:
        return getattr(owner, name, None)
    except Exception:  # noqa: BLE001  # a property of somebody's own, as above
        return None


def _aws_headers(response: object) -> object:
    """The headers in the plain dicts that botocore has for an answer."""
    found = response
    for key in ("ResponseMetadata", "HTTPHeaders"):
        found = cast("dict[str, object]", found).get(key) if isinstance(found, dict) else None
    return found


def _said_in(headers: object, now: float | None) -> float | None:
    value = _header(headers, "retry-after")
    if not isinstance(value, str):
        return as_seconds(value)
    date = _header(headers, "date")
    answered = _seconds_since_1970(date) if isinstance(date, str) else None
    return parse_retry_after(value, now if answered is None else answered)


def _header(headers: object, name: str) -> object:
    """One header of a mapping, or of a list of pairs, whatever the case of its name."""
    items = getattr(headers, "items", None)
    for key, value in cast("Iterable[tuple[object, object]]", headers if items is None else items()):
        if _text(key).lower() == name:
            return _text(value) if isinstance(value, str | bytes) else value
    return None


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _seconds_since_1970(date: str) -> float | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  # slow to load, and most answers give seconds

    try:
        parsed = parsedate_to_datetime(date)
        return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
    except Exception:  # noqa: BLE001  # it fails in many ways on what is no date
        return None
