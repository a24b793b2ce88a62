from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from datetime import timedelta
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import InvalidPolicy
from mainspring.retries import (
    TRANSIENT,
    Backoff,
    CircuitBreaker,
    ErrorSet,
    Retry,
    RetryBudget,
    Rule,
    Stop,
    Wait,
    constant,
    exponential,
    jittered,
    linear,
)
from mainspring.retries.backoff import LONGEST_WAIT
from mainspring.retries.policy import ATTEMPTS_SPENT, BUDGET_SPENT, CIRCUIT_OPEN, NO_RULE, TIME_SPENT
from tests.unit.retries.conftest import all_reachable


def half() -> float:
    return 0.5


def is_busy(error: BaseException) -> bool:
    return str(error) == "busy"


class Local(Exception):
    pass


def run(policy: Retry, failures: list[Exception], elapsed: float = 0.0) -> list[Wait | Stop]:
    """The decisions on these failures, each wait adding to the time, until a stop."""
    decisions: list[Wait | Stop] = []
    counters: dict[str, int] = {}
    for failure in failures:
        decision = policy.decide(failure, counters, elapsed, random=half)
        decisions.append(decision)
        counters = dict(decision.counters)
        if isinstance(decision, Stop):
            break
        elapsed += decision.seconds
    return decisions


# --- construction ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Retry(on=OSError, attempt=5), "Retry has no field 'attempt'; did you mean 'attempts'?"),  # type: ignore[call-arg]  # refused at run time, too
        (lambda: Retry(on=OSError, x=5), "there are: on, attempts, give_up_after, backoff, raise_group, causes"),  # type: ignore[call-arg]  # as above
        (lambda: Rule(OSError, backof=None), "Rule has no field 'backof'; did you mean 'backoff'?"),  # type: ignore[call-arg]  # as above
    ],
)
def test_a_misspelt_field_is_named_with_the_one_that_was_meant(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize("attempts", [0, -1, -7, True, False, 2.0, "3"])
def test_attempts_that_mean_nothing_are_refused(attempts: int) -> None:
    """RET-014, RET-039, CLS-011, CLS-026: 0 and negatives are refused, the field is named, unlimited is None."""
    for make in (lambda: Retry(on=OSError, attempts=attempts), lambda: Rule(OSError, attempts)):
        with pytest.raises(InvalidPolicy, match="attempts must be") as caught:
            make()
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (Retry, "on is missing"),  # RET-011: never everything by default
        (lambda: Retry(OSError), "Rule"),  # type: ignore[arg-type]  # refused at run time, too
        (lambda: Retry(Rule(OSError), on=KeyError), "belong into each Rule"),
        (lambda: Retry(Rule(OSError), attempts=2), "belong into each Rule"),
        (lambda: Retry(on=OSError, give_up_after=0), "give_up_after"),
        (lambda: Retry(on=OSError, give_up_after=-1), "give_up_after"),
        (lambda: Retry(on=OSError, give_up_after=True), "give_up_after"),
        (lambda: Retry(on=OSError, give_up_after=float("inf")), "give_up_after"),
        (lambda: Retry(on=OSError, backoff=3), "backoff"),  # type: ignore[arg-type]  # refused at run time, too
        (lambda: Retry(Rule(OSError), causes=True), "causes belong into each Rule"),
        (lambda: Retry(on=OSError, wait_hint=3), "wait_hint must be a function"),  # type: ignore[arg-type]  # as above
        (lambda: Retry(on=OSError, budget=0.1), "budget must be an object such as RetryBudget"),  # type: ignore[arg-type]  # as above
        (lambda: Retry(on=OSError, budget=RetryBudget), "budget must be an object"),  # type: ignore[arg-type]  # as above
        (lambda: Retry(on=OSError, budget=CircuitBreaker()), "with called, spend"),  # type: ignore[arg-type]  # as above
        (lambda: Retry(on=OSError, breaker=RetryBudget()), "such as CircuitBreaker"),  # type: ignore[arg-type]  # as above
        (lambda: Retry(Rule(OSError), Rule(OSError, 2)), "same key 'builtins.OSError'"),
        (lambda: Retry(Rule(OSError, key="a"), Rule(KeyError, key="a")), "same key 'a'"),
        (lambda: Rule(OSError, key=""), "key"),
        (lambda: Rule(OSError, key="rule:0"), "key"),
        (lambda: Rule(OSError, key="baseline:x"), "key"),
        (lambda: Rule(()), "empty tuple"),
        (lambda: Rule(KeyboardInterrupt), "never retried"),
        (lambda: Rule((OSError, asyncio.CancelledError)), "never retried"),
        (lambda: Rule(BaseException), "never retried"),
        (lambda: Rule(int), "no error class"),  # type: ignore[arg-type]  # refused at run time, too
        (lambda: Rule("OSError"), "on must be"),  # type: ignore[arg-type]  # refused at run time, too
    ],
)
def test_policies_that_mean_nothing_are_refused(make: Callable[[], object], word: str) -> None:
    with pytest.raises(InvalidPolicy, match=word):
        make()


