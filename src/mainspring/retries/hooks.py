"""Who is told of retries: the hooks of a call, those of the whole process, and the log `mainspring.retries`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

from mainspring.errors import RetryDefinitionError
from mainspring.retries.value import Value, check_fields

if TYPE_CHECKING:
    import logging

_INFO: Final = 20
_ERROR: Final = 40


class RetryDetails(NamedTuple):
    """What a hook is told of a call; never its arguments or its result.

    `name` is the qualified name of the function; of a block, that of the function in which it stands, else "block".
    `attempt` (from 1) is the one that has just failed; in `recovered` the one that has succeeded, and `error` is then
    that of the attempt before it. `seconds` run from the start of the first attempt; without `give_up_after`, budget,
    breaker and baseline, from the first failure. `wait` are the seconds until the next attempt, None when there is
    none. `degraded`: only the baseline's policy for unknown errors wanted the wait.
    """

    name: str
    attempt: int
    error: BaseException
    seconds: float
    wait: float | None
    degraded: bool


Hook = Callable[[RetryDetails], object]
Moment = Literal["before_wait", "recovered", "gave_up"]


class Hooks(Value):
    """Functions to be told of the retries of a call, or with `set_hooks` of all calls. Each takes a `RetryDetails`.

    - `before_wait`: an attempt has failed, and another one follows after `details.wait` seconds (0 included). Not
      called for the last failure.
    - `recovered`: an attempt has succeeded after at least one that failed.
    - `gave_up`: a rule matched, but attempts, time, the retry budget or an open circuit allow no further attempt.
      Not called for a call whose first attempt an open circuit refuses: nothing was attempted, and nothing is logged;
      the breaker's `snapshot`, and the `CircuitOpen` that is raised, tell of that.

    They are called in the thread or task of the call, off the path of calls that succeed at once, and should be
    quick; what they return is ignored. One that raises an `Exception` is logged, and the call goes on as if it had
    not. Raises RetryDefinitionError for what cannot be called, and for async functions: nobody would await them.

    >>> seen = []
    >>> from mainspring.retries import retry
    >>> @retry(on=OSError, attempts=2, backoff=lambda index: 0, hooks=Hooks(before_wait=seen.append))
    ... def ask() -> str:
    ...     if not seen:
    ...         raise OSError("down")
    ...     return "up"
    >>> ask(), [(details.name, details.attempt, details.error) for details in seen]
    ('up', [('ask', 1, OSError('down'))])
    """

    __slots__ = ("before_wait", "gave_up", "recovered")
    before_wait: Hook | None
    recovered: Hook | None
    gave_up: Hook | None

    if not TYPE_CHECKING:  # hidden from type checkers, which know the fields by `__init__`

        def __new__(cls, *_: object, **given: object) -> Self:
            check_fields(cls, given, RetryDefinitionError)
            return super().__new__(cls)

    def __init__(
        self, before_wait: Hook | None = None, recovered: Hook | None = None, gave_up: Hook | None = None
    ) -> None:
        for name, hook in (("before_wait", before_wait), ("recovered", recovered), ("gave_up", gave_up)):
            _check(name, hook)
        self._set(before_wait, recovered, gave_up)


_everywhere: tuple[Hooks, ...] = ()
_log: logging.Logger | None = None


def set_hooks(*hooks: Hooks) -> tuple[Hooks, ...]:
    """Tell these of every call in the process, beside the hooks of the call itself; returns those told until now.

    Without arguments nobody is told any more. The retries of `retry`, `retrying` and `background` are told of; jobs
    and services have events and logs of their own. Threads may call it at any time.

    >>> before = set_hooks(Hooks(gave_up=print))
    >>> set_hooks(*before)
    (Hooks(before_wait=None, recovered=None, gave_up=<built-in function print>),)
    """
    global _everywhere  # hooks of the process are nothing else
    for each in hooks:
        checked_hooks(each)
    before, _everywhere = _everywhere, hooks
    return before


def checked_hooks(hooks: object) -> Hooks:
    """The hooks themselves. Raises RetryDefinitionError for anything else."""
    if not isinstance(hooks, Hooks):
        raise RetryDefinitionError(f"hooks must be Hooks(before_wait=…, recovered=…, gave_up=…), not {hooks!r}")
    return hooks


def anybody_listens() -> bool:
    """Whether hooks of the process or the log want to hear of retries; else nothing is made for them."""
    if _everywhere:
        return True
    log = _log or _log_if_loaded()
    return log is not None and log.isEnabledFor(_INFO)


def tell(moment: Moment, details: RetryDetails, hooks: Hooks | None, *, everywhere: bool = True) -> None:
    """Tell the log and every hook. `everywhere` False: the hooks of the call alone."""
    if everywhere:
        _write(moment, details)
    for each in (hooks, *_everywhere) if everywhere else (hooks,):
        hook: Hook | None = None if each is None else getattr(each, moment)
        if hook is not None:
            try:
                hook(details)
            except Exception:  # noqa: BLE001  # a hook must not decide how a call ends
                log_of_retries().exception("%s: the hook %s failed: %r", details.name, moment, hook)


def log_of_retries() -> logging.Logger:
    """The logger `mainspring.retries`; loads `logging`, which a program without it has not paid for until now."""
    global _log  # noqa: PLW0603  # looked up once
    if _log is None:
        import logging  # noqa: PLC0415  # slow to load, and needed for what must not be missed only

        _log = logging.getLogger("mainspring.retries")
    return _log


def _log_if_loaded() -> logging.Logger | None:
    # A program that never loaded logging has nobody who reads it.
    return log_of_retries() if "logging" in sys.modules else None


def _write(moment: Moment, details: RetryDetails) -> None:
    level = _ERROR if details.degraded else _INFO
    log = log_of_retries() if details.degraded else _log or _log_if_loaded()
    if log is None or not log.isEnabledFor(level):
        return
    name, attempt, error = details.name, details.attempt, _text_of(details.error)
    match moment:
        case "before_wait":
            again = "unknown error, again" if details.degraded else "again"
            log.log(level, "%s: attempt %d failed, %s in %.3g s: %s", name, attempt, again, details.wait, error)
        case "recovered":
            log.log(level, "%s: attempt %d succeeded after %.3g s", name, attempt, details.seconds)
        case "gave_up":
            log.log(level, "%s: gave up after attempt %d in %.3g s: %s", name, attempt, details.seconds, error)


def _text_of(error: BaseException) -> str:
    """Class and text of an error, whose `__str__` may be the user's and fail."""
    kind = type(error).__qualname__
    try:
        return f"{kind}: {error}"
    except Exception:  # noqa: BLE001  # the log of a failure must not be another one
        return kind


def _check(name: str, hook: object) -> None:
    if hook is None:
        return
    if not callable(hook):
        raise RetryDefinitionError(f"{name} must be a function of a RetryDetails, not {hook!r}")
    from inspect import iscoroutinefunction  # noqa: PLC0415  # slow to load, and needed for hooks only

    if iscoroutinefunction(hook) or iscoroutinefunction(getattr(type(hook), "__call__", None)):  # noqa: B004  # not whether, but what
        raise RetryDefinitionError(f"{name}: {hook!r} is async, and nobody would await it; start a task in a hook")
