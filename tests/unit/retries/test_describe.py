from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mainspring.retries import (
    TRANSIENT,
    Backoff,
    CircuitBreaker,
    Retry,
    RetryBudget,
    Rule,
    Stop,
    constant,
    exponential,
    jittered,
    linear,
    retry_after,
)
from mainspring.retries.backoff import LONGEST_WAIT, JitterKind, delay_of
from mainspring.retries.describe import schedule, span_of
from mainspring.retries.policy import ATTEMPTS_SPENT, TIME_SPENT
from tests.unit.retries.conftest import all_reachable

kinds: list[JitterKind] = ["proportional", "additive"]
caps = st.none() | st.floats(0.1, 50)
plain: st.SearchStrategy[Backoff] = st.one_of(
    st.builds(constant, st.floats(0, 20)),
    st.builds(linear, st.floats(0.1, 5), caps),
    st.builds(exponential, st.floats(0.1, 5), caps, st.floats(1.1, 5)),
)
spread = st.builds(jittered, plain, st.just("full")) | st.builds(
    jittered, plain, st.sampled_from(kinds), st.floats(0, 2), cap=caps
)
ours = plain | spread | st.builds(jittered, spread, st.sampled_from(kinds))
own: st.SearchStrategy[Backoff] = st.sampled_from(
    [abs, math.sqrt, lambda index: math.nan if index else 1.0, lambda index: -float(index)]
)
attempts = st.integers(1, 30)
limits = st.floats(0.5, 500)


def ends_by(policy: Retry, draw: float) -> tuple[str, float, int]:
    """Why a call that always fails at once gives up, the seconds it has waited until then, and its attempts."""
    counters: dict[str, int] = {}
    elapsed = 0.0
    for number in range(1, 100_000):
        decision = policy.decide(OSError(), counters, elapsed, random=lambda: draw)
        if isinstance(decision, Stop):
            return decision.reason, elapsed, number
        counters = dict(decision.counters)
        elapsed += decision.seconds
    raise AssertionError("no end")


@given(ours, st.integers(0, 50), st.floats(0, 1, exclude_max=True))
def test_every_wait_lies_in_its_span(backoff: Backoff, index: int, draw: float) -> None:
    low, high = span_of(backoff, index)
    assert low * (1 - 1e-9) <= delay_of(backoff, index, lambda: draw) <= high * (1 + 1e-9)


@given(ours | own, attempts, st.floats(0, 1, exclude_max=True))
def test_the_sum_is_that_of_what_is_waited(backoff: Backoff, attempts: int, draw: float) -> None:
    assume(attempts <= 20 or backoff not in {abs, math.sqrt})
    policy = Retry(on=OSError, attempts=attempts, backoff=backoff)
    reason, waited, made = ends_by(policy, draw)
    assert (reason, made) == (ATTEMPTS_SPENT, attempts)
    low, high = schedule(policy.rules[0]).total
    assert low * (1 - 1e-9) <= waited <= high * (1 + 1e-9)


@given(ours, attempts, limits, st.floats(0, 0.999))
def test_what_is_said_of_the_limit_is_what_is_decided(
    backoff: Backoff, attempts: int, limit: float, draw: float
) -> None:
    policy = Retry(on=OSError, attempts=attempts, backoff=backoff, give_up_after=limit)
    planned = schedule(policy.rules[0])
    low, high = planned.total
    assume(abs(low - limit) > 1e-6 and abs(high - limit) > 1e-6)  # where rounding decides
    reason, _, made = ends_by(policy, draw)
    match planned.passes(limit):
        case "surely":
            assert reason == TIME_SPENT
            most = planned.most_attempts(limit)
            assert most is not None
            assert made <= most
        case "never":
            assert reason == ATTEMPTS_SPENT
        case "may":
            assert ends_by(policy, 0.0)[0] == ATTEMPTS_SPENT
            assert ends_by(policy, 1 - 1e-12)[0] == TIME_SPENT
    assert f"{planned.passes(limit)} pass give_up_after=" in policy.describe() or attempts == 1


