"""An error on its way from a child process: its classes by name and its plain attributes, no pickle.

A retry policy asks for the class of an error, its bases and its attributes. These arrive. What is not plain data (an
open response, say) stays behind; the text of the error was made where it happened.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from datetime import timedelta

from msgspec import Struct


class Carried(Struct, frozen=True):
    """An error as data. `classes` are `module:qualname`, its own first, then its bases in the order of lookup."""

    classes: tuple[str, ...]
    args: tuple[object, ...] = ()
    attributes: dict[str, object] = {}


def carried(error: BaseException) -> Carried:
    """The error as data; never raises."""
    given = {key: _in_seconds(value) for key, value in vars(error).items()}
    attributes = {key: value for key, value in given.items() if _is_plain(value)}
    if isinstance(error, OSError):
        system = {"errno": error.errno, "strerror": error.strerror, "filename": error.filename}
        attributes.update((key, value) for key, value in system.items() if value is not None and _is_plain(value))
    return Carried(
        tuple(f"{cls.__module__}:{cls.__qualname__}" for cls in type(error).__mro__ if cls is not object),
        tuple(each if _is_plain(each) else repr(each) for each in error.args),
        attributes,
    )


def rebuilt(data: Carried) -> BaseException:
    """An error of the same class, where this process has it; else of its nearest base, under the same name.

    Its `__init__` is not called: nobody knows what it would want.

    >>> rebuilt(carried(FileNotFoundError(2, "No such file"))).errno
    2
    """
    names: list[str] = []
    for path in data.classes:
        cls = _known(path)
        error = None if cls is None else _made(_stand_in(cls, names), data)
        if error is not None:
            return error
        names.append(path)
    return RuntimeError(*data.args)


def _made(cls: type[BaseException], data: Carried) -> BaseException | None:
    try:
        error = cls.__new__(cls, *data.args)
    except Exception:  # noqa: BLE001  # a __new__ with wishes of its own: the next base will do
        return None
    error.args = data.args
    for key, value in data.attributes.items():
        with contextlib.suppress(AttributeError, TypeError):  # read-only in this class
            setattr(error, key, value)
    return error


def _stand_in(base: type[BaseException], names: Iterable[str]) -> type[BaseException]:
    """Classes of these names over `base`, so that rules which go by names find them."""
    cls = base
    for path in reversed(list(names)):
        module, _, name = path.partition(":")
        cls = type(name.rpartition(".")[2], (cls,), {"__module__": module, "__qualname__": name})
    return cls


def _known(path: str) -> type[BaseException] | None:
    """The class, if its module is loaded here: a policy can ask only for classes that are."""
    module, _, name = path.partition(":")
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _in_seconds(value: object) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _is_plain(value: object, depth: int = 4) -> bool:
    if value is None or type(value) in {bool, float, str, bytes}:
        return True
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if depth and isinstance(value, list | tuple):
        return all(_is_plain(each, depth - 1) for each in value)
    if depth and type(value) is dict:
        return all(type(key) is str and _is_plain(each, depth - 1) for key, each in value.items())
    return False
