"""How long to wait before the next attempt.

A backoff is any `Callable[[int], float]`: from the 0-based index of the retry to seconds. Ours are frozen values, so
that they can be compared and stored. Only `Jittered` needs randomness; `delay_of` gives it, and stays pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from types import CoroutineType
from typing import Final, Literal, cast

from mainspring.clock import Duration
from mainspring.errors import InvalidPolicy
from mainspring.retries.value import Value

Backoff = Callable[[int], float]
"""From the 0-based index of a retry to the seconds before it."""

JitterKind = Literal["full", "proportional", "additive"]

LONGEST_WAIT: Final = 3_155_760_000.0
"""Seconds, about 100 years: what no wait exceeds. A sleep takes it, and a date of a store can hold its end."""


class Constant(Value):
    """The same wait each time; see `constant`."""

    __slots__ = ("seconds",)
    seconds: float

    def __init__(self, seconds: float) -> None:
        self._set(seconds)

    def __call__(self, index: int) -> float:
        """Seconds before retry `index` (0-based)."""
        return self.seconds if index >= 0 else 0.0


class Linear(Value):
    """Waits that grow by the same step; see `linear`."""

    __slots__ = ("cap", "initial")
    initial: float
    cap: float | None

    def __init__(self, initial: float, cap: float | None) -> None:
        self._set(initial, cap)

    def __call__(self, index: int) -> float:
        """Seconds before retry `index` (0-based)."""
        return _capped(self.initial * (index + 1), self.cap)


class Exponential(Value):
    """Waits that grow by the same factor; see `exponential`."""

    __slots__ = ("cap", "factor", "initial")
    initial: float
    cap: float | None
    factor: float

    def __init__(self, initial: float, cap: float | None, factor: float) -> None:
        self._set(initial, cap, factor)

    def __call__(self, index: int) -> float:
        """Seconds before retry `index` (0-based)."""
        try:
            grown = self.initial * self.factor**index
        except OverflowError:
            grown = LONGEST_WAIT
        return _capped(grown, self.cap)


class Jittered(Value):
    """Another backoff, spread by chance; see `jittered`."""

    __slots__ = ("amount", "backoff", "cap", "kind")
    backoff: Backoff
    kind: JitterKind
    amount: float
    cap: float | None

    def __init__(self, backoff: Backoff, kind: JitterKind, amount: float, cap: float | None) -> None:
        self._set(backoff, kind, amount, cap)

    def __call__(self, index: int) -> float:
        """Seconds before retry `index` (0-based), drawn from the `random` module."""
        from random import random  # noqa: PLC0415  # costs as much as all the retries; most programs never come here

        return self.delay(index, random)

    def delay(self, index: int, random: Callable[[], float]) -> float:
        """Seconds before retry `index` (0-based), drawn from `random`, which gives numbers in [0, 1)."""
        wait = told_delay(self.backoff, index, random)
        match self.kind:
            case "full":
                wait *= random()
            case "proportional":
                wait *= 1.0 + self.amount * (2.0 * random() - 1.0)
            case "additive":
                wait += self.amount * random()
        return _capped(max(wait, 0.0), self.cap)


def constant(wait: Duration) -> Constant:
    """The same wait before every retry. 0 retries at once. Raises InvalidPolicy for a negative wait.

    >>> constant(2)(7)
    2.0
    """
    return Constant(checked_seconds("wait", wait, zero=True))


def linear(initial: Duration, cap: Duration | None = None) -> Linear:
    """`initial`, then twice, three times that, never above `cap`. Raises InvalidPolicy unless `initial` > 0.

    >>> [linear(0.1, cap=0.25)(index) for index in range(3)]
    [0.1, 0.2, 0.25]
    """
    return Linear(checked_seconds("initial", initial), _checked_cap(cap))


def exponential(initial: Duration = 1, cap: Duration | None = 30, factor: float = 2) -> Exponential:
    """`initial`, then each time `factor` times more, never above `cap`.

    `cap=None` (or 0) means no cap but `LONGEST_WAIT`. Without jitter: see `jittered`. Raises InvalidPolicy unless
    `initial` > 0 and `factor` > 1.

    >>> [exponential(1, cap=5)(index) for index in range(4)]
    [1.0, 2.0, 4.0, 5.0]
    """
    return Exponential(checked_seconds("initial", initial), _checked_cap(cap), _checked_factor(factor))


def jittered(
    backoff: Backoff | None = None,
    kind: JitterKind = "full",
    amount: Duration | None = None,
    *,
    cap: Duration | None = None,
) -> Jittered:
    """A backoff spread by chance, so that many callers that failed together do not come back together.

    With the inner wait `w` and a fresh `u` in [0, 1):

    - `"full"`: `w * u`. Spreads best, also at the cap, and is the default.
    - `"proportional"`: `w` ± up to the share `amount` of it (default 0.1; above 1 counts as 1).
    - `"additive"`: `w` plus up to `amount` seconds (default 1).

    Jitter comes first, then the cap: `cap`, or that of the inner backoff when it has one. Raises InvalidPolicy
    when there is no backoff to spread, and for a kind or an amount that means nothing.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    >>> jittered(exponential(1, cap=30), "proportional", 0.5).delay(1, random=lambda: 0.0)
    1.0
    """
    if not callable(backoff):
        raise InvalidPolicy(f"backoff of jittered(…) must be a backoff such as exponential(), not {backoff!r}")
    checked_backoff(backoff)
    if cap is None:
        inner: float | None = getattr(backoff, "cap", None)
        return Jittered(backoff, kind, _checked_amount(kind, amount), inner)
    return Jittered(backoff, kind, _checked_amount(kind, amount), _checked_cap(cap))


def delay_of(backoff: Backoff, index: int, random: Callable[[], float]) -> float:
    """The wait of any backoff in seconds, between 0 and `LONGEST_WAIT`; `random` is asked for jitter only.

    A user's own that fails, or gives no seconds, counts as `DEFAULT_BACKOFF`: it must not hide the error that it was
    asked about. See `told_delay`.
    """
    try:
        return told_delay(backoff, index, random)
    except Exception:  # noqa: BLE001  # code of the user's own
        return DEFAULT_BACKOFF.delay(index, random)


def told_delay(backoff: Backoff, index: int, random: Callable[[], float]) -> float:
    """`delay_of`, of which a user's own backoff may fail. Raises what that raises, and InvalidPolicy for no number."""
    wait = backoff.delay(index, random) if isinstance(backoff, Jittered) else backoff(index)
    try:
        if 0.0 <= wait <= LONGEST_WAIT:
            return wait
    except TypeError:
        raise InvalidPolicy(f"the backoff {backoff!r} must give seconds, a number, not {wait!r}") from None
    # From a user's own backoff: NaN becomes 0 as well, rather than a sleep that fails.
    return LONGEST_WAIT if wait > 0 else 0.0


