"""What is often written wrong: each is answered where it is written, and says what to write."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

import mainspring.retries
from mainspring import retries
from mainspring.errors import InvalidPolicy, RetryDefinitionError
from mainspring.retries import (
    TRANSIENT,
    TRANSPORT,
    Baseline,
    ErrorSet,
    Hooks,
    Retry,
    RetryBudget,
    Rule,
    background,
    constant,
    exponential,
    jittered,
    linear,
    retry,
    retrying,
)
from mainspring.retries.backoff import DEFAULT_BACKOFF, delay_of
from mainspring.retries.keywords import _PLACES, _WORDS
from mainspring.retries.policy import Wait
from mainspring.retries.stored import policy_from_data, policy_to_data
from mainspring.testing.virtual import run_virtual
from tests.unit.retries.conftest import Told, raising

if TYPE_CHECKING:
    from tests.unit.retries.conftest import Paced, Way

POLICY = Retry(on=OSError, backoff=constant(1))
AT_ONCE = Retry(on=OSError, backoff=constant(0))


def busy(error: BaseException) -> bool:
    return "busy" in str(error)


# As a program without type checks calls them.
untyped_retry: Any = retry
untyped_retrying: Any = retrying
untyped_background: Any = background
untyped_hooks: Any = Hooks
untyped_policy: Any = Retry
untyped_rule: Any = Rule
untyped_set: Any = ErrorSet
untyped_baseline: Any = Baseline
untyped_busy: Any = busy


async def soon(index: int) -> float:
    return 1.0


def plain() -> int:
    return 1


def at_first_only(later: object) -> Callable[[int], Any]:
    """A backoff that passes when it is looked at, and gives this afterwards."""
    calls = iter([1.0])

    def backoff(index: int) -> object:
        if (first := next(calls, None)) is not None:
            return first
        if isinstance(later, Exception):
            raise later
        return later

    return backoff


# --- backoffs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (exponential, r"exponential makes backoffs, and is none itself; write exponential\(\)"),
        (constant, r"write constant\(2\)"),
        (linear, r"write linear\(1\)"),
        (jittered, r"write jittered\(\)"),
        (3, r"such as constant\(3\)"),
        (soon, "is async"),
        (lambda index: None, "must give seconds, a number; .* gives None"),
        (lambda index: "2", "gives '2'"),
        (lambda index: constant(2), "gives Constant"),
        (lambda index: -1, "0 seconds or more; .* gives -1"),
        (lambda index: float("nan"), "gives nan"),
        (lambda: 2.0, "must take the index of the retry"),
    ],
)
def test_what_gives_no_seconds_is_no_backoff(given: Any, says: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no coroutine is left behind
        for make in (lambda: Rule(OSError, backoff=given), lambda: Retry(on=OSError, backoff=given)):
            with pytest.raises(InvalidPolicy, match=says):
                make()
    if callable(given):
        with pytest.raises(InvalidPolicy, match=says):
            jittered(given)


def test_a_backoff_that_fails_when_it_is_looked_at_is_taken() -> None:
    def not_yet(index: int) -> float:
        raise LookupError("no settings yet")

    assert Rule(OSError, backoff=not_yet).backoff is not_yet


LATER = [LookupError("none"), TypeError("x"), "2", None]


@pytest.mark.parametrize("later", LATER, ids=repr)
def test_a_backoff_that_fails_later_does_not_hide_the_error(
    later: object, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    told, last = Told(), OSError("down")
    policy = Retry(on=OSError, attempts=2, backoff=at_first_only(later))
    with pytest.raises(OSError, match="down") as caught:
        way(raising(OSError(), last), policy, hooks=told.hooks)
    assert caught.value is last
    assert [details.wait for _, details in told.of] == [0.5, None]  # the default backoff, and half of its jitter
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage().endswith(": the backoff failed, the default one takes its place")
    assert record.exc_info is not None


def test_the_decision_tells_of_a_backoff_that_failed() -> None:
    failed = LookupError("none")
    policy = Retry(on=OSError, backoff=at_first_only(failed))
    decision = policy.decide(OSError(), {"builtins.OSError": 2}, 0.0, random=lambda: 1.0)
    assert isinstance(decision, Wait)
    assert (decision.seconds, decision.trouble) == (4.0, failed)
    for whole in (policy.rules[0].backoff, jittered(at_first_only(failed))):
        assert delay_of(whole, 3, lambda: 0.5) == DEFAULT_BACKOFF.delay(3, lambda: 0.5)


calls: list[int] = []


def counted(index: int) -> float:
    calls.append(index)
    return 1.0


def test_a_stored_policy_is_read_without_calling_its_backoff() -> None:
    data = policy_to_data(Retry(on=OSError, backoff=counted))
    calls.clear()
    assert policy_from_data(data).rules[0].backoff is counted
    assert calls == []


def test_a_wait_hint_that_is_no_number_is_logged(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    policy = Retry(on=OSError, backoff=constant(3), wait_hint=lambda error: "1")  # type: ignore[arg-type,return-value]  # the case
    assert way(raising(OSError()), policy, hooks=told.hooks) == 2
    assert told.of[0][1].wait == 3
    assert "wait_hint failed, its answer counts as None" in caplog.text
    assert "not '1'" in caplog.text


# --- functions that have yet to run -------------------------------------------------------------------


async def fetch() -> int:
    raise OSError("down")


def rows() -> Iterator[int]:
    yield 1


async def items() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("policy", [POLICY, Retry(on=OSError, give_up_after=60)], ids=["plain", "watched"])
@pytest.mark.parametrize(
    ("lazy", "says"),
    [
        (lambda: fetch(), "returned a coroutine, of which nothing has run.*functools.partial"),  # the case
        (lambda: rows(), "returned a generator"),  # as above
        (lambda: items(), "returned a generator"),  # as above
    ],
)
def test_a_function_that_gives_what_has_yet_to_run_is_refused(
    policy: Retry, lazy: Callable[[], object], says: str
) -> None:
    decorated = retry(policy)(lazy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the coroutine is closed
        for _ in range(2):
            with pytest.raises(RetryDefinitionError, match=says):
                decorated()


def test_no_policy_tries_that_again() -> None:
    made: list[object] = []

    def lazy() -> object:
        made.append(fetch())
        return made[-1]

    for limit in (None, 60):
        made.clear()
        with pytest.raises(RetryDefinitionError, match="coroutine"):
            retry(on=Exception, attempts=3, give_up_after=limit)(lazy)()
        assert len(made) == 1


def test_a_plain_wrapper_of_an_async_function_is_refused() -> None:
    @functools.wraps(fetch)
    def wrapped() -> object:
        return fetch()

    with pytest.raises(RetryDefinitionError, match="fetch returned a coroutine"):
        retry(POLICY)(wrapped)()


# --- rules that never match ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules",
    [
        (Rule(Exception), Rule(OSError, attempts=2)),
        (Rule(Exception), Rule(TRANSIENT)),
        (Rule(Exception), Rule(busy)),
        (Rule(Exception), Rule(OSError, causes=True)),
        (Rule(OSError), Rule((ConnectionError, TimeoutError))),
        (Rule((OSError, LookupError)), Rule(ValueError), Rule((KeyError, TimeoutError))),
        (Rule(OSError, causes=True), Rule(ConnectionError, causes=True)),
    ],
)
def test_a_rule_that_can_never_match_is_refused(rules: tuple[Rule, ...]) -> None:
    with pytest.raises(InvalidPolicy, match=r"can never match: .* put the narrower rule first"):
        Retry(*rules)
    Retry(*reversed(rules))


@pytest.mark.parametrize(
    "rules",
    [
        (Rule(OSError), Rule((ConnectionError, KeyError))),
        (Rule(OSError), Rule(TRANSIENT)),
        (Rule(OSError), Rule(ConnectionError, causes=True)),
        (Rule(busy), Rule(OSError)),
    ],
)
def test_a_rule_that_may_match_is_taken(rules: tuple[Rule, ...]) -> None:
    assert len(Retry(*rules).rules) == 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: untyped_rule((TRANSIENT, KeyError)), r"joined with \|, not in a tuple: TRANSIENT \| KeyError"),
        (lambda: untyped_rule((TRANSIENT, busy)), r"joined with \|"),
        (lambda: untyped_rule((OSError, busy)), "stands alone, in a Rule of its own"),
        (lambda: untyped_set(busy), "stands alone, in a Rule of its own"),
        (lambda: TRANSIENT | untyped_busy, "stands alone, in a Rule of its own"),
        (lambda: untyped_rule((OSError, KeyError("x"))), "give the class, KeyError"),
    ],
)
def test_what_stands_wrongly_among_classes_is_told(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidPolicy, match=says):
        make()


# --- a time limit that a wait would pass ---------------------------------------------------------------


class Busy(OSError):
    retry_after = 3600


def test_the_note_says_that_the_wait_would_pass_the_limit(way: Way) -> None:
    with pytest.raises(Busy) as caught:
        way(raising(Busy()), Retry(on=OSError, give_up_after=20))
    expected = "gave up after 1 attempt in 0.0 s, give_up_after=20: the next wait of 3600 s would pass it"
    assert caught.value.__notes__ == [expected]


# --- baselines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: untyped_baseline(POLICY), r"policies must be a dict such as .* is unknown="),
        (lambda: untyped_baseline({TRANSPORT: 3}), r"policies\['transport'\] must be a Retry, not 3"),
        (lambda: untyped_baseline({TRANSPORT: None}), "must be a Retry, not None"),
        (lambda: untyped_baseline({OSError: POLICY}), "a class of errors belongs into a Rule"),
        (lambda: untyped_baseline({3: POLICY}), "a category is TRANSPORT"),
        (lambda: untyped_baseline(unknown=3), "unknown must be a Retry, not 3"),
        (lambda: untyped_baseline(classifier=3), "classifier must be a function"),
        (lambda: untyped_baseline(classifier=soon), "is async"),
    ],
)
def test_a_baseline_is_checked_where_it_is_made(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidPolicy, match=says):
        make()


# --- keywords -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: untyped_retry(on=OSError, attemps=3), "retry has no option 'attemps'; did you mean 'attempts'?"),
        (lambda: untyped_retry(stop=1), "retry has no option 'stop'; here it is attempts=… or give_up_after=…"),
        (
            lambda: untyped_retry(on=OSError, zebra=1),
            "there are: on, attempts, give_up_after, backoff, baseline, hooks",
        ),
        (lambda: untyped_retry(on=OSError, budget=RetryBudget()), "write retry(Retry(on=…, budget=…))"),
        (lambda: untyped_retry(on=OSError, causes=True), "write retry(Retry(on=…, causes=…))"),
        (lambda: untyped_retry(policy=POLICY), "give the policy without a name: retry(policy)"),
        (lambda: untyped_retry(POLICY, POLICY), "retry takes one policy"),
        (
            lambda: untyped_retrying(on=OSError, max_tries=3),
            "retrying has no option 'max_tries'; here it is attempts=…",
        ),
        (lambda: untyped_retrying(policy=POLICY), "retrying(policy)"),
        (lambda: untyped_retrying(POLICY, 3), "retrying takes one policy"),
        (lambda: untyped_background(plain, policy=POLICY), "background(fn, policy)"),
        (lambda: untyped_background(plain, retry=POLICY), "background(fn, policy)"),
        (lambda: untyped_background(plain, attempts=3), "write background(fn, Retry(on=…, attempts=…))"),
        (lambda: untyped_background(plain, args=(1, 2)), "functools.partial"),
        (lambda: untyped_background(plain, 1, 2), "functools.partial"),
        (lambda: untyped_background(plain, 1), "functools.partial"),
        (lambda: untyped_background(plain, on_eror=print), "did you mean 'on_error'?"),
        (lambda: untyped_hooks(on_retry=print), "there are: before_wait, recovered, gave_up"),
        (lambda: untyped_hooks(befor_wait=print), "Hooks has no field 'befor_wait'; did you mean 'before_wait'?"),
    ],
)
def test_a_keyword_that_does_not_exist_is_answered(make: Callable[[], object], says: str) -> None:
    with pytest.raises(RetryDefinitionError) as caught:
        make()
    assert says in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_every_keyword_gets_its_own_line() -> None:
    with pytest.raises(RetryDefinitionError) as caught:
        untyped_retry(stop=1, wait=2, reraise=True, before_sleep=print)
    lines = str(caught.value).splitlines()
    assert [line.split("'")[1] for line in lines] == ["stop", "wait", "reraise", "before_sleep"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: untyped_policy(on=OSError, hooks=Hooks()), "write retry(policy, hooks=…)"),
        (lambda: untyped_policy(on=OSError, key="a"), "write Retry(Rule(…, key=…))"),
        (lambda: untyped_policy(stop=3), "here it is attempts=…"),
        (lambda: untyped_rule(OSError, give_up_after=3), "write Retry(Rule(…), give_up_after=…)"),
    ],
)
def test_policy_and_rule_say_where_a_field_belongs(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        make()
    assert says in str(caught.value)


def test_the_words_of_others_are_none_of_ours() -> None:
    ours = {"on", "attempts", "give_up_after", "backoff", "baseline", "hooks", "on_error", "name", "wait_at_exit"}
    assert not ours & set(_WORDS)
    assert set(_PLACES) == {"retry", "retrying", "background", "Retry", "Rule"}


def test_an_error_of_the_call_itself_is_not_explained_away() -> None:
    with pytest.raises(RetryDefinitionError, match="hooks must be"):  # a TypeError, too
        untyped_retry(POLICY, hooks=3)


# --- names --------------------------------------------------------------------------------------------


def test_a_block_is_called_by_the_function_in_which_it_stands(paced: Paced) -> None:
    told = Told()
    for attempt in retrying(POLICY, hooks=told.hooks):
        with attempt:
            if attempt.number == 1:
                raise OSError
    own = "test_a_block_is_called_by_the_function_in_which_it_stands"
    assert [details.name for _, details in told.of] == [own, own]

    async def inside() -> None:
        async for attempt in retrying(POLICY, hooks=told.hooks):
            with attempt:
                if attempt.number == 1:
                    raise OSError

    run_virtual(inside())
    assert told.of[-1][1].name == f"{own}.<locals>.inside"


def test_a_block_of_a_module_has_no_function() -> None:
    told = Told()
    code = "for attempt in retrying(policy, hooks=hooks):\n with attempt:\n  if attempt.number == 1: raise OSError"
    exec(code, {"retrying": retrying, "policy": AT_ONCE, "hooks": told.hooks})
    assert {details.name for _, details in told.of} == {"block"}


def test_every_name_is_listed_once() -> None:
    assert retries.retry is mainspring.retries.retry  # loaded, so that it is a global, too
    listed = list(mainspring.retries.__dir__())
    assert len(listed) == len(set(listed))
