"""Two switches for the whole process: retries off, and retries without waits, for tests.

They concern `retry`, `retrying` and `background`. Jobs, services and the engine's own loops keep their policies:
what a store was promised does not depend on a switch.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from mainspring.retries.backoff import checked_count
from mainspring.retries.value import Value


class Switched(Value):
    """How the switches are set; `capped` are the attempts while testing, None when not testing."""

    __slots__ = ("active", "capped")
    active: bool
    capped: int | None

    def __init__(self, active: bool = True, capped: int | None = None) -> None:
        self._set(active, capped)


state: Switched | None = None
"""None: as a process begins. The drivers look here after each failure, and at nothing else until it is not None."""


def set_active(active: bool) -> None:
    """Turn retries off, or on again, for the whole process.

    Off means one attempt: its error is raised unchanged, without a note, and no hook or log is told. What is not a
    retry goes on: `give_up_after` still cuts an async attempt short, an open circuit still lets nobody in, and a
    breaker still hears of failures that a rule or the baseline knows.

    It concerns calls that fail from now on, also those under way. Threads may call it at any time.

    >>> set_active(False)
    >>> is_active()
    False
    >>> set_active(True)
    """
    _set(Switched(bool(active), _switched().capped))


def is_active() -> bool:
    """Whether failed calls are tried again; True unless `set_active(False)` was called."""
    return _switched().active


def set_testing(testing: bool, *, attempts: int = 1) -> SwitchBack:
    """For tests: no wait before any retry, and at most `attempts` attempts, for the whole process.

    Rules keep their own counts: one that gives up earlier still does. Backoff and hint are not asked, and no wait that is
    not made counts against `give_up_after`. A call that is stopped by this cap gives up as with any other limit: note,
    `attempts_of` and hooks are those of a real end; a retry budget pays only for retries that are made.
    `set_testing(False)` ends it.

    Used in a `with`, it is undone at the end: what was set before, also by an outer `with`, is set again.

    Raises InvalidPolicy unless `attempts` is a whole number above 0.

    >>> with set_testing(True, attempts=2):
    ...     is_testing()
    True
    >>> is_testing()
    False
    """
    capped = checked_count("attempts", attempts)  # None is refused as 0 is: a test must end
    before = _switched()
    _set(Switched(before.active, capped if testing else None))
    return SwitchBack(before)


def is_testing() -> bool:
    """Whether `set_testing(True)` is in force."""
    return _switched().capped is not None


class SwitchBack:
    """What `set_testing` returns: as a context manager, it restores at the end what was set before."""

    __slots__ = ("_before",)

    def __init__(self, before: Switched) -> None:
        self._before = before

    def __enter__(self) -> None:
        """Nothing: it is set already."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _set(Switched(is_active(), self._before.capped))


_AT_FIRST: Final = Switched()


def _switched() -> Switched:
    return state or _AT_FIRST  # read once: another thread may switch meanwhile


def _set(switched: Switched) -> None:
    global state  # noqa: PLW0603  # a switch of the process is nothing else
    state = None if switched == _AT_FIRST else switched
