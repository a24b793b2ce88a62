"""Triggers to and from plain data, as stores keep them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, cast

from mainspring.errors import InvalidTrigger
from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every, Once
from mainspring.model.triggers import Except, Trigger, Union

KIND: Final = "trigger"
"""The key under which plain data name the kind of a trigger."""

_OURS: Final[tuple[type[Trigger], ...]] = (Every, Cron, Daily, Once, Union, Except)


class TriggerKinds:
    """The kinds of triggers that can be stored: ours, and the classes given. Immutable.

    Raises InvalidTrigger for a class that is no Trigger, has no `kind`, or one that is taken.

    >>> kinds = TriggerKinds()
    >>> plain = kinds.to_plain(Every(60) | Cron("@daily"))
    >>> plain["trigger"], kinds.from_plain(plain) == Every(60) | Cron("0 0 * * *")
    ('union', True)
    """

    __slots__ = ("_classes",)
    _classes: Mapping[str, type[Trigger]]

    def __init__(self, *own: type[Trigger]) -> None:
        classes: dict[str, type[Trigger]] = {}
        for cls in (*_OURS, *own):
            _check_class(cls)
            if classes.setdefault(cls.kind, cls) is not cls:
                raise InvalidTrigger(f"the kind {cls.kind!r} is taken by {classes[cls.kind].__name__}; use another")
        self._classes = MappingProxyType(classes)

    def to_plain(self, trigger: Trigger) -> dict[str, object]:
        """JSON values that `from_plain` makes the same trigger of. Raises InvalidTrigger for a kind it was not given."""
        _check_trigger(trigger)
        if self._classes.get(trigger.kind) is not type(trigger):
            raise InvalidTrigger(f"{type(trigger).__name__} is no known kind of trigger; {self._hint()}")
        return {KIND: trigger.kind, **{name: self._plain(value) for name, value in trigger.to_plain().items()}}

    def from_plain(self, plain: object) -> Trigger:
        """The trigger of such data. Raises InvalidTrigger for an unknown kind, or fields that it does not take."""
        trigger = self._value(plain)
        if not isinstance(trigger, Trigger):
            raise InvalidTrigger(f"no trigger in {plain!r}: plain data have the key {KIND!r} with its kind")
        return trigger

    def _plain(self, value: object) -> object:
        match value:
            case Trigger():
                return self.to_plain(value)
            case tuple() | list():
                return [self._plain(item) for item in cast("list[object]", value)]
            case _:
                return value

    def _value(self, plain: object) -> object:
        match plain:
            case dict() if KIND in plain:
                fields = cast("dict[str, object]", plain)
                return self._trigger({name: self._value(value) for name, value in fields.items()})
            case tuple() | list():
                return tuple(self._value(item) for item in cast("list[object]", plain))
            case _:
                return plain

    def _trigger(self, values: dict[str, object]) -> Trigger:
        kind = values.pop(KIND)
        cls = self._classes.get(kind) if isinstance(kind, str) else None
        if cls is None:
            raise InvalidTrigger(f"unknown kind of trigger {kind!r}; {self._hint()}")
        try:
            return cls.from_plain(values)
        except TypeError as error:
            raise InvalidTrigger(f"no {kind!r} trigger can be made of {values!r}: {error}") from error

    def _hint(self) -> str:
        return f"known are {', '.join(sorted(self._classes))}; add your own with App(triggers=[YourTrigger])"


def _check_class(cls: object) -> None:
    if not (isinstance(cls, type) and issubclass(cls, Trigger)):
        raise InvalidTrigger(f"{cls!r} is no class of triggers; derive it from Trigger")
    if not cls.kind:
        raise InvalidTrigger(f"{cls.__name__} has no kind; give it one: kind: ClassVar[str] = 'lunar'")


def _check_trigger(trigger: object) -> None:
    if not isinstance(trigger, Trigger):
        raise InvalidTrigger(f"a trigger is needed, such as Every(60) or Cron('@daily'); not {trigger!r}")
