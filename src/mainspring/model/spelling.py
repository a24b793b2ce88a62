"""Keywords that people bring from other schedulers: each is answered with ours."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_SECONDS: Final = "give seconds or a timedelta, as in {what}(timedelta(minutes=5))"
_NO_ZONE: Final = "intervals count real time, and no clock of a zone; for a time of day there are Cron and Daily"
_ZONE: Final = "here it is tz=…"
_BOUNDS: Final = "start_at=… and end_at=… are options of the schedule"

INTERVALS: Final = {
    **dict.fromkeys(("seconds", "minutes", "hours", "days", "weeks", "milliseconds"), _SECONDS),
    **dict.fromkeys(("tz", "timezone", "zone"), _NO_ZONE),
}
"""Words of others for what `Every` takes."""

EXPRESSIONS: Final = {
    **dict.fromkeys(("timezone", "zone"), _ZONE),
    **dict.fromkeys(("day_of_week", "weekdays", "dow"), "here it is weekday=…"),
    **dict.fromkeys(("day_of_month", "days", "dom"), "here it is day=…"),
    **dict.fromkeys(("month_of_year", "months"), "here it is month=…"),
    "hours": "here it is hour=…",
    "minutes": "here it is minute=…",
    "seconds": "here it is second=…",
    "week": "cron has no weeks; a weekday such as MON#2 is the second Monday of a month",
    "year": "cron has no years; use Once, or end_at=… of the schedule",
    **dict.fromkeys(("start_date", "end_date"), _BOUNDS),
}
"""Words of others for what `Cron` takes."""

TIMES: Final = {
    **dict.fromkeys(("timezone", "zone"), _ZONE),
    **dict.fromkeys(("hour", "minute", "second"), "give the time itself, as in {what}(time(9, 30))"),
    **dict.fromkeys(("time", "time_of_day"), "here it is at=…, or the first argument"),
}
"""Words of others for what `Daily` takes."""


def spelt(what: str, words: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function answer these keywords with a TypeError that tells ours; `what` is the name people call it by."""

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(fn)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            for word in kwargs:
                if word in words:
                    raise TypeError(f"{what} has no {word}=…: {words[word].format(what=what)}")
            return fn(*args, **kwargs)

        return called

    return decorate
