from __future__ import annotations

import asyncio
import socket
import urllib.error

import pytest

from mainspring.errors import AttemptTimeout, InvalidPolicy
from mainspring.retries import (
    SERVICE,
    TRANSPORT,
    Baseline,
    CircuitBreaker,
    Classification,
    Retry,
    RetryBudget,
    Rule,
    Stop,
    Wait,
    constant,
)
from mainspring.retries.classify import classify_transport
from mainspring.retries.policy import ATTEMPTS_SPENT, NO_RULE, TIME_SPENT

NONE = Retry(on=KeyError, attempts=2, backoff=constant(1))
TRANSPORT_ONLY = Baseline({TRANSPORT: Retry(on=Exception, attempts=3, backoff=constant(7))})
KEY = "baseline:transport:builtins.Exception"


def decide(
    error: BaseException, baseline: Baseline, counters: dict[str, int] | None = None, elapsed: float = 0.0
) -> Wait | Stop:
    return NONE.decide(error, counters or {}, elapsed, random=lambda: 0.5, baseline=baseline)


def raised_from(cause: Exception) -> Exception:
    try:
        raise ValueError("wrapped") from cause
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError(TimeoutError()),
        TimeoutError(),
        socket.gaierror(),
        EOFError(),
        asyncio.IncompleteReadError(b"", None),
        raised_from(ConnectionResetError()),
        raised_from(raised_from(TimeoutError())),
    ],
)
def test_CLS_015_transport_errors(error: Exception) -> None:
    assert classify_transport(error) == Classification(TRANSPORT)


def test_CLS_016_others_are_not_classified() -> None:
    assert classify_transport(ValueError()) is None
    assert classify_transport(raised_from(KeyError())) is None


def test_a_circle_of_causes_ends() -> None:
    error, other = ValueError(), ValueError()
    error.__cause__, other.__cause__ = other, error
    assert classify_transport(error) is None


def test_a_rule_that_matches_is_asked_alone() -> None:
    assert decide(KeyError(), TRANSPORT_ONLY) == Wait(1.0, "builtins.KeyError", {"builtins.KeyError": 1})


def test_CLS_013_a_spent_rule_is_final() -> None:
    policy = Retry(on=TimeoutError, attempts=1)
    decision = policy.decide(TimeoutError(), {}, 0.0, random=lambda: 0.5, baseline=TRANSPORT_ONLY)
    assert decision == Stop(ATTEMPTS_SPENT, "builtins.TimeoutError", {"builtins.TimeoutError": 1})


def test_CLS_017_the_users_classifier_names_a_category() -> None:
    baseline = Baseline(
        {SERVICE: Retry(on=Exception, backoff=constant(9))}, classifier=lambda e: Classification(SERVICE)
    )
    decision = decide(ValueError(), baseline)
    assert decision == Wait(9.0, "baseline:service:builtins.Exception", {"baseline:service:builtins.Exception": 1})


def test_CLS_018_the_users_classifier_comes_first() -> None:
    """The built-in one is the fallback, so a hint to wait is never lost."""
    both = {TRANSPORT: Retry(on=Exception, backoff=constant(1)), SERVICE: Retry(on=Exception, backoff=constant(2))}
    baseline = Baseline(both, classifier=lambda e: Classification(SERVICE, retry_after=30) if e.args else None)
    assert decide(TimeoutError("busy"), baseline)[:2] == (30, "baseline:service:builtins.Exception")
    assert decide(TimeoutError(), baseline)[:2] == (1, KEY)


def test_CLS_019_an_unknown_error_stops() -> None:
    assert decide(ValueError(), TRANSPORT_ONLY) == Stop(NO_RULE, None, {})
    assert decide(TimeoutError(), Baseline()) == Stop(NO_RULE, None, {})


def test_CLS_020_an_unknown_error_gets_the_degraded_policy_and_says_so() -> None:
    baseline = Baseline({}, unknown=Retry(on=Exception, backoff=constant(4)))
    key = "baseline:unknown:builtins.Exception"
    assert decide(ValueError(), baseline) == Wait(4.0, key, {key: 1}, degraded=True)


def test_CLS_021_a_category_without_a_policy_is_unknown() -> None:
    baseline = Baseline(unknown=Retry(on=Exception, backoff=constant(4)), classifier=lambda e: Classification("99"))
    assert decide(ValueError(), baseline)[:2] == (4.0, "baseline:unknown:builtins.Exception")


@pytest.mark.parametrize("hint", [None, 0, 0.0])
def test_CLS_024_no_wait_from_the_classifier_leaves_it_to_the_policy(hint: float | None) -> None:
    baseline = Baseline(
        {SERVICE: Retry(on=Exception, backoff=constant(5))}, classifier=lambda e: Classification(SERVICE, hint)
    )
    decision = decide(ValueError(), baseline)
    assert isinstance(decision, Wait)
    assert decision.seconds == 5


def test_CLS_025_a_policy_of_the_baseline_is_counted() -> None:
    """Its own attempts, under a key of its own: the same error by a rule of the task is another count."""
    counters = {"builtins.Exception": 9}
    for number in (1, 2):
        decision = decide(TimeoutError(), TRANSPORT_ONLY, counters)
        assert isinstance(decision, Wait)
        counters = dict(decision.counters)
        assert counters == {"builtins.Exception": 9, KEY: number}
    assert decide(TimeoutError(), TRANSPORT_ONLY, counters)[:2] == (ATTEMPTS_SPENT, KEY)


def test_CLS_026_unlimited_is_spelled_none() -> None:
    baseline = Baseline({TRANSPORT: Retry(on=Exception, attempts=None)})
    assert isinstance(decide(TimeoutError(), baseline, {KEY: 10_000}), Wait)


def test_CLS_029_a_timeout_of_the_task_is_a_transport_error() -> None:
    assert decide(AttemptTimeout(), TRANSPORT_ONLY)[:2] == (7.0, KEY)


def test_the_policy_of_a_category_may_have_rules() -> None:
    baseline = Baseline({TRANSPORT: Retry(Rule(ConnectionError, backoff=constant(3)))})
    assert isinstance(decide(ConnectionResetError(), baseline), Wait)
    assert decide(TimeoutError(), baseline) == Stop(NO_RULE, None, {})


def test_the_shorter_limit_counts() -> None:
    baseline = Baseline({TRANSPORT: Retry(on=Exception, backoff=constant(7), give_up_after=10)})
    assert isinstance(decide(TimeoutError(), baseline, elapsed=2), Wait)
    assert decide(TimeoutError(), baseline, elapsed=3)[0] == TIME_SPENT


def test_cancellation_is_not_classified() -> None:
    baseline = Baseline(unknown=Retry(on=Exception), classifier=lambda e: Classification(SERVICE))
    assert decide(asyncio.CancelledError(), baseline) == Stop(NO_RULE, None, {})


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (Retry(on=OSError, budget=RetryBudget()), "budget"),
        (Retry(on=OSError, breaker=CircuitBreaker()), "breaker"),
        (Retry(on=OSError, wait_hint=lambda error: 1.0), "wait_hint"),
        (Retry(on=OSError, raise_group=True), "raise_group"),
    ],
)
def test_parts_that_would_never_be_asked_are_refused(policy: Retry, name: str) -> None:
    with pytest.raises(InvalidPolicy, match=f"for 'service' has a {name}, which would never be asked"):
        Baseline({SERVICE: policy})
    with pytest.raises(InvalidPolicy, match=f"for 'unknown' has a {name}, which would never be asked"):
        Baseline(unknown=policy)
