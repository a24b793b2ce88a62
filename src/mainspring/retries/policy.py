"""The policy: a value that decides after each failure whether and when to try again.

Pure: nothing here reads a clock, waits, draws a number by itself or logs. The drivers, the services and the job
engine all ask `Retry.decide` and act on the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, Self

from mainspring.clock import Duration
from mainspring.errors import InvalidPolicy
from mainspring.retries.backoff import DEFAULT_BACKOFF, LONGEST_WAIT, Backoff, checked_seconds, delay_of, told_delay
from mainspring.retries.hints import WaitHint
from mainspring.retries.rules import On, Rule, checked_flag
from mainspring.retries.value import Value, check_fields

if TYPE_CHECKING:
    from mainspring.retries.breaker import Breaker
    from mainspring.retries.budget import Budget

__all__ = [
    "ATTEMPTS_SPENT",
    "BUDGET_SPENT",
    "CIRCUIT_OPEN",
    "NO_RULE",
    "TIME_SPENT",
    "Advice",
    "Fallback",
    "Retry",
    "Rule",
    "Stop",
    "StopReason",
    "Wait",
    "delay_of",
]

StopReason = Literal["no rule matches", "attempts spent", "give_up_after reached", "retry budget spent", "circuit open"]
NO_RULE: Final = "no rule matches"
ATTEMPTS_SPENT: Final = "attempts spent"
TIME_SPENT: Final = "give_up_after reached"
BUDGET_SPENT: Final = "retry budget spent"
CIRCUIT_OPEN: Final = "circuit open"


# Wait and Stop are named tuples: one is made for every failure, in half the time of a dataclass.
class Wait(NamedTuple):
    """Try again after `seconds` (0: at once).

    `counters` are the failures per rule key, this one included: hand them to the next `decide`. `degraded` says
    that only the policy for unknown errors wanted this; a driver logs it as an error. `trouble`: why the rule's own
    backoff could not be asked, so that the wait is that of the default one; a driver logs it, too.
    """

    seconds: float
    rule_key: str
    counters: Mapping[str, int]
    degraded: bool = False
    trouble: Exception | None = None

    def stopped(self, reason: StopReason) -> Stop:
        """The stop in place of this wait: what a budget or a breaker of the policy makes of it."""
        return Stop(reason, self.rule_key, self.counters)


class Stop(NamedTuple):
    """Do not try again. `rule_key` is None when no rule matched; `counters` as in `Wait`."""

    reason: StopReason
    rule_key: str | None
    counters: Mapping[str, int]

    @property
    def gave_up(self) -> bool:
        """Whether a rule matched and has given up; False: the error was not one to be retried."""
        return self.reason != NO_RULE


class Advice(NamedTuple):
    """What a fallback answers: a policy, the key that its counters begin with, and the wait if it knows one."""

    policy: Retry
    key: str
    retry_after: float | None = None
    degraded: bool = False


class Fallback(Protocol):
    """Whom `decide` asks when no rule matches; a `Baseline` is one."""

    def advise(self, error: BaseException, /) -> Advice | None:
        """The policy for this error, or None to stop."""
        ...


class Retry(Value):
    """When to try again: rules in order (the first that matches decides), and a limit for the whole.

    `Retry(on=OSError, attempts=5, backoff=…)` is the short form of one rule; see `Rule` for the three. A rule gives
    up at its `attempts`-th matching failure; an error that no rule matches is not retried.
    `give_up_after` (seconds or timedelta, above 0) bounds all attempts and waits: when the next wait would reach it,
    the policy gives up at once, before the wait. `raise_group=True` makes the drivers raise `RetriesExhausted` with
    every error, in place of the last error itself.

    `wait_hint`: a function from an error to the seconds before the next attempt, or None to leave them to the
    backoff; it stands in place of the built-in look at `Retry-After` (see `retry_after`), which is cut to one day. Of
    a job's child process it sees the error's class, arguments and plain attributes only. `budget` limits the
    retries of all calls that share it, `breaker` stops attempts while the other side is down: live objects of this
    process, for the decorator, the block and `background`, not for jobs.

    A policy is immutable and may be shared by any number of calls, tasks and threads. Raises InvalidPolicy naming
    the field that cannot mean anything.

    >>> policy = Retry(Rule(ConnectionError, attempts=8), Rule((KeyError, ValueError), attempts=2), give_up_after=120)
    >>> policy.decide(KeyError("x"), {"builtins.KeyError|builtins.ValueError": 1}, 3.0, random=lambda: 0.5).reason
    'attempts spent'
    """

    __slots__ = ("breaker", "budget", "give_up_after", "raise_group", "rules", "wait_hint")
    rules: tuple[Rule, ...]
    give_up_after: float | None
    raise_group: bool
    wait_hint: WaitHint | None
    budget: Budget | None
    breaker: Breaker | None

    if not TYPE_CHECKING:  # hidden from type checkers, which know the fields by `__init__`

        def __new__(cls, *_: object, **given: object) -> Self:
            check_fields(cls, given)
            return super().__new__(cls)

    def __init__(
        self,
        *rules: Rule,
        on: On | None = None,
        attempts: int | None = 5,
        give_up_after: Duration | None = None,
        backoff: Backoff | None = None,
        raise_group: bool = False,
        causes: bool = False,
        wait_hint: WaitHint | None = None,
        budget: Budget | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        if not rules:
            if on is None:
                raise InvalidPolicy(
                    "on is missing: say which errors, for example Retry(on=OSError) or Retry(on=TRANSIENT)"
                )
            rules = (Rule(on, attempts, backoff, causes=causes),)
        elif on is not None or attempts != 5 or backoff is not None or causes:
            raise InvalidPolicy("on, attempts, backoff and causes belong into each Rule when rules are given")
        limit = None if give_up_after is None else checked_seconds("give_up_after", give_up_after)
        hint = None if wait_hint is None else _checked_hint(wait_hint)
        _check_live("budget", budget, "called", "spend")
        _check_live("breaker", breaker, "admit", "succeeded", "failed", "abandoned")
        self._set(_placed(rules), limit, checked_flag("raise_group", raise_group), hint, budget, breaker)

    def decide(
        self,
        failure: BaseException,
        counters: Mapping[str, int],
        elapsed: float,
        *,
        random: Callable[[], float],
        wait_hint: float | None = None,
        baseline: Fallback | None = None,
    ) -> Wait | Stop:
        """What to do after `failure`. Pure: the same arguments give the same answer.

        `counters`: failures per rule key before this one, `{}` at first, then those of the last answer.
        `elapsed`: seconds since the first attempt started. `random`: gives numbers in [0, 1), for jitter.
        `wait_hint`: seconds that replace the backoff for this wait (0: at once), as told by the other side.
        `baseline`: asked only when no rule matches. What is no `Exception` (cancellation, exit) is never retried.
        """
        counted = dict(counters)
        reason, key, wait, degraded, trouble = self.weigh(failure, counted, elapsed, random, wait_hint, baseline)
        if reason is not None:
            return Stop(reason, key or None, counted)
        return Wait(wait, key, counted, degraded, trouble)

    def weigh(
        self,
        failure: BaseException,
        counted: dict[str, int],
        elapsed: float,
        random: Callable[[], float],
        wait_hint: float | None,
        baseline: Fallback | None,
    ) -> tuple[StopReason | None, str, float, bool, Exception | None]:
        """`decide` for a loop, which is asked after every failure: counts in `counted` itself, and makes no value.

        Answers why to stop or None, the key ("" when no rule matches), the wait (when time is spent, the one that
        would have been), whether it is degraded, and the error of a backoff that failed.
        """
        limit, degraded, trouble = self.give_up_after, False, None
        rule: Rule | None
        first = rule = self.rules[0]
        # Most policies have one rule for one class: known without the calls that the others take.
        if not isinstance(first.on, type) or first.causes or not isinstance(failure, first.on):
            rule = self.rule_for(failure)
        if rule is not None:
            key = rule.key
        elif baseline is None or not isinstance(failure, Exception) or not (advice := baseline.advise(failure)):
            return NO_RULE, "", 0.0, False, None
        else:
            rule = advice.policy.rule_for(failure)
            if rule is None:
                return NO_RULE, "", 0.0, False, None
            key = f"{advice.key}:{rule.key}"
            wait_hint = advice.retry_after if wait_hint is None else wait_hint
            limit, degraded = _shorter(limit, advice.policy.give_up_after), advice.degraded
        failures = counted[key] = counted.get(key, 0) + 1
        if rule.attempts is not None and failures >= rule.attempts:
            return ATTEMPTS_SPENT, key, 0.0, degraded, None
        if wait_hint is None:
            try:
                wait = told_delay(rule.backoff, failures - 1, random)
            except Exception as failed:  # noqa: BLE001  # it must not hide the error that it was asked about
                wait, trouble = DEFAULT_BACKOFF.delay(failures - 1, random), failed
        else:
            wait = min(max(0.0, wait_hint), LONGEST_WAIT)
        if limit is not None and elapsed + wait >= limit:
            return TIME_SPENT, key, wait, degraded, trouble
        return None, key, wait, degraded, trouble

    def describe(self) -> str:
        """The policy in words: its rules, the waits of each, their sum, and what `give_up_after` makes of it.

        Several lines for people, whose form may change. Draws nothing and waits for nothing; a backoff of your own is
        called for the first waits. That the waits alone pass `give_up_after` is said, and never refused.

        >>> print(Retry(on=OSError, attempts=9, give_up_after=60).describe())
        builtins.OSError: 9 attempts
          waits: 0 to 1, 0 to 2, 0 to 4, 0 to 8, 0 to 16, then 0 to 30 s each (full jitter: anything from 0)
          together: 121 s at most
          the waits alone may pass give_up_after=60
        a wait that an error asks for (Retry-After) takes the place of the backoff
        gives up 60 s after the first attempt began
        """
        from mainspring.retries.describe import described  # noqa: PLC0415  # for people; a call needs it not

        return described(self)

    def rule_for(self, failure: BaseException) -> Rule | None:
        """The first rule that matches, or None."""
        if isinstance(failure, Exception):
            for rule in self.rules:
                if rule.matches(failure):
                    return rule
        return None


def _checked_hint(wait_hint: WaitHint) -> WaitHint:
    if not callable(wait_hint):
        raise InvalidPolicy(f"wait_hint must be a function from an error to seconds or None, not {wait_hint!r}")
    from inspect import iscoroutinefunction  # noqa: PLC0415  # slow to load; most policies have no hint of their own

    if iscoroutinefunction(wait_hint):
        raise InvalidPolicy(f"wait_hint {wait_hint!r} is async; it must answer at once")
    return wait_hint


def _check_live(field: str, given: object, *methods: str) -> None:
    """Raise InvalidPolicy unless it is None, or an object with these methods."""
    if given is None:
        return
    if isinstance(given, type) or not all(callable(getattr(given, name, None)) for name in methods):
        ours = {"budget": "RetryBudget()", "breaker": "CircuitBreaker()"}[field]
        raise InvalidPolicy(f"{field} must be an object such as {ours}, with {', '.join(methods)}; not {given!r}")


def _placed(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    for rule in rules:
        if not isinstance(rule, Rule):
            raise InvalidPolicy(f"a policy is made of Rules, not of {rule!r}; for one rule write Retry(on=…)")
    placed = tuple(rule.placed(index) for index, rule in enumerate(rules))
    keys = [rule.key for rule in placed]
    for key in keys:
        if keys.count(key) > 1:
            raise InvalidPolicy(f"two rules are counted under the same key {key!r}; give one of them key=…")
    for index, rule in enumerate(placed):
        for before in placed[:index]:
            if before.covers(rule):
                raise InvalidPolicy(
                    f"the rule for {rule.key} can never match: the one for {before.key}, before it, is for the same "
                    "errors, and the first that matches decides; put the narrower rule first"
                )
    return placed


def _shorter(one: float | None, other: float | None) -> float | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
