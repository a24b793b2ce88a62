"""What a call that gave up leaves on its error: a note, and the attempts that it made."""

from __future__ import annotations

from typing import Final, NamedTuple, cast

KEPT: Final = 100
"""How many failures of one call are remembered, the newest; a call that is retried for ever must not grow."""

Failed = tuple[int, Exception, float, float]
"""A `FailedAttempt` that was followed by another attempt, before anybody asks for it."""

_RECORD: Final = "_mainspring_attempts"


class FailedAttempt(NamedTuple):
    """One failed run: its number (from 1), its error, and times in seconds.

    `seconds` is when it failed, from the start of the first attempt. Without `give_up_after`, budget, breaker and
    baseline it is from the first failure, because such a call, if it succeeds at once, reads no clock. `wait` is the wait after it, None for the last.
    """

    number: int
    error: BaseException
    seconds: float
    wait: float | None


class Record:
    """What hangs on an error that was given up on. It does not refer to that error: no cycle keeps frames alive."""

    __slots__ = ("earlier", "last", "note", "number", "policy", "seconds")

    def __init__(self, earlier: tuple[Failed, ...], number: int, seconds: float, note: str) -> None:
        self.earlier = earlier
        self.number = number
        self.seconds = seconds
        self.note = note
        self.policy: object = None
        self.last: BaseException | None = None  # None: the error that carries this record

    def __reduce__(self) -> tuple[object, ...]:
        """To another process goes the count alone: earlier errors may not be fit for the journey."""
        return Record, ((), self.number, self.seconds, self.note)

    def leave_on(self, error: Exception, policy: object) -> None:
        """Give the error its note, and this record for `attempts_of`."""
        self.policy = policy
        # An error object that is raised again and again must not collect a note for each call.
        before = error.__dict__.get(_RECORD)
        found: object = error.__dict__.get("__notes__")
        notes = list(cast("list[str]", found)) if isinstance(found, list) else []
        if isinstance(before, Record) and before.policy is policy and before.note in notes:
            notes.remove(before.note)
        # Straight into the dictionary: an error may be a frozen dataclass, which refuses attributes and add_note().
        error.__dict__["__notes__"] = [*notes, self.note]
        error.__dict__[_RECORD] = self

    def leave_on_group(self, group: Exception, last: Exception) -> None:
        """Give the group this record; the note is its text already."""
        self.last = last
        group.__dict__[_RECORD] = self

    def attempts(self, error: BaseException) -> tuple[FailedAttempt, ...]:
        """All of them, the last with the error that carries this record."""
        earlier = tuple(FailedAttempt(*failed) for failed in self.earlier)
        return (*earlier, FailedAttempt(self.number, self.last or error, self.seconds, None))


def attempts_of(error: BaseException) -> tuple[FailedAttempt, ...]:
    """Every failed attempt of the call that gave up with this error, in order; at most the newest 100.

    Empty for an error that no retry gave up on. An error that was pickled on its way keeps its last attempt only.

    >>> from mainspring.retries import constant, retry
    >>> @retry(on=KeyError, attempts=2, backoff=constant(0))
    ... def ask() -> str:
    ...     raise KeyError("nobody there")
    >>> try:
    ...     ask()
    ... except KeyError as error:
    ...     [(attempt.number, attempt.error, attempt.wait) for attempt in attempts_of(error)]
    [(1, KeyError('nobody there'), 0.0), (2, KeyError('nobody there'), None)]
    """
    record = error.__dict__.get(_RECORD)
    return record.attempts(error) if isinstance(record, Record) else ()