@pytest.mark.parametrize(
    ("backoff", "low", "high"),
    [
        (constant(0), 0.0, 0.0),
        (constant(2), math.inf, math.inf),
        (jittered(constant(2)), 0.0, math.inf),
        (jittered(constant(2), "proportional", 0.5), math.inf, math.inf),
        (exponential(), math.inf, math.inf),
    ],
)
def test_without_a_limit_of_attempts_the_sum_has_no_end(backoff: Backoff, low: float, high: float) -> None:
    assert schedule(Rule(OSError, None, backoff)).total == (low, high)


def test_many_attempts_are_not_looked_at_one_by_one() -> None:
    assert schedule(Rule(OSError, 10**9, constant(1))).total == (10**9 - 1, 10**9 - 1)
    planned = schedule(Rule(OSError, 5001, linear(1)))
    assert (planned.more, planned.rest) == (4000, (1001, 5000))
    low, high = planned.total
    assert low <= 5000 * 5001 / 2 <= high


def lines(policy: Retry) -> list[str]:
    return policy.describe().splitlines()


def test_the_waits_are_written_down() -> None:
    assert lines(Retry(on=OSError, attempts=4, backoff=linear(0.1))) == [
        "builtins.OSError: 4 attempts",
        "  waits: 0.1, 0.2, 0.3 s",
        "  together: 0.6 s",
        "a wait that an error asks for (Retry-After) takes the place of the backoff",
    ]


@pytest.mark.parametrize(
    ("rule", "waits"),
    [
        (Rule(OSError, 3, constant(2)), "2, 2 s"),
        (Rule(OSError, 5, constant(2)), "2 s each"),
        (Rule(OSError, None, exponential()), "1, 2, 4, 8, 16, then 30 s each"),
        (Rule(OSError, 20, exponential(0.1, cap=1)), "0.1, 0.2, 0.4, 0.8, then 1 s each"),
        (Rule(OSError, 12, linear(1)), "1, 2, 3, 4, 5, 6, 7, 8, … up to 11 s"),
        (Rule(OSError, None, linear(1)), "1, 2, 3, 4, 5, 6, 7, 8, … up to 3155760000 s"),
        (Rule(OSError, 12, abs), "0, 1, 2, 3, 4, 5, 6, 7, … up to 10 s"),
        (Rule(OSError, None, abs), "0, 1, 2, 3, 4, 5, 6, 7 s, and so on as the backoff says"),
        (Rule(OSError, 3, jittered(linear(1))), "0 to 1, 0 to 2 s (full jitter: anything from 0)"),
        (
            Rule(OSError, 3, jittered(linear(1), "proportional", 0.5)),
            "0.5 to 1.5, 1 to 3 s (proportional jitter: 50 % up or down)",
        ),
        (
            Rule(OSError, 3, jittered(linear(1), "additive", 0.5)),
            "1 to 1.5, 2 to 2.5 s (additive jitter: up to 0.5 s more)",
        ),
    ],
)
def test_waits_in_words(rule: Rule, waits: str) -> None:
    assert f"  waits: {waits}" in lines(Retry(rule))


@pytest.mark.parametrize(
    ("attempts", "backoff", "limit", "said"),
    [
        (3, constant(2), 10, "the waits alone never pass give_up_after=10"),
        (3, constant(2), 4, "the waits alone surely pass give_up_after=4: 2 attempts at most"),
        (3, jittered(constant(2)), 3, "the waits alone may pass give_up_after=3"),
        (None, constant(0), 3, "the waits alone never pass give_up_after=3"),
        (None, constant(1), 3, "the waits alone surely pass give_up_after=3: 3 attempts at most"),
        (3, constant(20), 10, "the waits alone surely pass give_up_after=10: 1 attempt at most"),
    ],
)
def test_RET_016_waits_beyond_the_limit_are_told_and_not_refused(
    attempts: int | None, backoff: Backoff, limit: float, said: str
) -> None:
    """S0-07: one wait as long as the whole limit, or all together, is said; it is the user's to decide."""
    assert f"  {said}" in lines(Retry(on=OSError, attempts=attempts, backoff=backoff, give_up_after=limit))


