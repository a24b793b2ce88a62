"""Signatures and annotations of a user's function, read without resolving more than is asked for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from mainspring.errors import TaskDefinitionError


def signature_of(fn: Callable[..., object]) -> inspect.Signature:
    """The signature with its annotations as they are written: text, where they are not resolved yet.

    Raises TaskDefinitionError for what has none (some built-in functions).
    """
    try:
        if sys.version_info >= (3, 14):
            from annotationlib import Format  # noqa: PLC0415  # there from 3.14 on

            return inspect.signature(fn, annotation_format=Format.FORWARDREF)
        return inspect.signature(fn)
    except (TypeError, ValueError) as error:
        raise TaskDefinitionError(f"{fn!r} cannot be a task: its parameters cannot be read ({error})") from error


def annotation_of(fn: Callable[..., object], name: str, annotation: Any, task: str) -> Any:
    """What an annotation of `fn` means; `Any` when there is none.

    Raises TaskDefinitionError that names the task and the parameter when it cannot be resolved.
    """
    if annotation is inspect.Parameter.empty:
        return Any
    spaces, local = _namespaces(fn)
    holder = type("Annotated", (), {"__annotations__": {name: annotation}, "__module__": getattr(fn, "__module__", "")})
    try:
        return get_type_hints(holder, spaces, local, include_extras=True)[name]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        whose = "the return annotation" if name == "return" else f"the annotation of parameter {name!r}"
        raise TaskDefinitionError(
            f"task {task!r}: {whose}, {_text(annotation)}, cannot be resolved ({error}); "
            "import what it names outside of `if TYPE_CHECKING:`, and define it at the top of a module"
        ) from error


def _namespaces(fn: Callable[..., object]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The globals of the function, and the names that it closes over."""
    plain = inspect.unwrap(fn)
    plain = getattr(plain, "__func__", plain)
    if not hasattr(plain, "__globals__"):  # an object that can be called
        plain = getattr(type(plain), "__call__", plain)  # noqa: B004  # not whether, but what
    spaces: dict[str, Any] = getattr(plain, "__globals__", {})
    code = getattr(plain, "__code__", None)
    names = getattr(code, "co_freevars", ())
    local: dict[str, Any] = {}
    for name, cell in zip(names, getattr(plain, "__closure__", None) or (), strict=False):
        try:
            local[name] = cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
    return spaces, local


def _text(annotation: object) -> str:
    return repr(getattr(annotation, "__forward_arg__", annotation))
