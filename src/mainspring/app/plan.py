"""What an app knows of schedules: the kinds of triggers, and what its code declares. Loads triggers when they are used."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast, get_args

from mainspring.errors import InvalidOption, TaskDefinitionError

if TYPE_CHECKING:
    from mainspring.app.schedule_options import ScheduleSpec
    from mainspring.model.trigger_kinds import TriggerKinds
    from mainspring.model.triggers import Trigger

Vanished = Literal["pause", "remove", "keep"]
"""What becomes of a schedule that code has declared and declares no more."""

OnRestart = Literal["resume", "cancel"]
"""What becomes of the jobs of schedules that an earlier life of the fleet has left."""

SCRIPT: Final = "__main__"


class Declared(NamedTuple):
    """A schedule as code declares it, and the package of that code."""

    spec: ScheduleSpec
    code: str


class Declarations(NamedTuple):
    """What an app declares; and the packages of its tasks, whose other schedules have vanished."""

    schedules: Mapping[str, Declared]
    codes: Collection[str]
    vanished: Vanished


class Plan:
    """The declared schedules of one app. Raises InvalidOption and InvalidTrigger for settings that cannot be meant."""

    def __init__(self, triggers: Sequence[type[Trigger]], vanished: Vanished, on_restart: OnRestart) -> None:
        for name, value, known in (
            ("vanished", vanished, get_args(Vanished)),
            ("on_restart", on_restart, get_args(OnRestart)),
        ):
            if value not in known:
                raise InvalidOption(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}")
        if not isinstance(triggers, Iterable):
            raise InvalidOption(f"triggers is a list of classes, as in App(triggers=[NewMoon]); not {triggers!r}")
        self._own = tuple(triggers)
        self._kinds: TriggerKinds | None = None
        self._declared: dict[str, Declared] = {}
        self._vanished: Vanished = vanished
        self.on_restart: OnRestart = on_restart
        if self._own:
            _ = self.kinds  # a class that cannot be one is refused here

    @property
    def kinds(self) -> TriggerKinds:
        """The kinds of triggers that its schedules may have."""
        if self._kinds is None:
            from mainspring.model.trigger_kinds import TriggerKinds  # noqa: PLC0415  # 20 ms that a producer can do without

            self._kinds = TriggerKinds(*self._own)
        return self._kinds

    def add(self, declared: Declared) -> None:
        """One more. Raises TaskDefinitionError for an id that is taken, InvalidTrigger for an unknown kind."""
        schedule = declared.spec.id
        if schedule in self._declared:
            raise TaskDefinitionError(f"there is a schedule {schedule!r} in this app already; give one another id=")
        declared.spec.definition(self.kinds)
        self._declared[schedule] = declared

    def declarations(self, functions: Iterable[Callable[..., object]]) -> Declarations:
        """What is declared now, by an app with the tasks of these functions."""
        return Declarations(self._declared, frozenset(map(code_of, functions)), self._vanished)


def code_of(fn: Callable[..., object]) -> str:
    """The top-level package that a function is from; of a script its file's name without the ending."""
    while isinstance(fn, functools.partial):
        fn = cast("Callable[..., object]", fn.func)
    module: str = getattr(fn, "__module__", None) or type(fn).__module__
    if module == SCRIPT:
        main = sys.modules[SCRIPT]
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        module = spec.name if spec is not None else Path(file).stem if file else module
    return module.partition(".")[0]