def test_an_async_predicate_is_refused() -> None:
    async def later(error: BaseException) -> bool:
        return False

    with pytest.raises(InvalidPolicy, match="async"):
        Rule(later)  # type: ignore[arg-type]  # its coroutine would be true


def test_an_async_wait_hint_is_refused() -> None:
    async def later(error: BaseException) -> float | None:
        return 3.0

    with pytest.raises(InvalidPolicy, match=r"wait_hint .* is async"):
        Retry(on=OSError, wait_hint=later)  # type: ignore[arg-type]  # its coroutine is no number


def test_RET_001_what_a_policy_is_by_default() -> None:
    """Five attempts; 1, 2, 4, … up to 30 s with full jitter; no limit of time, and nothing that is not asked for."""
    policy = Retry(on=OSError)
    (rule,) = policy.rules
    assert (rule.attempts, rule.causes, rule.backoff) == (5, False, jittered(exponential(1, cap=30, factor=2), "full"))
    assert (policy.give_up_after, policy.raise_group) == (None, False)
    assert (policy.wait_hint, policy.budget, policy.breaker) == (None, None, None)


def test_waits_that_pass_the_limit_are_not_refused() -> None:
    """RET-016 answered otherwise: such a policy gives up at its first failure, and says so."""
    policy = Retry(on=OSError, backoff=constant(10), give_up_after=5)
    assert run(policy, [OSError()])[0] == Stop(TIME_SPENT, "builtins.OSError", {"builtins.OSError": 1})


def test_keys_are_stable_names() -> None:
    """CLS-005: the key is the qualified name; nothing needs one by hand but lambdas that must survive a deploy."""
    policy = Retry(
        Rule(Local),
        Rule((KeyError, ValueError)),
        Rule(TRANSIENT),
        Rule(ErrorSet(EOFError, "shop.Sold")),
        Rule(is_busy),
        Rule(lambda error: False),
        Rule(lambda error: True, key="mine"),
    )
    assert [rule.key for rule in policy.rules] == [
        f"{__name__}.Local",
        "builtins.KeyError|builtins.ValueError",
        "TRANSIENT",
        "builtins.EOFError|shop.Sold",
        f"{__name__}.is_busy",
        "rule:5",
        "mine",
    ]


def test_a_policy_is_a_value() -> None:
    """CAN-004: a policy has no lifecycle; RET-023: nothing in it changes, so nothing is shared that can block."""
    policy = Retry(on=OSError, give_up_after=timedelta(minutes=1))
    assert policy == Retry(Rule(OSError), give_up_after=60)
    assert hash(policy) == hash(Retry(on=OSError, give_up_after=60))
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert policy.give_up_after == 60.0
    with pytest.raises(AttributeError, match="immutable"):
        policy.give_up_after = 3  # type: ignore[misc]  # the point


# --- decisions ------------------------------------------------------------------------------------


def test_a_rule_gives_up_at_its_last_attempt() -> None:
    """RET-003, RET-005: with one rule, attempts are the runs in total."""
    policy = Retry(on=OSError, attempts=3, backoff=exponential(1))
    key = "builtins.OSError"
    assert run(policy, [OSError()] * 5) == [
        Wait(1.0, key, {key: 1}),
        Wait(2.0, key, {key: 2}),
        Stop(ATTEMPTS_SPENT, key, {key: 3}),
    ]


