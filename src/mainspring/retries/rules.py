"""One rule of a policy: which errors it is for, how often, how long to wait, and the key it is counted under."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self, cast

from mainspring.errors import InvalidPolicy
from mainspring.retries.backoff import DEFAULT_BACKOFF, Backoff, checked_backoff
from mainspring.retries.errorsets import ErrorSet, checked_class, qualified_name
from mainspring.retries.value import Value, check_fields

Predicate = Callable[[BaseException], bool]
On = type[BaseException] | tuple[type[BaseException], ...] | ErrorSet | Predicate
"""Which errors: a class, a tuple of classes, an `ErrorSet`, or a predicate."""

# Keys that Mainspring makes itself: by position, and for what a baseline decided.
_OUR_PREFIXES = ("rule:", "baseline:")


class Rule(Value):
    """Errors that are worth another attempt, with their own count and backoff.

    `on` is explicit: a class, a tuple of classes, an `ErrorSet` such as `TRANSIENT`, or a predicate. With
    `causes=True` the rule is also for an error that was raised `from` one of these, and for an ExceptionGroup of
    which every leaf is one: a single permanent error makes the whole group permanent. The rule gives up
    at its `attempts`-th matching failure (default 5; `None` = never). `backoff` is by default
    `jittered(exponential(1, cap=30))`. Failures are counted under `key`: by default the qualified name of the
    class or predicate, the tuple's names joined by `|`, the set's name. A lambda without a key is counted by its
    place in the policy, `rule:0`, which changes when rules are moved.

    A backoff of your own is called here, with index 0, to see that it gives seconds: it should have no effects. When
    it fails later, or gives no seconds, that is logged, and the wait is that of the default one; below 0 counts as 0.

    Raises InvalidPolicy naming the field that cannot mean anything.

    >>> Rule(OSError, attempts=3).key
    'builtins.OSError'
    """

    __slots__ = ("attempts", "backoff", "causes", "key", "on")
    on: On
    attempts: int | None
    backoff: Backoff
    key: str
    causes: bool

    if not TYPE_CHECKING:  # hidden from type checkers, which know the fields by `__init__`

        def __new__(cls, *_: object, **given: object) -> Self:
            check_fields(cls, given)
            return super().__new__(cls)

    def __init__(
        self,
        on: On,
        attempts: int | None = 5,
        backoff: Backoff | None = None,
        key: str | None = None,
        *,
        causes: bool = False,
    ) -> None:
        derived = _checked_on(on)
        chosen_backoff = DEFAULT_BACKOFF if backoff is None else checked_backoff(backoff)
        chosen_key = derived if key is None else _checked_key(key)
        self._set(on, checked_attempts(attempts), chosen_backoff, chosen_key, checked_flag("causes", causes))

    def matches(self, error: BaseException) -> bool:
        """Whether the rule is for this error."""
        if not self.causes:
            return self.matches_itself(error)
        try:
            return _matches_within(self, error, {})
        except RecursionError:  # hundreds of groups in each other: nobody meant that to be retried
            return False

    def matches_itself(self, error: BaseException) -> bool:
        """Whether the rule is for this very error, whatever it was raised from."""
        on = self.on
        if isinstance(on, (type, tuple)):  # `type | tuple` is made anew each time
            return isinstance(error, on)
        return on.matches(error) if isinstance(on, ErrorSet) else bool(on(error))

    def stored(self, backoff: Backoff) -> Rule:
        """The rule with a backoff that was checked before it was stored: reading it must not call it."""
        return Rule._made(self.on, self.attempts, backoff, self.key, self.causes)

    def covers(self, other: Rule) -> bool:
        """Whether it is surely for all errors that the other is for: told of rules for classes only."""
        classes, wanted = _classes(self.on), _classes(other.on)
        if Exception in classes:
            return True
        if other.causes and not self.causes:
            return False
        return bool(wanted) and all(issubclass(cls, classes) for cls in wanted)

    def placed(self, index: int) -> Rule:
        """The rule with a key: its own, or that of its place in a policy."""
        if self.key:
            return self
        return Rule._made(self.on, self.attempts, self.backoff, f"rule:{index}", self.causes)


def _classes(on: On) -> tuple[type[BaseException], ...]:
    if isinstance(on, tuple):
        return (*on,)  # pyright: ignore[reportUnknownVariableType]  # `isinstance` tells it of no members
    return (on,) if isinstance(on, type) else ()


def _matches_within(rule: Rule, error: BaseException, known: dict[int, bool]) -> bool:
    """Whether the rule is for this error, for every leaf of it when it is a group, or for what it was raised from."""
    place, cause = id(error), error.__cause__
    found = known.get(place)
    if found is None:
        known[place] = False  # a cycle of causes proves nothing
        found = isinstance(error, Exception) and rule.matches_itself(error)
        if not found and isinstance(error, BaseExceptionGroup):
            leaves = cast("BaseExceptionGroup[BaseException]", error).exceptions
            found = all(_matches_within(rule, leaf, known) for leaf in leaves)
        if not found and cause is not None:
            found = _matches_within(rule, cause, known)
        known[place] = found
    return found


def checked_attempts(attempts: object) -> int | None:
    """The count itself. Raises InvalidPolicy unless it is a whole number above 0, or None."""
    if attempts is None:
        return None
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise InvalidPolicy(
            f"attempts must be a whole number of runs, 1 or more, or None for unlimited; not {attempts!r}"
        )
    return attempts


def checked_flag(field: str, flag: object) -> bool:
    """The flag itself. Raises InvalidPolicy naming `field` unless it is True or False: a text such as "no" is true."""
    if not isinstance(flag, bool):
        raise InvalidPolicy(f"{field} must be True or False, not {flag!r}")
    return flag


def _checked_key(key: object) -> str:
    if not isinstance(key, str) or not key or key.startswith(_OUR_PREFIXES):
        raise InvalidPolicy(f"key must be a text that does not begin with {' or '.join(_OUR_PREFIXES)}: {key!r}")
    return key


def _checked_on(on: object) -> str:
    """The key of what a rule is for; empty when it has no name of its own."""
    if isinstance(on, type):
        return qualified_name(checked_class(on))
    if isinstance(on, tuple):
        classes = cast("tuple[object, ...]", on)
        if not classes:
            raise InvalidPolicy("on: an empty tuple matches nothing; for no retries write attempts=1")
        return "|".join(qualified_name(checked_class(cls)) for cls in classes)
    if isinstance(on, ErrorSet):
        return _checked_key(on.name)
    if not callable(on):
        raise InvalidPolicy(f"on must be an error class, a tuple of them, an ErrorSet or a predicate, not {on!r}")
    from inspect import iscoroutinefunction  # noqa: PLC0415  # slow to load; a rule for classes needs it not

    if iscoroutinefunction(on):
        raise InvalidPolicy(f"on: the predicate {on!r} is async; its coroutine would match every error")
    module, name = getattr(on, "__module__", None), getattr(on, "__qualname__", None)
    return f"{module}.{name}" if module and name and "<lambda>" not in name else ""
