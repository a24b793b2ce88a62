"""The base of the immutable values here.

They would be frozen slotted dataclasses as elsewhere, but those cost 12 ms when `retry` alone is imported: each
is compiled anew, and `dataclasses` loads `inspect`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import ClassVar, NoReturn, Self, dataclass_transform

from mainspring.errors import InvalidPolicy, MainspringError


@dataclass_transform(frozen_default=True)  # so that type checkers refuse to set a field
class Value:
    """Compared, hashed, shown and pickled by its annotated fields, which are slots and set once, by `_set`."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    _setters: ClassVar[tuple[Callable[[object, object], None], ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        # Setting through the slots themselves takes half the time of `object.__setattr__`.
        cls._setters = tuple(vars(cls)[name].__set__ for name in cls._fields)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, Value):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in zip(self._fields, self._values(), strict=True))
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self)._made, self._values()  # noqa: SLF001  # our own

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__qualname__} is immutable: {name} cannot be set; make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__qualname__} is immutable: {name} cannot be deleted")

    @classmethod
    def _made(cls, *values: object) -> Self:
        """One of these fields, in their order, around the constructor, which checks what a user gives."""
        made = cls.__new__(cls)
        made._set(*values)  # noqa: SLF001  # our own
        return made

    def _set(self, *values: object) -> None:
        """Fill the fields, in their order."""
        for put, value in zip(self._setters, values, strict=True):
            put(self, value)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._fields)


def check_fields(cls: type[Value], given: Collection[str], error: type[MainspringError] = InvalidPolicy) -> None:
    """Raise `error`, not a bare TypeError, for keywords that the constructor does not know.

    >>> from mainspring.retries import Retry
    >>> Retry(on=OSError, attempt=5)
    Traceback (most recent call last):
    mainspring.errors.InvalidPolicy: Retry has no field 'attempt'; did you mean 'attempts'?
    """
    code = cls.__init__.__code__
    known = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    if not all(name in known for name in given):
        from mainspring.retries.keywords import unknown_keywords  # noqa: PLC0415  # for mistakes only

        raise error(unknown_keywords(cls.__name__, "field", given, known))