def test_one_attempt_is_no_retry() -> None:
    """RET-004, CLS-006."""
    (decision,) = run(Retry(on=OSError, attempts=1), [OSError()])
    assert isinstance(decision, Stop)
    assert decision.reason == ATTEMPTS_SPENT
    assert decision.gave_up


def test_no_rule_no_retry() -> None:
    """RET-009, RET-010: only what is listed."""
    (decision,) = run(Retry(on=OSError), [KeyError()])
    assert decision == Stop(NO_RULE, None, {})
    assert isinstance(decision, Stop)
    assert not decision.gave_up


def test_the_first_matching_rule_decides() -> None:
    """RET-008; S1-12: each rule has its own count."""
    policy = Retry(
        Rule(ConnectionError, attempts=2, backoff=constant(1)), Rule(OSError, attempts=3, backoff=constant(2))
    )
    decisions = run(policy, [OSError(), ConnectionError(), OSError(), ConnectionError()])
    assert [getattr(decision, "seconds", None) for decision in decisions] == [2, 1, 2, None]
    assert decisions[-1] == Stop(
        ATTEMPTS_SPENT, "builtins.ConnectionError", {"builtins.OSError": 2, "builtins.ConnectionError": 2}
    )


def test_CLS_002_a_predicate_can_tell_errors_of_one_class_apart() -> None:
    one, same_text = ValueError("x"), ValueError("x")
    policy = Retry(on=lambda error: error is one)
    assert isinstance(run(policy, [one])[0], Wait)
    assert isinstance(run(policy, [same_text])[0], Stop)


def test_CLS_003_a_class_matches_its_subclasses() -> None:
    assert isinstance(run(Retry(on=OSError), [ConnectionResetError()])[0], Wait)
    assert isinstance(run(Retry(on=(KeyError, OSError)), [ConnectionResetError()])[0], Wait)


def test_CLS_010_unlimited_is_unlimited() -> None:
    indexes: list[int] = []

    def backoff(index: int) -> float:
        indexes.append(index)
        return 0.0

    assert all(
        isinstance(decision, Wait)
        for decision in run(Retry(on=OSError, attempts=None, backoff=backoff), [OSError()] * 100)
    )
    assert indexes == [0, *range(100)]  # the first call looks whether it gives seconds


def test_ATT_002_no_counters_is_a_full_budget_again() -> None:
    policy = Retry(on=OSError, attempts=2)
    assert isinstance(policy.decide(OSError(), {"builtins.OSError": 1}, 0.0, random=half), Stop)
    assert isinstance(policy.decide(OSError(), {}, 0.0, random=half), Wait)


def test_counters_of_other_rules_are_carried_along() -> None:
    """What a policy of an older version counted is not lost, and ATT-003, ATT-004: an unknown key counts from 0."""
    decision = Retry(on=OSError).decide(OSError(), {"old": 4}, 0.0, random=half)
    assert decision.counters == {"old": 4, "builtins.OSError": 1}


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError(), GeneratorExit()])
def test_only_errors_are_retried(stop: BaseException) -> None:
    policy = Retry(on=lambda error: True, attempts=None)
    assert policy.decide(stop, {}, 0.0, random=half) == Stop(NO_RULE, None, {})


@pytest.mark.parametrize(("elapsed", "retried"), [(0.0, True), (4.9, True), (5.0, False), (7.0, False), (100.0, False)])
def test_give_up_after_stops_before_the_wait(elapsed: float, retried: bool) -> None:
    policy = Retry(on=OSError, backoff=constant(5), give_up_after=10)
    decision = policy.decide(OSError(), {}, elapsed, random=half)
    assert isinstance(decision, Wait if retried else Stop)
    assert not isinstance(decision, Stop) or decision.reason == TIME_SPENT


@pytest.mark.parametrize(
    ("hint", "wait"), [(None, 8.0), (0.0, 0.0), (3, 3.0), (-1.0, 0.0), (60.0, 60.0), (nan, 0.0), (inf, LONGEST_WAIT)]
)
def test_a_wait_hint_replaces_the_backoff(hint: float | None, wait: float) -> None:
    decision = Retry(on=OSError, backoff=constant(8)).decide(OSError(), {}, 0.0, random=half, wait_hint=hint)
    assert isinstance(decision, Wait)
    assert decision.seconds == wait


