"""From what an attempt said to what the store writes: one pure `match`, the only place that decides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from mainspring.model.record import Failure, JobRecord, NewGroup, NewJob, Settlement
from mainspring.retries.policy import Retry, Wait, delay_of

LATER_KEY: Final = "RetryLater"
"""The counter of attempts that a task ended itself by raising `RetryLater`."""

BACKOFF_FAILED: Final = "the backoff of its policy failed, so it waits as by default"
"""What a settlement says of a retry whose wait is not the one that was meant."""

LATER_ATTEMPTS: Final = 5
"""Runs that a task without a policy may ask for with `RetryLater`."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The function returned. `result` is its encoded value; follow-ups commit with the settlement."""

    result: bytes | None
    follow_ups: tuple[NewJob, ...] = ()
    groups: tuple[NewGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class Repeated:
    """The function asked for another round after `after` seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The function raised. `wait_hint` is what the error said about when to come back, in seconds."""

    error: BaseException
    failure: Failure
    wait_hint: float | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """The function raised `RetryLater`: an attempt is used up; `after` None means the policy's backoff."""

    failure: Failure
    after: float | None


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The function raised `Snooze`: come back later, nothing is used up."""

    after: float
    reason: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """No other attempt can help: `GiveUp` was raised, or the result cannot be stored."""

    failure: Failure
    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The attempt ended because the job is cancelled, by request or by `CancelJob`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Released:
    """Handed back by a worker that stops, after `after` seconds of spread."""

    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Crashed:
    """The child process that ran it died."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Lapsed:
    """Its `expires` passed while it was held, before it was started."""


Outcome = Completed | Repeated | Failed | Later | Snoozed | GaveUp | Stopped | Released | Crashed | Lapsed
"""What an attempt said."""


def conclude(  # noqa: C901  # one case for each outcome
    job: JobRecord,
    outcome: Outcome,
    policy: Retry | None,
    *,
    elapsed: float,
    ran: float | None,
    random: Callable[[], float],
) -> Settlement:
    """What the store is asked to write.

    `policy`: None means no retry on errors (the job ends dead, visible and replayable). `elapsed`: seconds since the
    job's first attempt began, by the store's clock. `ran`: seconds the function ran, None when it never started.
    The store may still turn it into an end: a cancel request beats a retry (RULES C4), a retry past `expires` expires.
    """
    match outcome:
        case Completed():
            return completed(job, outcome, ran)
        case Repeated(after):
            return Settlement(job=job.id, lease=job.lease, kind="repeat", after=after, ran=ran)
        case Failed(error, failure, wait_hint):
            return _failed(job, error, failure, wait_hint, policy, elapsed, ran, random)
        case Later(failure, after):
            return _later(job, failure, after, policy, elapsed, ran, random)
        case Snoozed(after, reason):
            return Settlement(job=job.id, lease=job.lease, kind="snooze", after=after, ran=ran, reason=reason)
        case GaveUp(failure, reason):
            return Settlement(job=job.id, lease=job.lease, kind="dead", ran=ran, error=failure, reason=reason)
        case Stopped(reason):
            return Settlement(job=job.id, lease=job.lease, kind="cancelled", ran=ran, reason=reason)
        case Released(after):
            return Settlement(job=job.id, lease=job.lease, kind="release", after=after, ran=ran)
        case Crashed(failure):
            reason = "its child process died"
            return Settlement(job=job.id, lease=job.lease, kind="crash", ran=ran, error=failure, reason=reason)
        case Lapsed():
            reason = "expired before it was started"
            return Settlement(job=job.id, lease=job.lease, kind="expired", ran=None, reason=reason)
        case _:
            assert_never(outcome)


def completed(job: JobRecord, outcome: Completed, ran: float | None) -> Settlement:
    """The settlement of a function that returned: `conclude` for most attempts, which need no policy."""
    return Settlement(
        job=job.id,
        lease=job.lease,
        kind="complete",
        ran=ran,
        result=outcome.result,
        follow_ups=outcome.follow_ups,
        groups=outcome.groups,
    )


def _failed(
    job: JobRecord,
    error: BaseException,
    failure: Failure,
    wait_hint: float | None,
    policy: Retry | None,
    elapsed: float,
    ran: float | None,
    random: Callable[[], float],
) -> Settlement:
    """By the policy: another attempt after a wait, or dead with the reason why there is none."""
    if policy is None:
        return _dead(job, failure, "no retry policy", job.counters, ran)
    decision = policy.decide(error, job.counters, elapsed, random=random, wait_hint=wait_hint)
    counters = dict(decision.counters)
    if isinstance(decision, Wait):
        trouble = "" if decision.trouble is None else f"{BACKOFF_FAILED}: {decision.trouble!r}"
        return _retry(job, failure, decision.seconds, counters, ran, trouble)
    return _dead(job, failure, decision.reason, counters, ran)


def _later(
    job: JobRecord,
    failure: Failure,
    after: float | None,
    policy: Retry | None,
    elapsed: float,
    ran: float | None,
    random: Callable[[], float],
) -> Settlement:
    """Counted on its own, against the most generous rule of the policy."""
    counters = {**job.counters, LATER_KEY: job.counters.get(LATER_KEY, 0) + 1}
    limits = [LATER_ATTEMPTS] if policy is None else [rule.attempts for rule in policy.rules]
    limit = None if None in limits else max(each for each in limits if each is not None)
    if limit is not None and counters[LATER_KEY] >= limit:
        return _dead(job, failure, "attempts spent", counters, ran)
    if after is None:
        after = 0.0 if policy is None else delay_of(policy.rules[0].backoff, counters[LATER_KEY] - 1, random)
    if policy is not None and policy.give_up_after is not None and elapsed + after >= policy.give_up_after:
        return _dead(job, failure, "give_up_after reached", counters, ran)
    return _retry(job, failure, after, counters, ran)


def _retry(
    job: JobRecord, failure: Failure, after: float, counters: Mapping[str, int], ran: float | None, reason: str = ""
) -> Settlement:
    return Settlement(
        job=job.id, lease=job.lease, kind="retry", after=after, ran=ran, error=failure, counters=counters, reason=reason
    )


def _dead(job: JobRecord, failure: Failure, reason: str, counters: Mapping[str, int], ran: float | None) -> Settlement:
    return Settlement(
        job=job.id, lease=job.lease, kind="dead", ran=ran, error=failure, reason=reason, counters=counters
    )
