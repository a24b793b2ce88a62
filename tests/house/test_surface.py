"""House rules on the public face: lazy, documented, typed, and nothing public by accident."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mainspring

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "mainspring"
PUBLIC_MODULES = (
    "mainspring",
    "mainspring.errors",
    "mainspring.events",
    "mainspring.http",
    "mainspring.retries",
    "mainspring.service",
    "mainspring.store",
    "mainspring.testing",
    "mainspring.testing.contract",
    "mainspring.web",
)
THE_USERS_OWN = {
    "mainspring.Context.state(return: Any)",  # what the user's lifespan yields: no other type is true
    "mainspring.Context.connection(return: Any)",  # what the store's driver makes: each store has its own
}
IMPORT_LIMIT = 0.030  # seconds, the root alone


def file_of(module: str) -> Path:
    path = Path("src", *module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def exists(module: str) -> bool:
    return (ROOT / file_of(module)).is_file()


def public_modules() -> list[str]:
    return [module for module in PUBLIC_MODULES if exists(module)]


def public_names(module: str) -> list[str]:
    """`__all__`; for a plain module without one, the names that it defines itself."""
    loaded = importlib.import_module(module)
    declared: list[str] | None = getattr(loaded, "__all__", None)
    if declared is not None:
        return list(declared)
    own = ((name, value) for name, value in vars(loaded).items() if not name.startswith("_"))
    return [name for name, value in own if getattr(value, "__module__", None) == module]


def public_objects() -> Iterator[tuple[str, object]]:
    """Every public thing once, under the first name that a reader meets."""
    seen: set[int] = set()
    for module in public_modules():
        for name in public_names(module):
            thing = getattr(importlib.import_module(module), name)
            if id(thing) not in seen:
                seen.add(id(thing))
                yield f"{module}.{name}", thing


def public_methods(cls: type) -> Iterator[tuple[str, object]]:
    """What a user can call or read on the class, and that this project wrote."""
    for name, member in vars(cls).items():
        if name.startswith("_") and name not in {"__init__", "__call__"}:
            continue
        unwrapped = member.__func__ if isinstance(member, staticmethod | classmethod) else member
        thing = unwrapped.fget if isinstance(unwrapped, property) else unwrapped
        if inspect.isfunction(thing):
            yield name, thing


def callables() -> Iterator[tuple[str, Callable[..., object]]]:
    for name, thing in public_objects():
        if inspect.isclass(thing):
            for method, function in public_methods(thing):
                yield f"{name}.{method}", typing.cast("Callable[..., object]", function)
        elif inspect.isfunction(thing):
            yield name, thing


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_resolves(module: str) -> None:
    if not exists(module):
        pytest.skip(f"{module} comes with a later part")
    loaded = importlib.import_module(module)
    names = public_names(module)
    assert names, f"{module} is public and shows nothing; give it __all__"
    assert [name for name in names if not hasattr(loaded, name)] == []
    assert sorted(set(names)) == sorted(names)


def test_no_root_name_is_a_submodule() -> None:
    """Else `import mainspring.retry` would replace the function by the module."""
    submodules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert submodules & set(mainspring.__all__) == set()


def test_every_room_is_a_package() -> None:
    """Without `__init__.py` a folder is a namespace, which the layer check and type checkers see differently."""
    rooms = {path.parent for path in PACKAGE.rglob("*.py")}
    assert sorted(str(room.relative_to(PACKAGE)) for room in rooms if not (room / "__init__.py").is_file()) == []


def test_the_root_says_the_same_three_times() -> None:
    """`__all__` for readers and stars, `_HOME` at run time, the imports for type checkers."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == mainspring._HOME
    assert set(imported) == set(mainspring.__all__)


def test_the_root_refuses_unknown_names() -> None:
    with pytest.raises(AttributeError, match="mainspring has no 'rerty'"):
        _ = mainspring.rerty  # type: ignore[attr-defined]  # what a misspelt name does is the question here


def test_documents_and_examples_import_public_modules_only() -> None:
    """Everything else is private, so nothing that we show may use it."""
    shown = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]
    bad = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in shown
        for module in re.findall(
            r"^\s*(?:from|import) (mainspring[\w.]*)", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        if module not in PUBLIC_MODULES
    ]
    assert bad == []


# --- import ---------------------------------------------------------------------------------------


def in_new_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_root_loads_in_an_instant() -> None:
    code = "import time; t = time.perf_counter(); import mainspring; print(time.perf_counter() - t)"
    best = min(float(in_new_python(code)) for _ in range(5))
    assert best < IMPORT_LIMIT


def test_retry_alone_loads_neither_engine_nor_msgspec() -> None:
    if "retry" not in mainspring.__all__:
        pytest.skip("retries are not there yet")
    loaded = in_new_python("import sys; from mainspring import retry; print(*sys.modules)").split()
    heavy = ("msgspec", "cronsim", "sqlite3", *(f"mainspring.{room}" for room in ("app", "engine", "store", "model")))
    assert [name for name in loaded if name.startswith(heavy)] == []


def test_importing_has_no_side_effects() -> None:
    """No threads, no loop, no logging set-up: only names."""
    everything = ", ".join(public_modules())
    code = (
        f"import logging, threading, {everything}; print(threading.active_count(), len(logging.getLogger().handlers))"
    )
    assert in_new_python(code) == "1 0"


# --- documentation and types ----------------------------------------------------------------------


def test_every_public_module_is_checked_by_pyright() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    checked = [Path(path) for path in configuration["tool"]["pyright"]["include"]]
    assert [
        module for module in public_modules() if not any(file_of(module).is_relative_to(path) for path in checked)
    ] == []


def test_everything_public_has_a_docstring() -> None:
    bare = [
        name
        for name, thing in public_objects()
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and not inspect.getdoc(thing)
    ]
    assert bare == []


def test_no_any_in_public_signatures() -> None:
    """`Any` switches the user's type checker off. Allowed: the first two of `Coroutine[Any, Any, R]`."""
    loose = [
        f"{name}({parameter}: {annotation})"
        for name, function in callables()
        for signed in (typing.get_overloads(function) or [function])
        for parameter, annotation in annotated(signed)
        if says_any(annotation)
    ]
    assert set(loose) - THE_USERS_OWN == set()


def annotated(function: Callable[..., object]) -> Iterator[tuple[str, str]]:
    for name, annotation in getattr(function, "__annotations__", {}).items():
        yield name, annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def says_any(annotation: str) -> bool:
    rest = re.sub(r"Coroutine(Type)?\[(typing\.)?Any, (typing\.)?Any,", "", annotation)
    return re.search(r"\bAny\b", rest) is not None


@pytest.mark.parametrize(
    ("annotation", "loose"),
    [("Callable[P, Coroutine[Any, Any, R]]", False), ("dict[str, Any]", True), ("AnyOf", False), ("typing.Any", True)],
)
def test_any_is_recognised(annotation: str, loose: bool) -> None:
    assert says_any(annotation) is loose
