"""What a rule is for: the error itself, with `causes=True` also what it was raised from and what a group holds."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.retries import TRANSIENT, On, Retry, Rule, Stop, Wait


def wraps(cause: BaseException, error: Exception | None = None) -> Exception:
    wrapper = error or ValueError("wrapped")
    wrapper.__cause__ = cause
    return wrapper


def decided(policy: Retry, error: Exception) -> Wait | Stop:
    return policy.decide(error, {}, 0.0, random=lambda: 0.5)


@pytest.mark.parametrize("on", [ConnectionError, (ConnectionError, EOFError), TRANSIENT, lambda e: "reset" in str(e)])
def test_RET_012_an_error_that_wraps_a_listed_one_is_retried(on: On) -> None:
    """S0-18: through any number of causes, when it is asked for."""
    error = wraps(wraps(ConnectionResetError("reset")))
    assert isinstance(decided(Retry(on=on, causes=True), error), Wait)
    assert isinstance(decided(Retry(on=on), error), Stop)
    assert isinstance(decided(Retry(Rule(on, causes=True)), error), Wait)


def test_CLS_003_an_instance_and_a_wrapped_one_match() -> None:
    rule = Rule(KeyError, causes=True)
    assert rule.matches(KeyError())
    assert rule.matches(wraps(KeyError()))
    assert not rule.matches(wraps(IndexError()))


def test_a_context_is_no_cause() -> None:
    """What was being handled when another error came says nothing about it."""
    error = ValueError()
    error.__context__ = OSError()
    assert not Rule(OSError, causes=True).matches(error)


@pytest.mark.parametrize(
    ("leaves", "matches"),
    [
        ([OSError()], True),
        ([OSError(), ConnectionError()], True),
        ([OSError(), ValueError()], False),
        ([OSError(), ExceptionGroup("inner", [OSError(), OSError()])], True),
        ([OSError(), ExceptionGroup("inner", [OSError(), ValueError()])], False),
        ([OSError(), wraps(OSError())], True),
        ([wraps(ExceptionGroup("inner", [OSError()]))], True),
    ],
)
def test_one_permanent_error_makes_a_group_permanent(leaves: list[Exception], matches: bool) -> None:
    group = ExceptionGroup("outer", leaves)
    assert Rule(OSError, causes=True).matches(group) == matches
    assert Rule(OSError, causes=True).matches(wraps(group)) == matches
    assert not Rule(OSError).matches(group)


def test_one_cause_of_two_leaves_counts_for_both() -> None:
    cause = OSError()
    assert Rule(OSError, causes=True).matches(ExceptionGroup("g", [wraps(cause), wraps(cause)]))


def test_a_class_of_groups_matches_the_group_itself() -> None:
    assert Rule(ExceptionGroup).matches(ExceptionGroup("g", [ValueError()]))


def test_circles_and_towers_of_errors_end() -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    assert not Rule(OSError, causes=True).matches(one)
    assert Rule(KeyError, causes=True).matches(one)
    long = wraps(OSError())
    for _ in range(100):
        long = wraps(long)
    assert Rule(OSError, causes=True).matches(long)
    tower: Exception = OSError()
    for _ in range(5000):
        tower = ExceptionGroup("floor", [tower])
    assert not Rule(OSError, causes=True).matches(tower)


def test_what_is_never_retried_does_not_count_as_a_cause() -> None:
    everything = Rule(lambda error: not isinstance(error, ValueError), causes=True)
    assert everything.matches(wraps(KeyError()))
    assert not everything.matches(wraps(asyncio.CancelledError()))
    assert isinstance(Retry(Rule(OSError, causes=True)).decide(
        BaseExceptionGroup("g", [OSError(), KeyboardInterrupt()]), {}, 0.0, random=lambda: 0.5
    ), Stop)  # fmt: skip


errors = st.recursive(
    st.sampled_from([OSError, ValueError, ConnectionError]).map(lambda kind: kind("x")),
    lambda inner: (
        st.builds(wraps, inner, inner)
        | st.lists(inner, min_size=1, max_size=3).map(lambda leaves: ExceptionGroup("g", leaves))
    ),
    max_leaves=8,
)


def expected(error: BaseException) -> bool:
    """The rule in the words of its description; no circles here."""
    if isinstance(error, OSError):
        return True
    if isinstance(error, BaseExceptionGroup) and all(expected(leaf) for leaf in error.exceptions):
        return True
    return error.__cause__ is not None and expected(error.__cause__)


@given(errors)
def test_any_tree_of_errors_is_matched_as_described(error: Exception) -> None:
    assert Rule(OSError, causes=True).matches(error) == expected(error)
    assert Rule(OSError).matches(error) == isinstance(error, OSError)
