"""What errors say, and errors as text."""

from __future__ import annotations

from datetime import timedelta
from email.message import Message
from urllib.error import HTTPError

import pytest

from mainspring.engine.outcomes import failure_of, outcome_of
from mainspring.errors import CancelJob, GiveUp, ResultNotEncodable, RetryLater, Snooze
from mainspring.model.conclude import Failed, GaveUp, Later, Outcome, Snoozed, Stopped
from mainspring.model.record import Failure

TEXT = Failure(type="t", message="m")


class Busy(Exception):
    def __init__(self, retry_after: object) -> None:
        super().__init__("busy")
        self.retry_after = retry_after


class Rude(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RetryLater(5), Later(TEXT, 5.0)),
        (RetryLater(), Later(TEXT, None)),
        (RetryLater(timedelta(minutes=1)), Later(TEXT, 60.0)),  # type: ignore[arg-type]
        (Snooze(3, "later"), Snoozed(3.0, "later")),
        (Snooze(-3), Snoozed(0.0, "")),
        (Snooze(float("nan")), Snoozed(0.0, "")),
        (GiveUp("bad data"), GaveUp(TEXT, "bad data")),
        (GiveUp(), GaveUp(TEXT, "gave up")),
        (CancelJob("done by others"), Stopped("done by others")),
        (ResultNotEncodable("no"), GaveUp(TEXT, "its result cannot be stored")),
    ],
)
def test_D19_ends_that_are_raised(error: BaseException, outcome: Outcome) -> None:
    assert outcome_of(error, TEXT) == outcome


def test_a_wait_that_is_no_time_is_a_failure() -> None:
    outcome = outcome_of(Snooze("soon"), TEXT)  # type: ignore[arg-type]
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ValueError)


def test_any_other_error_is_a_failure() -> None:
    error = ValueError("x")
    assert outcome_of(error, TEXT) == Failed(error, TEXT, None)


@pytest.mark.parametrize(
    ("value", "hint"), [(7, 7.0), (timedelta(seconds=2), 2.0), (-1, None), (True, None), ("7", None), (None, None)]
)
def test_an_error_may_say_when_to_come_back(value: object, hint: float | None) -> None:
    outcome = outcome_of(Busy(value), TEXT)
    assert isinstance(outcome, Failed)
    assert outcome.wait_hint == hint


def test_an_answer_with_retry_after_says_when_to_come_back() -> None:
    answer = Message()
    answer["Retry-After"] = "9"
    outcome = outcome_of(HTTPError("http://localhost", 503, "busy", answer, None), TEXT)
    assert isinstance(outcome, Failed)
    assert outcome.wait_hint == 9.0


def test_text_of_an_error_names_its_class_and_its_line() -> None:
    failure = failure_of(raised(Busy(1)))
    assert failure.type.endswith("test_outcomes.Busy")
    assert failure.message == "busy"
    assert "raise error" in failure.traceback


def test_C10_text_of_an_error_can_be_stored() -> None:
    failure = failure_of(raised(ValueError("a\x00b" + "x" * 100_000)))
    assert "\x00" not in failure.message + failure.traceback
    assert len(failure.message) < 20_000
    assert len(failure.traceback) < 20_000


def test_an_error_without_text_is_still_told_of() -> None:
    failure = failure_of(raised(Rude()))
    assert "cannot be had" in failure.message
