"""A policy in words: the waits it would make, their sum, and whether these alone pass its time limit. Pure."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from mainspring.retries.backoff import LONGEST_WAIT, Backoff, Constant, Exponential, Jittered, Linear, told_delay

if TYPE_CHECKING:
    from mainspring.retries.policy import Retry
    from mainspring.retries.rules import Rule

LOOKED_AT: Final = 1000
"""Waits of a rule that are added up one by one; from there on they are taken for equal to the last of all."""

ASKED: Final = 20
"""Waits for which a user's own backoff is called: it may be slow, and nothing is known of what it does later."""

SHOWN: Final = 8
"""Waits of a rule that are written down one by one."""

_FOR_EVER: Final = 10**15

Verdict = Literal["never", "may", "surely"]


class Span(NamedTuple):
    """Seconds between which something lies, both included."""

    low: float
    high: float


class Schedule(NamedTuple):
    """The waits of one rule whose errors alone come: the first ones, then `more` (perhaps infinitely many).

    Each of those lies in `rest`; None: nothing is known of them, because the backoff is a function of the user's.
    """

    first: tuple[Span, ...]
    more: float
    rest: Span | None

    @property
    def total(self) -> Span:
        """All waits together."""
        low, high = sum(span.low for span in self.first), sum(span.high for span in self.first)
        if not self.more:
            return Span(low, high)
        rest = self.rest or Span(0.0, LONGEST_WAIT)
        low += rest.low * self.more if rest.low else 0.0  # 0 times infinity would be no number
        return Span(low, high + rest.high * self.more if rest.high else high)

    def passes(self, limit: float) -> Verdict:
        """Whether these waits alone reach a `give_up_after` of so many seconds."""
        low, high = self.total
        return "surely" if low >= limit else "may" if high >= limit else "never"

    def most_attempts(self, limit: float) -> int | None:
        """How many attempts fit into the limit when all waits are as short as may be; None: beyond the first ones."""
        sums = accumulate(span.low for span in self.first)
        return next((index for index, waited in enumerate(sums, 1) if waited >= limit), None)


def schedule(rule: Rule) -> Schedule:
    """The waits of a rule. Raises what the user's own backoff raises."""
    waits = math.inf if rule.attempts is None else rule.attempts - 1
    ours = _is_ours(rule.backoff)
    first = int(min(waits, LOOKED_AT if ours else ASKED))
    more = waits - first
    rest = None
    if more and ours:  # ours never fall: the rest lies between the next one and the last one
        last = _FOR_EVER if rule.attempts is None else rule.attempts - 2
        rest = Span(span_of(rule.backoff, first).low, span_of(rule.backoff, last).high)
    return Schedule(tuple(span_of(rule.backoff, index) for index in range(first)), more, rest)


def span_of(backoff: Backoff, index: int) -> Span:
    """Between which seconds the wait before retry `index` (0-based) lies, whatever chance does."""
    if not isinstance(backoff, Jittered):
        wait = told_delay(backoff, index, _no_chance)
        return Span(wait, wait)
    low, high = span_of(backoff.backoff, index)
    match backoff.kind:
        case "full":
            low = 0.0
        case "proportional":
            low, high = low * (1.0 - backoff.amount), high * (1.0 + backoff.amount)
        case "additive":
            high += backoff.amount
    cap = LONGEST_WAIT if backoff.cap is None else backoff.cap
    return Span(min(max(low, 0.0), cap), min(max(high, 0.0), cap))


def described(policy: Retry) -> str:
    """The lines of `Retry.describe`. Never raises."""
    schedules = [_schedule_or_error(rule) for rule in policy.rules]
    several = len(policy.rules) > 1
    lines = ["the first rule that matches decides:"] if several else []
    for rule, planned in zip(policy.rules, schedules, strict=True):
        lines += _rule_lines(rule, planned, policy.give_up_after)
    known = [planned for planned in schedules if isinstance(planned, Schedule)]
    if several and len(known) == len(schedules):
        lines.append(_together(known, policy.give_up_after))
    return "\n".join(lines + _other_lines(policy))


def _schedule_or_error(rule: Rule) -> Schedule | Exception:
    try:
        return schedule(rule)
    except Exception as error:  # noqa: BLE001  # a backoff of the user's own, told of in the text
        return error


