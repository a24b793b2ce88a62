"""What an error says about its attempt, and the error as text. Pure; used in workers and in their child processes."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType
from typing import Final

from mainspring.clock import Duration, seconds
from mainspring.codec import clean_text
from mainspring.errors import CancelJob, GiveUp, ResultNotEncodable, RetryLater, Snooze
from mainspring.model.conclude import Failed, GaveUp, Later, Outcome, Snoozed, Stopped
from mainspring.model.record import Failure
from mainspring.retries.backoff import LONGEST_WAIT
from mainspring.retries.hints import retry_after

FRAMES: Final = 30
"""How many frames of a traceback are kept, the innermost."""

_ENGINE: Final = str(Path(__file__).parent)


def outcome_of(error: BaseException, failure: Failure) -> Outcome:
    """What an attempt that ended with this error says. `failure` is the same error as text.

    A wait that is no time at all is a failure of its own.
    """
    try:
        return _outcome(error, failure)
    except Exception as worse:  # noqa: BLE001  # a user's own attributes must not get lost attempts
        return Failed(worse, failure_of(worse))


def failure_of(error: BaseException) -> Failure:
    """An error as text that every store takes: its class, its words, and where it was raised in the task's code."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return Failure(type=clean_text(name, 500), message=clean_text(_words(error)), traceback=clean_text(_trace(error)))


def _outcome(error: BaseException, failure: Failure) -> Outcome:
    match error:
        case RetryLater(after=after):
            return Later(failure, None if after is None else _in_seconds(after))
        case Snooze(after=after, reason=reason):
            return Snoozed(_in_seconds(after), reason)
        case GiveUp(reason=reason):
            return GaveUp(failure, reason or "gave up")
        case CancelJob(reason=reason):
            return Stopped(reason or "cancelled by its task")
        case ResultNotEncodable():
            return GaveUp(failure, "its result cannot be stored")
        case _:
            return Failed(error, failure, retry_after(error))


def _in_seconds(after: Duration) -> float:
    wait = seconds(after, "after")
    return min(wait, LONGEST_WAIT) if wait > 0 else 0.0  # written so that NaN is 0


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001  # a user's own __str__ must not hide the failure
        return f"(its text cannot be had: {type(worse).__name__})"


def _trace(error: BaseException) -> str:
    frames = _own_frames(error.__traceback__)
    try:
        return "".join(traceback.format_exception(type(error), error, frames, limit=-FRAMES)).rstrip()
    except Exception as worse:  # noqa: BLE001  # as above
        return f"(its traceback cannot be had: {type(worse).__name__})"


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of the engine that lead to the task's function."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_ENGINE):
        trace = trace.tb_next
    return trace