def test_rules_are_told_one_by_one_and_together() -> None:
    policy = Retry(
        Rule(TRANSIENT, 3, constant(1), causes=True), Rule(KeyError, 2, constant(3)), Rule(ValueError, 1),
        give_up_after=4,
    )  # fmt: skip
    assert lines(policy) == [
        "the first rule that matches decides:",
        "TRANSIENT, also as a cause or in a group: 3 attempts",
        "  waits: 1, 1 s",
        "  together: 2 s",
        "  the waits alone never pass give_up_after=4",
        "builtins.KeyError: 2 attempts",
        "  waits: 3 s",
        "  together: 3 s",
        "  the waits alone never pass give_up_after=4",
        "builtins.ValueError: 1 attempt, none after it",
        "all rules together: 5 s of waits at most; alone they may pass give_up_after=4",
        "a wait that an error asks for (Retry-After) takes the place of the backoff",
        "gives up 4 s after the first attempt began",
    ]
    endless = Retry(Rule(OSError, None, constant(1)), Rule(KeyError, None, constant(1)), give_up_after=4)
    told = "all rules together: waits without end; alone they surely pass give_up_after=4"
    assert told in lines(endless)
    assert "all rules together: 5 s of waits at most" in lines(Retry(*policy.rules))
    one = Retry(Rule(OSError, None, constant(1)), Rule(KeyError, 2, constant(1)), give_up_after=4)
    assert "all rules together: waits without end; alone they may pass give_up_after=4" in lines(one)
    few = Retry(Rule(OSError, 2, constant(1)), Rule(KeyError, 2, constant(1)), give_up_after=4)
    assert "all rules together: 2 s of waits at most; alone they never pass give_up_after=4" in lines(few)


def test_everything_else_is_told() -> None:
    policy = Retry(
        on=OSError, raise_group=True, wait_hint=retry_after, budget=RetryBudget(), breaker=CircuitBreaker(name="b")
    )
    assert lines(policy)[-4:] == [
        "wait_hint=retry_after may take the place of a wait",
        "raises RetriesExhausted with every error",
        "budget: RetryBudget(share=0.1, burst=10)",
        "breaker: CircuitBreaker(failures=5, pause=30, probes=1, name='b')",
    ]


class Silent(RetryBudget):
    def __repr__(self) -> str:
        raise RuntimeError("no")


def failing(index: int) -> float:
    raise LookupError(index)


def test_what_fails_is_told_and_does_not_fail() -> None:
    policy = Retry(Rule(OSError, backoff=failing), Rule(KeyError), budget=Silent())
    assert "  waits: cannot be told, the backoff fails: LookupError" in lines(policy)
    assert "budget: Silent" in lines(policy)
    odd: Backoff = lambda index: "soon" if index else 1.0  # type: ignore[assignment,return-value]  # noqa: E731  # the case
    assert "cannot be told" in Retry(on=OSError, backoff=odd).describe()


rules = st.builds(
    Rule, st.sampled_from([OSError, KeyError, (ValueError, LookupError), TRANSIENT]),
    st.none() | st.integers(1, 10**12), ours | own | st.just(failing), causes=st.booleans(),
)  # fmt: skip


@given(
    st.lists(rules, min_size=1, max_size=3, unique_by=lambda rule: rule.key).filter(all_reachable),
    st.none() | limits,
    st.booleans(),
)
def test_any_policy_can_be_described(rules: list[Rule], limit: float | None, group: bool) -> None:
    """And twice the same: neither clock nor chance is in it."""
    policy = Retry(*rules, give_up_after=limit, raise_group=group)
    text = policy.describe()
    assert text == policy.describe()
    assert all(rule.key in text for rule in rules)
    assert "nan" not in text
    assert all(len(line) < 400 for line in text.splitlines())


def test_the_longest_waits_are_numbers() -> None:
    assert f"{LONGEST_WAIT:.0f}" in Retry(on=OSError, attempts=80, backoff=exponential(cap=None)).describe()
