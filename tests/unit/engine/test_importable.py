"""Which functions a child process can find, and what is said about the others."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from mainspring.engine.processes.importable import importable_path, load
from mainspring.errors import TaskDefinitionError


def plain() -> int:
    return 1


class Box:
    @staticmethod
    def inside() -> int:
        return 2

    def method(self) -> int:
        return 3


class Wrapped:
    """As a task is: the name of the function leads to an object that has the function as `fn`."""

    def __init__(self, fn: Callable[[], int]) -> None:
        self.fn = fn


def _undecorated() -> int:
    return 4


decorated = Wrapped(_undecorated)
_undecorated.__qualname__ = "decorated"


@pytest.mark.parametrize("fn", [plain, Box.inside, decorated.fn])
def test_a_function_of_a_module_is_found_again(fn: Callable[[], int]) -> None:
    path = importable_path(fn)
    assert path == f"{__name__}:{fn.__qualname__}"
    assert load(path) is fn


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda: 1, "lambda"),
        (Box().method, "bound method"),
        (functools.partial(plain), "an object has none"),
    ],
)
def test_what_has_no_name_is_refused_with_what_to_do(fn: Callable[[], int], why: str) -> None:
    with pytest.raises(TaskDefinitionError, match=why):
        importable_path(fn)


def test_a_local_function_is_refused() -> None:
    def local() -> None: ...

    with pytest.raises(TaskDefinitionError, match="module level"):
        importable_path(local)


def test_a_name_that_means_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    meant = plain
    monkeypatch.setattr(sys.modules[__name__], "plain", Box.inside)
    with pytest.raises(TaskDefinitionError, match="leads to"):
        importable_path(meant)


def main_module(monkeypatch: pytest.MonkeyPatch, file: Path | None, name: str | None = None) -> Callable[[], int]:
    """A `__main__` with one function, as it looks in a script, in `python -m` and at the prompt."""
    module = types.ModuleType("__main__")
    module.__spec__ = None if name is None else types.SimpleNamespace(name=name)  # type: ignore[assignment]  # enough of it
    if file is not None:
        module.__file__ = str(file)
    exec("def work():\n    return 6\n", vars(module))
    monkeypatch.setitem(sys.modules, "__main__", module)
    work: Callable[[], int] = module.work
    return work


def test_a_guarded_script_is_found_by_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "a:script.py"
    script.write_text(
        "seen = __name__\ndef work():\n    return seen\nif __name__ == '__main__':\n    1 / 0\n", encoding="utf-8"
    )
    path = importable_path(main_module(monkeypatch, script))
    assert path == f"{script}:work"
    try:
        assert load(path)() == "__mainspring_script__"
    finally:
        sys.modules.pop("__mainspring_script__", None)


def test_a_module_run_by_m_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "tasks.py"
    script.write_text("if __name__ == '__main__':\n    pass\n", encoding="utf-8")
    assert importable_path(main_module(monkeypatch, script, "shop.tasks")) == "shop.tasks:work"


def test_a_script_without_guard_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print(1)\n", encoding="utf-8")
    with pytest.raises(TaskDefinitionError, match="run the script once more"):
        importable_path(main_module(monkeypatch, script))


def test_the_prompt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskDefinitionError, match="Move it into a module"):
        importable_path(main_module(monkeypatch, None))


def test_a_script_that_fails_at_import_is_not_kept(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("1 / 0\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load(f"{script}:work")
