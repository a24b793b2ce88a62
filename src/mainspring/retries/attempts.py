"""The failed attempts of one call: what the drivers remember between attempts and leave on the error at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from mainspring.errors import RetriesExhausted, RetryTimeout
from mainspring.retries import pace
from mainspring.retries.policy import TIME_SPENT, Retry, Stop

KEPT: Final = 100
"""How many failures of one call are remembered, the newest; a call that is retried for ever must not grow."""

_RECORD: Final = "_mainspring_attempts"

_Failed = tuple[int, Exception, float, float]


class FailedAttempt(NamedTuple):
    """One failed run: its number (from 1), its error, and times in seconds.

    `seconds` is when it failed, from the start of the first attempt; without `give_up_after`, from the first
    failure, because a call that succeeds at once reads no clock. `wait` is the wait after it, None for the last.
    """

    number: int
    error: BaseException
    seconds: float
    wait: float | None


class Record:
    """What hangs on an error that was given up on. It does not refer to that error: no cycle keeps frames alive."""

    __slots__ = ("earlier", "last", "note", "number", "policy", "seconds")

    def __init__(self, earlier: tuple[_Failed, ...], number: int, seconds: float, note: str) -> None:
        self.earlier = earlier
        self.number = number
        self.seconds = seconds
        self.note = note
        self.policy: Retry | None = None
        self.last: BaseException | None = None  # None: the error that carries this record

    def __reduce__(self) -> tuple[object, ...]:
        """To another process goes the count alone: earlier errors may not be fit for the journey."""
        return Record, ((), self.number, self.seconds, self.note)


def attempts_of(error: BaseException) -> tuple[FailedAttempt, ...]:
    """Every failed attempt of the call that gave up with this error, in order; at most the newest 100.

    Empty for an error that no retry gave up on. An error that was pickled on its way keeps its last attempt only.

    >>> policy = Retry(on=KeyError, attempts=2)
    >>> failures = Failures(policy)
    >>> last = KeyError("again")
    >>> failures.add(KeyError("once"), now=0.0) is None, failures.add(last, now=1.5) is None
    (False, True)
    >>> [(attempt.number, attempt.error, attempt.seconds) for attempt in attempts_of(last)]
    [(1, KeyError('once'), 0.0), (2, KeyError('again'), 1.5)]
    """
    record = error.__dict__.get(_RECORD)
    if not isinstance(record, Record):
        return ()
    earlier = tuple(FailedAttempt(*failed) for failed in record.earlier)
    return (*earlier, FailedAttempt(record.number, record.last or error, record.seconds, None))


class Failures:
    """The failures of one call so far. Made at the first failure, or at the start when there is a time limit."""

    __slots__ = ("_counters", "_earlier", "_number", "_policy", "_started")

    def __init__(self, policy: Retry, started: float | None = None) -> None:
        self._policy = policy
        self._started = started
        self._counters: Mapping[str, int] = {}
        self._earlier: list[_Failed] = []
        self._number = 0

    def add(self, error: Exception, now: float) -> float | None:
        """Seconds to wait before the next attempt; None to let this error out, noted if it was given up on.

        Raises RetriesExhausted instead, for a policy with `raise_group=True`.
        """
        if self._started is None:
            self._started = now
        elapsed = now - self._started
        self._number += 1
        decision = self._policy.decide(error, self._counters, elapsed, random=pace.random)
        if isinstance(decision, Stop):
            if decision.gave_up:
                self._give_up(error, elapsed, decision.reason == TIME_SPENT)
            self.forget()
            return None
        self._counters = decision.counters
        self._earlier.append((self._number, error, elapsed, decision.seconds))
        if len(self._earlier) >= KEPT:  # with the one that may come last there are KEPT
            del self._earlier[0]
        return decision.seconds

    def timed_out(self, now: float) -> Exception:
        """The error for an attempt that was cut short by `give_up_after`; raised from the last error."""
        elapsed = now - (now if self._started is None else self._started)
        self._number += 1
        error = RetryTimeout(
            f"give_up_after={self._policy.give_up_after:g} passed during attempt {self._number}, after {elapsed:.1f} s"
        )
        error.__cause__ = self._earlier[-1][1] if self._earlier else None
        try:
            self._give_up(error, elapsed, in_time=True)
        except RetriesExhausted as group:
            return group
        finally:
            self.forget()
        return error

    def forget(self) -> None:
        """Let go of the errors: their tracebacks hold the frames that hold this object."""
        self._earlier.clear()

    def _give_up(self, error: Exception, elapsed: float, in_time: bool) -> None:
        runs = "attempt" if self._number == 1 else "attempts"
        note = f"gave up after {self._number} {runs} in {elapsed:.1f} s"
        if in_time:
            note += f", give_up_after={self._policy.give_up_after:g}"
        record = Record(tuple(self._earlier), self._number, elapsed, note)
        record.policy = self._policy
        if self._policy.raise_group:
            group = RetriesExhausted(note, [*(failed[1] for failed in self._earlier), error])
            record.last = error
            group.__dict__[_RECORD] = record
            self.forget()
            raise group from error
        _leave_on(error, record)


def _leave_on(error: Exception, record: Record) -> None:
    # An error object that is raised again and again must not collect a note for each call.
    before = error.__dict__.get(_RECORD)
    notes: list[str] = error.__dict__.get("__notes__", [])
    if isinstance(before, Record) and before.policy is record.policy and before.note in notes:
        notes.remove(before.note)
    # Straight into the dictionary: an error may be a frozen dataclass, which refuses attributes and add_note().
    error.__dict__["__notes__"] = [*notes, record.note]
    error.__dict__[_RECORD] = record
