"""The failures of one call while it is under way: what is done about each, and who is told.

Every loop of attempts uses this: those of `retry`, `retrying` and `background`, and those of Mainspring itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mainspring.errors import CircuitOpen, RetriesExhausted, RetryTimeout
from mainspring.retries import hooks as listeners
from mainspring.retries import pace, switches
from mainspring.retries.attempts import KEPT, Failed, Record
from mainspring.retries.hints import asked_wait, retry_after
from mainspring.retries.hooks import Hooks, Moment, RetryDetails
from mainspring.retries.policy import (
    ATTEMPTS_SPENT,
    BUDGET_SPENT,
    CIRCUIT_OPEN,
    NO_RULE,
    TIME_SPENT,
    Fallback,
    Retry,
)
from mainspring.retries.value import Value

if TYPE_CHECKING:
    from mainspring.retries.breaker import Breaker, Snapshot

_CAPPED: Final = "attempts capped by set_testing"


class Terms(Value):
    """What is the same for every call of one function.

    `name` is told to log and hooks. `inner` is for loops of Mainspring itself: the switches do not concern them, log
    and hooks of the process are not told of them, only the newest error is kept, and no attempt is cut short: what a
    store was asked, it shall answer. `on_failure` is called with each error, the last and those that no rule matches
    included; it must not raise.
    """

    __slots__ = ("baseline", "guarded", "hooks", "inner", "kept", "name", "on_failure", "policy", "watched")
    policy: Retry
    name: str
    baseline: Fallback | None
    hooks: Hooks | None
    inner: bool
    on_failure: Callable[[Exception], object] | None
    guarded: bool
    watched: bool
    kept: int

    def __init__(
        self,
        policy: Retry,
        name: str = "block",
        baseline: Fallback | None = None,
        hooks: Hooks | None = None,
        *,
        inner: bool = False,
        on_failure: Callable[[Exception], object] | None = None,
    ) -> None:
        guarded = policy.breaker is not None  # each attempt is to be admitted
        # From the start of a call; the policies of a baseline may have a limit of time, which counts from there.
        watched = guarded or policy.give_up_after is not None or policy.budget is not None or baseline is not None
        kept = 1 if inner else KEPT - 1  # errors before the last
        self._set(policy, name, baseline, hooks, inner, on_failure, guarded, watched, kept)


class Failures:
    """The failures of one call so far, and the one place that acts on what a policy decides.

    Made at the first failure; at the start of the call when it must be `watched` from there: its policy has a time
    limit, a budget or a breaker, or it has a baseline. A loop calls `admit` before each attempt of a `guarded` policy,
    then `add` or `succeeded`, and `close` however it ends. Times are monotonic seconds on whatever clock the loop has.
    """

    __slots__ = ("_admitted", "_counters", "_earlier", "_started", "heard", "number", "terms")

    def __init__(self, terms: Terms, started: float | None = None) -> None:
        self.terms = terms
        self._started = started
        self._counters: dict[str, int] = {}
        self._earlier: list[Failed] = []
        self.heard = False  # whether somebody was told of the last failure, and wants to know how it goes on
        self._admitted: float | None = None
        self.number = 0  # attempts that have failed
        if terms.watched and terms.policy.budget is not None:
            terms.policy.budget.called()

    @property
    def ends(self) -> float | None:
        """When an attempt under way is to be cut short, on the clock of `started`; None: never."""
        limit = self.terms.policy.give_up_after
        return None if limit is None or self._started is None or self.terms.inner else self._started + limit

    def admit(self, now: float) -> None:
        """Ask the breaker, if there is one, for the next attempt.

        Raises the last error when it refuses, and CircuitOpen when there is none yet.
        """
        breaker = self.terms.policy.breaker
        if breaker is None:
            return
        seconds = breaker.admit(now)
        if seconds <= 0:
            self._admitted = now
            return
        if not self._earlier:
            raise CircuitOpen(seconds, getattr(breaker, "name", None))
        _, last, failed_after, _ = self._earlier.pop()
        self._stop(last, now, CIRCUIT_OPEN, failed_after)
        try:
            raise last
        finally:
            del last  # its traceback holds this frame

    def add(self, error: Exception, now: float) -> float | None:
        """Seconds to wait before the next attempt; None to let this error out, noted if it was given up on.

        Raises RetriesExhausted instead, for a policy with `raise_group=True`.
        """
        terms = self.terms
        policy = terms.policy
        self._started = now if self._started is None else self._started
        elapsed = now - self._started
        self.number += 1
        if terms.on_failure is not None:
            terms.on_failure(error)
        switched = None if terms.inner else switches.state
        if switched is not None and not switched.active:
            self._tell_breaker(now, matched=self._admitted is not None and self._is_known(error))
            return None
        plain = policy.wait_hint is None and switched is None
        hint = retry_after(error) if plain else self._hinted(error, switched)
        stop: str | None
        stop, _, wait, degraded, trouble = policy.weigh(
            error, self._counters, elapsed, pace.random, hint, terms.baseline
        )
        if trouble is not None:
            text = "%s: the backoff failed, the default one takes its place"
            listeners.log_of_retries().error(text, terms.name, exc_info=trouble)
        if self._admitted is not None:
            self._tell_breaker(now, matched=stop != NO_RULE)
        if stop is None and (terms.watched or switched is not None):
            stop = self._limited(wait, now, switched)
        if stop is not None:
            self._stop(error, now, stop, wait=wait)
            return None
        earlier = self._earlier
        earlier.append((self.number, error, elapsed, wait))
        if len(earlier) > terms.kept:
            del earlier[0]
        if wait > 0 or self.number == 1:  # a row of failures without waits asks once
            self.heard = terms.hooks is not None or (not terms.inner and listeners.anybody_listens())
        if self.heard or degraded:
            self._tell("before_wait", error, now, wait, degraded)
        return wait

    def succeeded(self, clock: Callable[[], float]) -> None:
        """An attempt has succeeded. `clock` is read only if somebody wants to know when."""
        breaker = self.terms.policy.breaker
        if breaker is not None and self._admitted is not None:
            breaker.succeeded(self._admitted, clock())
            self._admitted = None
        if self.heard:
            self._tell("recovered", self._earlier[-1][1], clock(), None, degraded=False)

    def timed_out(self, now: float, cut: BaseException | None) -> Exception:
        """The error for an attempt that was cut short by `give_up_after`, with the last error, or `cut`, as its cause."""
        self.number += 1
        if self._admitted is not None:
            self._tell_breaker(now, matched=True)
        error = RetryTimeout(
            f"give_up_after={self.terms.policy.give_up_after:g} passed during attempt {self.number}, "
            f"after {self._since_start(now):.1f} s"
        )
        error.__cause__ = self._earlier[-1][1] if self._earlier else cut
        if self.terms.on_failure is not None:
            self.terms.on_failure(error)
        try:
            self._stop(error, now, TIME_SPENT)
        except RetriesExhausted as group:
            return group
        return error

    def close(self, clock: Callable[[], float]) -> None:
        """Let go of the errors, whose tracebacks hold the frames that hold this object, and of an open attempt.

        An attempt that neither failed nor succeeded was cancelled: that says nothing about the other side.
        """
        self._earlier.clear()
        if self._admitted is not None:
            self._tell_breaker(clock(), matched=False)

    def _limited(self, wait: float, now: float, switched: switches.Switched | None) -> str | None:
        """A reason to stop that the policy does not weigh: the switch for tests, the breaker or the budget."""
        if switched is not None and switched.capped is not None and self.number >= switched.capped:
            return _CAPPED
        policy = self.terms.policy
        if policy.breaker is not None and wait < shut_for(policy.breaker, now):
            return CIRCUIT_OPEN  # now, instead of a wait for an attempt that is surely refused
        if policy.budget is not None and not policy.budget.spend():  # last: who makes no retry pays for none
            return BUDGET_SPENT
        return None

    def _is_known(self, error: Exception) -> bool:
        """Whether a rule or the baseline knows the error; nothing is counted, no backoff asked."""
        terms = self.terms
        return terms.policy.weigh(error, {}, 0.0, pace.random, 0.0, terms.baseline)[0] != NO_RULE

    def _tell_breaker(self, now: float, *, matched: bool) -> None:
        breaker, admitted = self.terms.policy.breaker, self._admitted
        if breaker is not None and admitted is not None:
            (breaker.failed if matched else breaker.abandoned)(admitted, now)
        self._admitted = None

    def _since_start(self, now: float) -> float:
        return 0.0 if self._started is None else now - self._started

    def _hinted(self, error: Exception, switched: switches.Switched | None) -> float | None:
        """What the user's own `wait_hint` says; None when it fails, or says what is no wait."""
        if switched is not None and switched.capped is not None:
            return 0.0  # there will be no wait, so that none is weighed against the time limit
        try:
            return asked_wait(error, self.terms.policy.wait_hint)
        except Exception:  # noqa: BLE001  # the backoff is there for what the hint cannot say
            listeners.log_of_retries().exception("%s: wait_hint failed, its answer counts as None", self.terms.name)
            return None

    def _tell(self, moment: Moment, error: Exception, now: float, wait: float | None, degraded: bool) -> None:
        number = self.number + (moment == "recovered")
        details = RetryDetails(self.terms.name, number, error, self._since_start(now), wait, degraded)
        listeners.tell(moment, details, self.terms.hooks, everywhere=not self.terms.inner)

    def _stop(
        self, error: Exception, now: float, reason: str, failed_after: float | None = None, wait: float = 0.0
    ) -> None:
        """Leave the record on the error, and tell of it. Raises the group, if that is asked for.

        `wait`: the one that there will not be.
        """
        if reason == NO_RULE:
            return  # raised unchanged
        terms, elapsed = self.terms, self._since_start(now)
        seconds = elapsed if failed_after is None else failed_after
        record = Record(tuple(self._earlier), self.number, seconds, self._note(elapsed, reason, wait))
        group: RetriesExhausted | None = None
        if terms.policy.raise_group:
            group = RetriesExhausted(record.note, [*(failed[1] for failed in record.earlier), error])
            record.leave_on_group(group, error)
        else:
            record.leave_on(error, terms.policy)
        if terms.hooks is not None or (not terms.inner and listeners.anybody_listens()):
            self._tell("gave_up", error, now, None, degraded=False)
        try:
            if group is not None:
                raise group from error
        finally:
            del group  # its traceback holds this frame

    def _note(self, elapsed: float, reason: str, wait: float) -> str:
        runs = "attempt" if self.number == 1 else "attempts"
        note = f"gave up after {self.number} {runs} in {elapsed:.1f} s"
        if reason == ATTEMPTS_SPENT:
            return note
        limit = self.terms.policy.give_up_after
        if reason != TIME_SPENT or limit is None or elapsed + wait < limit:  # the last: it was the baseline's limit
            return f"{note}, {reason}"
        if elapsed >= limit:
            return f"{note}, give_up_after={limit:g}"
        shown = f"{wait:.0f}" if wait >= 100 else f"{wait:.3g}"
        return f"{note}, give_up_after={limit:g}: the next wait of {shown} s would pass it"


def shut_for(breaker: Breaker, now: float) -> float:
    """Seconds for which a breaker that can tell, by a `snapshot`, surely lets nobody through; else 0."""
    look: Callable[[float], Snapshot] | None = getattr(breaker, "snapshot", None)
    return 0.0 if look is None else look(now).retry_after
