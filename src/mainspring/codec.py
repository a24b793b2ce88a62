"""Values to bytes and back: JSON, clean enough for every store (no NUL, no lone surrogate, integers of 64 bits).

One wire format for all stores: what one can hold, all can hold, so a batch never fails for its content.
"""

from __future__ import annotations

import math
import re
from typing import Final, TypeVar

import msgspec

from mainspring.errors import EncodingError, PayloadTooLarge

T = TypeVar("T")

DEFAULT_LIMIT: Final = 512 * 1024
"""Bytes that one encoded value may have, unless the app says otherwise."""

KEY_LIMIT: Final = 255
"""Bytes that a key, a name or a tag may have."""

ERROR_LIMIT: Final = 16 * 1024
"""Characters of an error text that are kept: its beginning and its end."""

_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_LONG: Final = 19
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % _LONG)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def encode(value: object, *, what: str = "value", limit: int = DEFAULT_LIMIT) -> bytes:
    """The value as JSON bytes. `what` names it in errors; `limit` is in bytes.

    Takes what msgspec takes: JSON types, dataclasses, Structs, datetimes, UUIDs, enums, sets, bytes (base64); and
    Pydantic models. Integers from -2**63 to 2**64 - 1.
    Raises EncodingError for anything else, and PayloadTooLarge above the limit.

    >>> encode({"to": "a@example.com"})
    b'{"to":"a@example.com"}'
    """
    try:
        data = _to_json(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodingError(f"{what} cannot be stored as JSON: {error}") from error
    if b"\\u0000" in data and _ESCAPED_NUL.search(data):
        raise EncodingError(f"{what} holds a NUL character, which not every store can keep; remove it")
    # Only bytes that look suspicious pay for a walk through the value.
    if b"null" in data or (len(data) >= _LONG and _LONG_NUMBER.search(data)):
        _check_numbers(msgspec.to_builtins(value, enc_hook=_dumped), what)
    if len(data) > limit:
        raise PayloadTooLarge(
            f"{what} has {len(data):,} bytes, more than the limit of {limit:,}; store it elsewhere and pass a reference"
        )
    return data


def decode(data: bytes, type: type[T] | object = object, *, what: str = "value") -> T:  # noqa: A002  # msgspec's word
    """JSON bytes as a value of `type`. Raises EncodingError that names `what` and the place in it.

    >>> decode(b"[1, 2]", list[int])
    [1, 2]
    """
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EncodingError(f"{what} does not fit: {error}") from error


def clean_text(text: str, limit: int = ERROR_LIMIT) -> str:
    r"""An error text that every store takes: NUL and lone surrogates replaced, the middle of a long one cut.

    >>> clean_text("a\x00b") == "a\ufffdb"
    True
    """
    if _UNSTORABLE.search(text):
        text = _UNSTORABLE.sub("\ufffd", text)
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    return f"{text[:head]}\n… {len(text) - limit:,} characters cut …\n{text[head - limit :]}"


def check_key(key: object, what: str) -> str:
    """A key, name or tag that every store takes, unchanged; otherwise EncodingError that says which rule it breaks."""
    if not isinstance(key, str) or not key:
        raise EncodingError(f"{what} must be a non-empty string, got {key!r}")
    if _UNSTORABLE.search(key):
        raise EncodingError(f"{what} {key!r} holds a NUL or a lone surrogate")
    if len(key.encode()) > KEY_LIMIT:
        raise EncodingError(f"{what} has more than {KEY_LIMIT} bytes: {key[:40]!r}…")
    return key


def _dumped(value: object) -> object:
    """A Pydantic model as the dict that it dumps; found by its method, so that pydantic is never imported."""
    dump = getattr(value, "model_dump", None)
    if not callable(dump) or isinstance(value, type):
        raise TypeError(f"a {type(value).__name__} is none of the types that can be")
    return dump(mode="json")


_to_json: Final = msgspec.json.Encoder(enc_hook=_dumped).encode


def _check_numbers(value: object, what: str) -> None:
    """Refuses floats that JSON cannot write, and integers that not every reader can hold."""
    if isinstance(value, float) and not math.isfinite(value):
        raise EncodingError(f"{what} holds NaN or an infinity, which JSON cannot carry; use None or a string")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise EncodingError(f"{what} holds an integer of more than 64 bits; use a string")
    if isinstance(value, dict):
        for each in value.values():
            _check_numbers(each, what)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_numbers(each, what)
