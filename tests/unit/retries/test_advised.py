"""Where the advice about a wait comes from besides the policy: the baseline, and what the error itself asks for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from mainspring.retries import Baseline, Retry, constant
from tests.unit.retries.conftest import Told, raising

if TYPE_CHECKING:
    from tests.unit.retries.conftest import Way

# --- the baseline -------------------------------------------------------------------------------------------


class Odd(Exception):
    """Nobody knows it."""


BASELINE = Baseline(
    {"transport": Retry(on=Exception, attempts=2, backoff=constant(7))},
    unknown=Retry(on=Exception, attempts=4, backoff=constant(9)),
)


def test_CLS_020_an_unknown_error_is_retried_and_logged_as_an_error_each_time(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    assert way(raising(Odd("odd"), Odd("odd")), Retry(on=KeyError), baseline=BASELINE, hooks=told.hooks) == 3
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.split(": ", 1)[1] for line in errors] == [
        "attempt 1 failed, unknown error, again in 9 s: Odd: odd",
        "attempt 2 failed, unknown error, again in 9 s: Odd: odd",
    ]
    assert [(details.wait, details.degraded) for _, details in told.of] == [(9.0, True), (9.0, True), (None, False)]


def test_CLS_019_a_baseline_without_unknown_stops(way: Way) -> None:
    error = Odd()
    with pytest.raises(Odd):
        way(raising(error), Retry(on=KeyError), baseline=Baseline(BASELINE.policies))
    assert not hasattr(error, "__notes__")


def test_CLS_025_the_policy_of_a_category_gives_up(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    told, last = Told(), ConnectionResetError("again")
    with pytest.raises(ConnectionResetError, match="again"):
        way(raising(ConnectionResetError(), last), Retry(on=KeyError), baseline=BASELINE, hooks=told.hooks)
    assert told.moments == ["before_wait", "gave_up"]
    assert last.__notes__ == ["gave up after 2 attempts in 7.0 s"]
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]


def test_CLS_013_a_rule_that_gave_up_does_not_ask_the_baseline(way: Way) -> None:
    policy = Retry(on=ConnectionError, attempts=1)
    with pytest.raises(ConnectionResetError):
        way(raising(ConnectionResetError()), policy, baseline=BASELINE)


def test_the_limit_of_a_baseline_is_named_without_a_number_that_the_policy_does_not_have(way: Way) -> None:
    short = Baseline({}, unknown=Retry(on=Exception, backoff=constant(60), give_up_after=10))
    error = Odd()
    with pytest.raises(Odd):
        way(raising(error), Retry(on=KeyError), baseline=short)
    assert error.__notes__ == ["gave up after 1 attempt in 0.0 s, give_up_after reached"]


# --- hints ----------------------------------------------------------------------------------------------------


class Busy(Exception):
    def __init__(self, seconds: str) -> None:
        super().__init__("503")
        self.headers = {"Retry-After": seconds}


def test_retry_after_replaces_the_backoff(way: Way) -> None:
    told = Told()
    assert way(raising(Busy("7"), Busy("soon")), Retry(on=Busy, backoff=constant(1)), hooks=told.hooks) == 3
    assert [details.wait for _, details in told.of] == [7.0, 1.0, None]


def test_the_policys_own_hint_replaces_the_look_at_retry_after(way: Way) -> None:
    told, asked = Told(), list[BaseException]()

    def hint(error: BaseException) -> float | None:
        asked.append(error)
        return 3.0 if len(asked) == 1 else None

    policy = Retry(on=Busy, backoff=constant(1), wait_hint=hint)
    errors = [Busy("7"), Busy("7")]
    assert way(raising(*errors), policy, hooks=told.hooks) == 3
    assert asked == errors
    assert [details.wait for _, details in told.of] == [3.0, 1.0, None]


def test_a_hint_that_raises_is_logged_and_counts_as_none(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    def hint(error: BaseException) -> float | None:
        raise LookupError("the hint is broken")

    told = Told()
    assert way(raising(Busy("7")), Retry(on=Busy, backoff=constant(1), wait_hint=hint), hooks=told.hooks) == 2
    assert told.of[0][1].wait == 1.0
    assert "wait_hint failed" in caplog.text
    assert "the hint is broken" in caplog.text


@pytest.mark.parametrize("nonsense", [float("nan"), -1.0, "soon"])
def test_a_hint_that_makes_no_sense_counts_as_none(way: Way, nonsense: float) -> None:
    told = Told()
    policy = Retry(on=OSError, backoff=constant(1), wait_hint=lambda _: nonsense)
    assert way(raising(OSError()), policy, hooks=told.hooks) == 2
    assert told.of[0][1].wait == 1.0