def test_a_wait_hint_may_pass_the_limit() -> None:
    policy = Retry(on=OSError, backoff=constant(0), give_up_after=30)
    assert isinstance(policy.decide(OSError(), {}, 0.0, random=half, wait_hint=31), Stop)


def test_budget_and_breaker_turn_a_wait_into_a_stop() -> None:
    """`decide` asks neither: it is pure. A driver does, and says so in the same words."""
    wait = Retry(on=OSError, backoff=constant(1)).decide(OSError(), {}, 0.0, random=half)
    assert isinstance(wait, Wait)
    for reason in (BUDGET_SPENT, CIRCUIT_OPEN):
        stop = wait.stopped(reason)
        assert stop == Stop(reason, "builtins.OSError", {"builtins.OSError": 1})
        assert stop.gave_up


errors = st.sampled_from([OSError(), ConnectionError(), KeyError("k"), ValueError("v"), TimeoutError(), EOFError()])
backoffs: st.SearchStrategy[Backoff | None] = st.sampled_from(
    [None, constant(0), constant(2), linear(1), exponential()]
)
attempts = st.none() | st.integers(1, 5)
matchers = st.sampled_from([OSError, ConnectionError, KeyError, TRANSIENT, is_busy])
rules = st.builds(Rule, matchers, attempts, backoffs, causes=st.booleans())
hints = st.none() | st.floats(-1, 50) | st.just(nan)
policies = st.builds(
    lambda rules, limit: Retry(*rules, give_up_after=limit),
    st.lists(rules, min_size=1, max_size=4, unique_by=lambda rule: rule.key).filter(all_reachable),
    st.none() | st.floats(0.5, 60),
)


@given(policies, st.lists(st.tuples(errors, hints), max_size=15), st.floats(0, 1, exclude_max=True))
def test_a_policy_is_kept_over_any_failures(
    policy: Retry, failures: list[tuple[Exception, float | None]], draw: float
) -> None:
    """What it promises: no rule over its attempts, no attempt at or after the limit, a count for each failure."""
    counters: dict[str, int] = {}
    elapsed = 0.0
    for number, (failure, hint) in enumerate(failures, 1):
        before = dict(counters)
        decision = policy.decide(failure, counters, elapsed, random=lambda: draw, wait_hint=hint)
        assert counters == before  # what was given is not changed
        assert decision == policy.decide(failure, counters, elapsed, random=lambda: draw, wait_hint=hint)
        rule = next((rule for rule in policy.rules if rule.matches(failure)), None)
        counters = dict(decision.counters)
        if rule is None:
            assert decision == Stop(NO_RULE, None, before)
            return
        assert decision.rule_key == rule.key
        assert sum(counters.values()) == number
        spent = rule.attempts is not None and counters[rule.key] >= rule.attempts
        assert (isinstance(decision, Stop) and decision.reason == ATTEMPTS_SPENT) == spent
        if isinstance(decision, Stop):
            return
        assert 0 <= decision.seconds <= LONGEST_WAIT
        assert hint is None or decision.seconds == (hint if hint > 0 else 0.0)
        elapsed += decision.seconds
        assert policy.give_up_after is None or elapsed < policy.give_up_after


@given(policies, st.lists(errors, min_size=1, max_size=10), st.integers(0, 9))
def test_counters_survive_a_restart(policy: Retry, failures: list[Exception], restart: int) -> None:
    """A policy made anew in another process goes on where the first one was."""
    again = pickle.loads(pickle.dumps(policy))
    counters: dict[str, int] = {}
    for index, failure in enumerate(failures):
        whole = policy.decide(failure, counters, 0.0, random=half)
        other = (policy if index < restart else again).decide(failure, counters, 0.0, random=half)
        assert whole == other
        counters = dict(whole.counters)


@pytest.mark.parametrize("flag", ["no", "", 0, 1, None])
def test_a_flag_that_is_neither_true_nor_false_is_refused(flag: bool) -> None:
    with pytest.raises(InvalidPolicy, match="raise_group must be True or False, not "):
        Retry(on=OSError, raise_group=flag)
    for policy in (lambda: Rule(OSError, causes=flag), lambda: Retry(on=OSError, causes=flag)):
        with pytest.raises(InvalidPolicy, match="causes must be True or False, not "):
            policy()