def checked_backoff(backoff: object) -> Backoff:
    """The backoff itself. Raises InvalidPolicy unless it is a function that gives seconds, 0 or more.

    One of the user's own is called for the wait before the first retry, to see what it gives; an exception of its own
    is no reason to refuse it.
    """
    if isinstance(backoff, Constant | Linear | Exponential | Jittered):
        return backoff
    ours = next((name for name, function in _MAKERS.items() if backoff is function), None)
    if ours is not None:
        raise InvalidPolicy(f"backoff: {ours.partition('(')[0]} makes backoffs, and is none itself; write {ours}")
    if not callable(backoff):
        wanted = f"constant({backoff})" if isinstance(backoff, int | float) else "constant(2) or exponential()"
        raise InvalidPolicy(f"backoff must be a function such as {wanted}, not {backoff!r}")
    _refuse_first(backoff)
    return cast("Backoff", backoff)


def _refuse_first(backoff: Callable[..., object]) -> None:
    try:
        first = backoff(0)
    except Exception as error:  # noqa: BLE001  # of its own, and perhaps for the first wait only
        if isinstance(error, TypeError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise InvalidPolicy(f"backoff {backoff!r} must take the index of the retry, from 0 ({error})") from None
        return
    if isinstance(first, CoroutineType):
        first.close()
        raise InvalidPolicy(f"backoff {backoff!r} is async; it must answer at once")
    if not isinstance(first, int | float):
        raise InvalidPolicy(f"backoff must give seconds, a number; {backoff!r} gives {first!r}")
    if not first >= 0:
        raise InvalidPolicy(f"backoff must give 0 seconds or more; {backoff!r} gives {first!r}")


def checked_seconds(field: str, duration: object, *, zero: bool = False) -> float:
    """A duration as seconds. Raises InvalidPolicy naming `field` unless it is finite and > 0 (`zero`: >= 0)."""
    if isinstance(duration, bool) or not isinstance(duration, int | float | timedelta):
        raise InvalidPolicy(f"{field} must be seconds or a timedelta, not {duration!r}")
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= seconds < math.inf or (seconds == 0 and not zero):
        raise InvalidPolicy(f"{field} must be {'0 or more' if zero else 'above 0'} and finite, not {duration!r}")
    return seconds


def checked_count(field: str, count: object) -> int:
    """A count. Raises InvalidPolicy naming `field` unless it is a whole number, 1 or more."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidPolicy(f"{field} must be a whole number, 1 or more; not {count!r}")
    return count


def _capped(wait: float, cap: float | None) -> float:
    return min(wait, LONGEST_WAIT if cap is None else cap)


def _checked_factor(factor: object) -> float:
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 < factor < math.inf:
        raise InvalidPolicy(f"factor must be a number above 1, not {factor!r}; for equal waits use constant(…)")
    return float(factor)


def _checked_cap(cap: Duration | None) -> float | None:
    """0 is no cap, as it is in the seeds (BKO-004): a cap of nothing would only hide a backoff."""
    if cap is None:
        return None
    return checked_seconds("cap", cap, zero=True) or None


def _checked_amount(kind: str, amount: Duration | None) -> float:
    if kind not in {"full", "proportional", "additive"}:
        raise InvalidPolicy(f"kind of jitter must be 'full', 'proportional' or 'additive', not {kind!r}")
    if kind == "full":
        if amount is not None:
            raise InvalidPolicy("amount means nothing for full jitter; leave it out")
        return 1.0
    if amount is None:
        return 0.1 if kind == "proportional" else 1.0
    seconds = checked_seconds("amount", amount, zero=True)
    return min(seconds, 1.0) if kind == "proportional" else seconds


DEFAULT_BACKOFF: Final = jittered(exponential())
"""1, 2, 4, … up to 30 s, each times a number in [0, 1): full jitter."""

# How a maker is to be called, when it was given in place of what it makes.
_MAKERS: Final[dict[str, Callable[..., object]]] = {
    "constant(2)": constant,
    "linear(1)": linear,
    "exponential()": exponential,
    "jittered()": jittered,
}
