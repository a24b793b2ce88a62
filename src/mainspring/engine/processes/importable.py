"""Functions by name: how a child process finds the function that its parent means, without running a script again."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

from mainspring.errors import TaskDefinitionError

SCRIPT: Final = "__mainspring_script__"
"""The name under which a child imports the script that its parent runs as `__main__`."""


def importable_path(fn: Callable[..., object]) -> str:
    """Where another process finds this function: `module:qualname`, or `/path/of/script.py:qualname`.

    Raises TaskDefinitionError when it would not find it there: a lambda, a local function, a bound method, a name
    that now means something else; a function of a script that has no `if __name__ == "__main__":` guard, since
    importing it would run the script once more.

    >>> importable_path(os.path.join)
    'posixpath:join'
    """
    module: str = getattr(fn, "__module__", None) or ""
    name: str = getattr(fn, "__qualname__", "")
    what = f"process=True: {module}.{name or fn!r} runs in a child process, which imports it by name"
    if getattr(fn, "__self__", None) is not None:
        raise TaskDefinitionError(f"{what}; a bound method has none. Give a plain function of a module")
    if not module or not name or "<" in name:
        raise TaskDefinitionError(f"{what}; a lambda, a local function or an object has none. Move it to module level")
    home = sys.modules.get(module)
    try:
        found = walk(home, name)
    except AttributeError:
        found = None
    if found is not fn:
        raise TaskDefinitionError(f"{what}; that name now leads to {found!r}. Leave the task under its function's name")
    return f"{_main_path(home, what) if module == '__main__' else module}:{name}"


def load(path: str) -> Callable[..., object]:
    """The function at a path that `importable_path` gave. What its module raises at import is passed on."""
    place, _, name = path.rpartition(":")
    module = _script(place) if os.sep in place else importlib.import_module(place)
    return walk(module, name)


def walk(module: ModuleType | None, name: str) -> Callable[..., object]:
    """The function of this qualified name; where the name means a task, the function of the task."""
    found: object = module
    for part in name.split("."):
        found = getattr(found, part)
    fn = getattr(found, "fn", found)
    if not callable(fn):
        raise AttributeError(f"{name!r} is no function")  # noqa: TRY004  # as when there is no such name
    return fn


def _main_path(main: ModuleType | None, what: str) -> str:
    """A module name for `python -m package.module`, the file for `python script.py`."""
    file = getattr(main, "__file__", None)
    if file is None:
        raise TaskDefinitionError(f"{what}; it was typed in, or given by -c. Move it into a module")
    if not _has_guard(Path(file)):
        raise TaskDefinitionError(
            f"{what}, and importing {Path(file).name} would run the script once more. "
            'Move it into a module, or put what the script does under `if __name__ == "__main__":`'
        )
    spec = getattr(main, "__spec__", None)
    return spec.name if spec is not None else str(Path(file).resolve())


def _has_guard(script: Path) -> bool:
    """Whether the script asks for its `__name__` at module level, as one does that can be imported."""
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError):
        return False
    tests = [node.test for node in tree.body if isinstance(node, ast.If)]
    return any(isinstance(part, ast.Name) and part.id == "__name__" for test in tests for part in ast.walk(test))


def _script(file: str) -> ModuleType:
    there = sys.modules.get(SCRIPT)
    if there is not None:
        return there
    spec = importlib.util.spec_from_file_location(SCRIPT, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[SCRIPT] = module  # before it runs: its dataclasses look themselves up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[SCRIPT]
        raise
    return module
