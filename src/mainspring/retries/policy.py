"""The policy: a value that decides after each failure whether and when to try again.

Pure: nothing here reads a clock, waits, draws a number by itself or logs. The drivers, the services and the job
engine all ask `Retry.decide` and act on the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, Self

from mainspring.clock import Duration
from mainspring.errors import InvalidPolicy
from mainspring.retries.backoff import LONGEST_WAIT, Backoff, checked_seconds, delay_of
from mainspring.retries.rules import On, Rule
from mainspring.retries.value import Value, check_fields

__all__ = [
    "ATTEMPTS_SPENT",
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

StopReason = Literal["no rule matches", "attempts spent", "give_up_after reached"]
NO_RULE: Final = "no rule matches"
ATTEMPTS_SPENT: Final = "attempts spent"
TIME_SPENT: Final = "give_up_after reached"


# Wait and Stop are named tuples: one is made for every failure, in half the time of a dataclass.
class Wait(NamedTuple):
    """Try again after `seconds` (0: at once).

    `counters` are the failures per rule key, this one included: hand them to the next `decide`. `degraded` says
    that only the policy for unknown errors wanted this; a driver logs it as an error.
    """

    seconds: float
    rule_key: str
    counters: Mapping[str, int]
    degraded: bool = False


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

    A policy is immutable and may be shared by any number of calls, tasks and threads. Raises InvalidPolicy naming
    the field that cannot mean anything.

    >>> policy = Retry(Rule(ConnectionError, attempts=8), Rule((KeyError, ValueError), attempts=2), give_up_after=120)
    >>> policy.decide(KeyError("x"), {"builtins.KeyError|builtins.ValueError": 1}, 3.0, random=lambda: 0.5).reason
    'attempts spent'
    """

    __slots__ = ("give_up_after", "raise_group", "rules")
    rules: tuple[Rule, ...]
    give_up_after: float | None
    raise_group: bool

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
    ) -> None:
        if not rules:
            if on is None:
                raise InvalidPolicy(
                    "on is missing: say which errors, for example Retry(on=OSError) or Retry(on=TRANSIENT)"
                )
            rules = (Rule(on, attempts, backoff),)
        elif on is not None or attempts != 5 or backoff is not None:
            raise InvalidPolicy("on, attempts and backoff belong into each Rule when rules are given")
        limit = None if give_up_after is None else checked_seconds("give_up_after", give_up_after)
        self._set(_placed(rules), limit, bool(raise_group))

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
        key, wait, limit, degraded = "", wait_hint, self.give_up_after, False
        rule = self.rule_for(failure)
        if rule is not None:
            key = rule.key
        elif baseline is not None and isinstance(failure, Exception) and (advice := baseline.advise(failure)):
            rule = advice.policy.rule_for(failure)
            key = f"{advice.key}:{rule.key}" if rule is not None else ""
            wait = advice.retry_after if wait_hint is None else wait_hint
            limit, degraded = _shorter(limit, advice.policy.give_up_after), advice.degraded
        if rule is None:
            return Stop(NO_RULE, None, dict(counters))
        failures = counters.get(key, 0) + 1
        counted = {**counters, key: failures}
        if rule.attempts is not None and failures >= rule.attempts:
            return Stop(ATTEMPTS_SPENT, key, counted)
        wait = delay_of(rule.backoff, failures - 1, random) if wait is None else min(max(wait, 0.0), LONGEST_WAIT)
        if limit is not None and elapsed + wait >= limit:
            return Stop(TIME_SPENT, key, counted)
        return Wait(wait, key, counted, degraded)

    def rule_for(self, failure: BaseException) -> Rule | None:
        """The first rule that matches, or None."""
        if isinstance(failure, Exception):
            for rule in self.rules:
                if rule.matches(failure):
                    return rule
        return None


def _placed(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    for rule in rules:
        if not isinstance(rule, Rule):
            raise InvalidPolicy(f"a policy is made of Rules, not of {rule!r}; for one rule write Retry(on=…)")
    placed = tuple(rule.placed(index) for index, rule in enumerate(rules))
    keys = [rule.key for rule in placed]
    for key in keys:
        if keys.count(key) > 1:
            raise InvalidPolicy(f"two rules are counted under the same key {key!r}; give one of them key=…")
    return placed


def _shorter(one: float | None, other: float | None) -> float | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
