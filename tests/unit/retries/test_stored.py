from __future__ import annotations

import json
from collections.abc import Callable

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
    constant,
    exponential,
    jittered,
    linear,
    retry_after,
)
from mainspring.retries.stored import policy_from_data, policy_to_data
from tests.unit.retries.conftest import all_reachable

ERRORS = [
    OSError(),
    ConnectionError(),
    KeyError("k"),
    ValueError("v"),
    TimeoutError(),
    EOFError(),
    ExceptionGroup("g", [OSError()]),
    ExceptionGroup("g", [ConnectionError(), ExceptionGroup("h", [OSError()])]),
]
PREDICATE, BACKOFF = "math:isinf", "math:sqrt"


class Own(Exception):
    pass


waits = st.floats(0.01, 100)
caps = st.none() | waits
plain: st.SearchStrategy[Backoff] = st.one_of(
    st.builds(constant, waits),
    st.builds(linear, waits, caps),
    st.builds(exponential, waits, caps, st.floats(1.1, 10)),
    st.just(abs),
)
backoffs = (
    st.none()
    | plain
    | st.one_of(
        st.builds(jittered, plain, st.just("full"), cap=caps),
        st.builds(jittered, plain, st.sampled_from(["proportional", "additive"]), waits, cap=st.none() | st.just(0.0)),
    )
)
classes = st.sampled_from([OSError, ConnectionError, KeyError, ValueError, TimeoutError, Own])
error_sets = st.recursive(
    st.just(TRANSIENT) | st.lists(classes, max_size=3).map(lambda found: ErrorSet(*found)),
    lambda inner: st.tuples(inner, inner, st.booleans()).map(lambda t: t[0] | t[1] if t[2] else t[0] - t[1]),
    max_leaves=4,
)
matchers = st.one_of(classes, st.lists(classes, min_size=1, max_size=3).map(tuple), error_sets, st.just(callable))
keys = st.none() | st.text(min_size=1).map("k".__add__)
rules = st.builds(Rule, matchers, st.none() | st.integers(1, 5), backoffs, keys, causes=st.booleans())
policies = st.builds(
    lambda rules, limit, group, hint: Retry(*rules, give_up_after=limit, raise_group=group, wait_hint=hint),
    st.lists(rules, min_size=1, max_size=4, unique_by=lambda rule: rule.key).filter(all_reachable),
    st.none() | waits,
    st.booleans(),
    st.none() | st.just(retry_after),
)


@given(policies, st.lists(st.sampled_from([*ERRORS, Own()]), max_size=8), st.floats(0, 1, exclude_max=True))
def test_the_stored_policy_decides_the_same(policy: Retry, failures: list[Exception], draw: float) -> None:
    data = policy_to_data(policy)
    again = policy_from_data(json.loads(json.dumps(data)))
    assert (again.give_up_after, again.raise_group) == (policy.give_up_after, policy.raise_group)
    assert again.wait_hint is policy.wait_hint
    assert [rule.causes for rule in again.rules] == [rule.causes for rule in policy.rules]
    assert policy_to_data(again) == data
    counters: dict[str, int] = {}
    elapsed = 0.0
    for failure in failures:
        decision = policy.decide(failure, counters, elapsed, random=lambda: draw)
        assert again.decide(failure, counters, elapsed, random=lambda: draw) == decision
        counters = dict(decision.counters)
        elapsed += getattr(decision, "seconds", 0.0)


def test_a_class_is_matched_by_name_where_it_is_not_installed() -> None:
    data = policy_to_data(Retry(on=Own))
    stranger = type("Child", (type("Own", (Exception,), {"__module__": __name__}),), {})
    assert policy_from_data(data).rules[0].matches(stranger())
    assert not policy_from_data(data).rules[0].matches(KeyError())


def test_transient_is_stored_by_name() -> None:
    """Small on each job, and a new version's set applies to jobs that wait."""
    data = policy_to_data(Retry(on=TRANSIENT - TimeoutError))
    assert len(json.dumps(data)) < 500
    assert policy_from_data(data).rules[0].on == TRANSIENT - TimeoutError


def local(error: BaseException) -> bool:
    return True


local.__module__ = "__main__"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(on=lambda error: True),
        lambda: Retry(on=local),
        lambda: Retry(on=OSError, backoff=lambda index: 1.0),
        lambda: Retry(on="x".__eq__),
        lambda: Retry(on=OSError, backoff=jittered(lambda index: 1.0)),
        lambda: Retry(on=OSError, wait_hint=lambda error: 1.0),
    ],
)
def test_what_has_no_name_cannot_be_stored(make: Callable[[], Retry]) -> None:
    with pytest.raises(InvalidPolicy, match="Put the policy on the task"):
        policy_to_data(make())


def test_a_name_that_leads_elsewhere_cannot_be_stored() -> None:
    def impostor(error: BaseException) -> bool:
        return True

    impostor.__module__, impostor.__qualname__ = "math", "isinf"
    with pytest.raises(InvalidPolicy, match="cannot be imported by name"):
        policy_to_data(Retry(on=impostor))
    impostor.__qualname__ = "gone"
    with pytest.raises(InvalidPolicy, match="cannot be imported by name"):
        policy_to_data(Retry(on=impostor))


@pytest.mark.parametrize(
    ("policy", "name"),
    [(Retry(on=OSError, budget=RetryBudget()), "budget"), (Retry(on=OSError, breaker=CircuitBreaker()), "breaker")],
)
def test_what_counts_in_one_process_cannot_be_stored(policy: Retry, name: str) -> None:
    with pytest.raises(InvalidPolicy, match=f"a {name} cannot be stored .* Put @retry .* without {name}"):
        policy_to_data(policy)


def test_data_of_an_older_version_has_no_causes_and_no_hint() -> None:
    data = policy_to_data(Retry(on=OSError))
    assert "wait_hint" not in data
    assert "causes" not in json.dumps(data)
    again = policy_from_data(data)
    assert (again.wait_hint, again.rules[0].causes) == (None, False)


def stored(**changes: object) -> dict[str, object]:
    rule = {"key": "k", "on": {"errors": ["builtins.OSError"]}, "attempts": 2, "backoff": {"constant": 1}, **changes}
    return {"rules": [rule], "give_up_after": None, "raise_group": False}


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({}, "no stored policy"),
        ({**stored(), "rules": [3]}, "no stored policy"),
        ({**stored(), "rules": []}, "on is missing"),
        (stored(attempts=0), "attempts"),
        (stored(backoff={}), "no stored backoff"),
        (
            stored(backoff={"jitter": "funny", "amount": 1.0, "cap": None, "backoff": {"constant": 1}}),
            "no stored backoff",
        ),
        (stored(backoff={"function": "gone.away:f"}), "cannot be imported here"),
        ({**stored(), "wait_hint": "gone.away:f"}, "cannot be imported here"),
        ({**stored(), "wait_hint": 3}, "no stored policy"),
        (stored(on={"predicate": "math:gone"}), "cannot be imported here"),
        (stored(on={"predicate": "math:pi"}), "is now 3.14"),
        (stored(on={"set": "NEWER"}), "no set of errors named 'NEWER'"),
    ],
)
def test_data_that_is_no_policy_is_refused(data: dict[str, object], word: str) -> None:
    with pytest.raises(InvalidPolicy, match=word):
        policy_from_data(data)
    assert policy_from_data(stored()).rules[0].attempts == 2
