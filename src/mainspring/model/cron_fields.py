"""Fields of cron by their names: `Cron(minute=30, hour="9-17")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mainspring.errors import InvalidTrigger


class _ByName(str):
    """Told from every text that people give, and from None."""

    __slots__ = ()


BY_NAME: Final[str] = _ByName()
"""In the place of an expression: fields are named instead, or there are none at all."""


def expression_of(named: Mapping[str, object]) -> str:
    """The expression of named fields; one without a second when none is named.

    Raises InvalidTrigger for what is no field, and for one above the minute that is named without it: who writes
    `hour=3` hardly wants 60 runs.
    """
    parts: list[str] = []
    for name, value in named.items():
        if name == "second" and value is None:
            continue
        text = "*" if _is_wild(value) else str(value)
        if isinstance(value, bool) or not isinstance(value, int | str | None) or text.split() != [text]:
            raise InvalidTrigger(f"{name} must be a number or one field of cron such as '*/5', not {value!r}")
        parts.append(text)
    coarse = next((name for name in ("hour", "day", "month", "weekday") if not _is_wild(named[name])), None)
    if coarse is not None and _is_wild(named["minute"]):
        raise InvalidTrigger(f"{coarse}= without minute=: say minute=0, or minute='*' for every minute")
    return " ".join(parts)


def _is_wild(value: object) -> bool:
    """Whether nothing is said about a field."""
    return value is None or value == ""
