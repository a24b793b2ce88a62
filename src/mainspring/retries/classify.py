"""What an error means when no rule of the policy names it: a category, and the policy of that category.

The user's classifier is asked first, then the built-in one for transport errors; what neither knows is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mainspring.errors import InvalidPolicy
from mainspring.retries.errorsets import TRANSIENT, causes_of
from mainspring.retries.policy import Advice, Retry

Category = str
"""TRANSPORT, SERVICE, or any word of your own."""

TRANSPORT: Final = "transport"
"""The way to the other side: connections, timeouts, DNS. The built-in classifier knows these."""

SERVICE: Final = "service"
"""The other side itself: overloaded, restarting. Only your own classifier can tell."""

UNKNOWN: Final = "unknown"


class Classification(NamedTuple):
    """What a classifier says of an error: its category and, if known, how many seconds to wait before the next try.

    A `retry_after` above 0 replaces the backoff for that wait; 0 and None leave it to the policy.
    """

    category: Category
    retry_after: float | None = None


Classifier = Callable[[BaseException], Classification | None]
"""None: this classifier does not know the error."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A policy for each category of error, asked when no rule of the task's own policy matches.

    `unknown` is for errors that no classifier knows and categories without a policy: None stops, a `Retry` retries
    as a *degraded* policy, of which the driver logs each wait as an error. A rule that has given up is final: the
    baseline is not asked. Each policy counts under keys of its own, `baseline:<category>:<rule>`.

    `give_up_after` of a policy here counts from the start of the call, as that of the call's own policy does; the
    shorter one holds. It is looked at after a failure, and cuts no attempt short. Budget, breaker, wait_hint and
    raise_group are those of the call's own policy. Raises InvalidPolicy for a policy here that has one of them,
    which would never be asked, and for a field that is not what it should be.

    >>> baseline = Baseline({TRANSPORT: Retry(on=Exception, attempts=None)})
    >>> baseline.advise(ConnectionResetError()).key
    'baseline:transport'
    """

    policies: Mapping[Category, Retry] = field(default_factory=dict[Category, Retry])
    unknown: Retry | None = None
    classifier: Classifier | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.policies, Mapping):
            raise InvalidPolicy(
                f"policies must be a dict such as {{TRANSPORT: Retry(…)}}, not {self.policies!r}; "
                "the policy for whatever nobody knows is unknown=…"
            )
        if self.classifier is not None:
            _check_classifier(self.classifier)
        for category, policy in [*self.policies.items(), (UNKNOWN, self.unknown)]:
            _check_policy(category, policy)
            for name in ("budget", "breaker", "wait_hint", "raise_group"):
                if getattr(policy, name, None) not in (None, False):
                    raise InvalidPolicy(
                        f"the policy of a baseline for {category!r} has a {name}, which would never be asked; "
                        "give it to the policy of the call"
                    )

    def advise(self, error: BaseException, /) -> Advice | None:
        """The policy for this error, or None to stop."""
        said = self.classifier(error) if self.classifier is not None else None
        if said is None:
            said = classify_transport(error)
        if said is None:
            said = Classification(UNKNOWN)
        policy = self.policies.get(said.category)
        if policy is not None:
            return Advice(policy, f"baseline:{said.category}", said.retry_after or None)
        if self.unknown is not None:
            return Advice(self.unknown, f"baseline:{UNKNOWN}", said.retry_after or None, degraded=True)
        return None


def _check_classifier(classifier: object) -> None:
    if not callable(classifier):
        raise InvalidPolicy(f"classifier must be a function from an error to a Classification, not {classifier!r}")
    from inspect import iscoroutinefunction  # noqa: PLC0415  # slow to load; few baselines have a classifier

    if iscoroutinefunction(classifier):
        raise InvalidPolicy(f"classifier {classifier!r} is async; it must answer at once")


def _check_policy(category: object, policy: object) -> None:
    if not isinstance(category, str):
        raise InvalidPolicy(
            f"policies: a category is TRANSPORT, SERVICE or a text of your classifier's, not {category!r}; "
            "what to do about a class of errors belongs into a Rule"
        )
    if not isinstance(policy, Retry) and not (policy is None and category == UNKNOWN):
        field = "unknown" if category == UNKNOWN else f"policies[{category!r}]"
        raise InvalidPolicy(f"{field} must be a Retry, not {policy!r}")


def classify_transport(error: BaseException) -> Classification | None:
    """TRANSPORT when the error, or one that it was raised from, is `TRANSIENT`; else None.

    >>> classify_transport(TimeoutError())
    Classification(category='transport', retry_after=None)
    """
    if any(TRANSIENT.matches(cause) for cause in causes_of(error)):
        return Classification(TRANSPORT)
    return None