def _rule_lines(rule: Rule, planned: Schedule | Exception, limit: float | None) -> list[str]:
    causes = ", also as a cause or in a group" if rule.causes else ""
    if rule.attempts == 1:
        return [f"{rule.key}{causes}: 1 attempt, none after it"]
    attempts = "attempts without limit" if rule.attempts is None else f"{rule.attempts} attempts"
    lines = [f"{rule.key}{causes}: {attempts}"]
    if isinstance(planned, Exception):
        return [*lines, f"  waits: cannot be told, the backoff fails: {type(planned).__name__}"]
    lines.append(f"  waits: {_waits(planned)}{_jitter(rule.backoff)}")
    lines.append(f"  together: {_sum(planned)}")
    if limit is not None:
        lines.append(f"  {_verdict(planned, limit)}")
    return lines


def _waits(planned: Schedule) -> str:
    """The first ones, and the rest in a word."""
    first = planned.first
    steady = len(first)  # from here on all are equal
    while steady and first[steady - 1] == first[-1]:
        steady -= 1
    all_equal = not planned.more or planned.rest == first[-1]
    if all_equal and steady <= SHOWN and (planned.more or len(first) - steady > 2):
        heads = [*(_seconds(span) for span in first[:steady])]
        return ", ".join([*heads, f"{'then ' if heads else ''}{_seconds(first[-1])} s each"])
    if len(first) <= SHOWN and not planned.more:
        return ", ".join(map(_seconds, first)) + " s"
    shown = ", ".join(map(_seconds, first[:SHOWN]))
    if planned.rest is None and planned.more:
        return f"{shown} s, and so on as the backoff says"
    last = planned.rest or first[-1]
    return f"{shown}, … up to {_number(last.high)} s"


def _jitter(backoff: Backoff) -> str:
    if not isinstance(backoff, Jittered):
        return ""
    match backoff.kind:
        case "full":
            return " (full jitter: anything from 0)"
        case "proportional":
            return f" (proportional jitter: {backoff.amount * 100:g} % up or down)"
        case "additive":
            return f" (additive jitter: up to {_number(backoff.amount)} s more)"


def _sum(planned: Schedule) -> str:
    low, high = planned.total
    if planned.more and planned.rest is None:
        return f"{_number(sum(span.high for span in planned.first))} s in the first {len(planned.first)} waits"
    if high == math.inf:
        return "without end"
    return f"{_number(high)} s" if low == high else f"{_number(high)} s at most"


def _verdict(planned: Schedule, limit: float) -> str:
    named = f"give_up_after={_number(limit)}"
    match planned.passes(limit):
        case "never":
            return f"the waits alone never pass {named}"
        case "may":
            return f"the waits alone may pass {named}"
        case "surely":
            most = planned.most_attempts(limit)
            told = "" if most is None else f": {most} attempt{'s' if most > 1 else ''} at most"
            return f"the waits alone surely pass {named}{told}"


def _together(planned: list[Schedule], limit: float | None) -> str:
    """Of all rules: their errors may come in any order, so their waits add up."""
    high = sum(each.total.high for each in planned)
    told = f"all rules together: {'waits without end' if high == math.inf else f'{_number(high)} s of waits at most'}"
    if limit is None:
        return told
    if all(each.passes(limit) == "surely" for each in planned):
        return f"{told}; alone they surely pass give_up_after={_number(limit)}"
    return f"{told}; alone they {'may' if high >= limit else 'never'} pass give_up_after={_number(limit)}"


def _other_lines(policy: Retry) -> list[str]:
    hint = "a wait that an error asks for (Retry-After) takes the place of the backoff"
    lines = [hint if policy.wait_hint is None else f"wait_hint={_name(policy.wait_hint)} may take the place of a wait"]
    if policy.give_up_after is not None:
        lines.append(f"gives up {_number(policy.give_up_after)} s after the first attempt began")
    if policy.raise_group:
        lines.append("raises RetriesExhausted with every error")
    for field, live in (("budget", policy.budget), ("breaker", policy.breaker)):
        if live is not None:
            lines.append(f"{field}: {_shown(live)}")
    return lines


def _seconds(span: Span) -> str:
    return _number(span.low) if span.low == span.high else f"{_number(span.low)} to {_number(span.high)}"


def _number(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 1000 else f"{seconds:.3g}"


def _name(function: object) -> str:
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else _shown(function)


def _shown(live: object) -> str:
    try:
        return repr(live)
    except Exception:  # noqa: BLE001  # the user's own class
        return type(live).__qualname__


def _is_ours(backoff: Backoff) -> bool:
    while isinstance(backoff, Jittered):
        backoff = backoff.backoff
    return isinstance(backoff, Constant | Linear | Exponential)


def _no_chance() -> float:
    return 0.0
