"""House rules on size: a stranger can read any file in one sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES, SQL_LINES, FUNCTION_LINES, PUBLIC_METHODS = 500, 400, 60, 25
ROOMS = ("src", "tests", "bench", "demo", "examples", "docs")


def files(pattern: str) -> list[Path]:
    return sorted([*ROOT.glob(pattern), *(path for room in ROOMS for path in (ROOT / room).rglob(pattern))])


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring: nobody is punished for explaining."""
    first = node.body[0]
    said = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) and first.end_lineno else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - said


def public_methods(node: ast.ClassDef) -> set[str]:
    """Names, so that overloads and a property's setter count once. Tests of the contract suite do not count."""
    functions = (item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef))
    return {item.name for item in functions if not item.name.startswith(("_", "test_"))}


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))


def test_no_file_is_too_long() -> None:
    limits = {"*.py": FILE_LINES, "*.sql": SQL_LINES}
    long = [
        f"{path.relative_to(ROOT)}: {line_count(path)} lines, limit {limit}"
        for pattern, limit in limits.items()
        for path in files(pattern)
        if line_count(path) > limit
    ]
    assert not long, "\n".join(long)


def test_no_function_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {function_lines(node)} lines, limit {FUNCTION_LINES}"
        for path in files("*.py")
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and function_lines(node) > FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def test_no_class_has_too_many_public_methods() -> None:
    wide = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {len(public_methods(node))}, limit {PUBLIC_METHODS}"
        for path in files("*.py")
        for node in nodes(path)
        if isinstance(node, ast.ClassDef) and len(public_methods(node)) > PUBLIC_METHODS
    ]
    assert not wide, "\n".join(wide)


def test_no_file_hides_behind_an_underscore() -> None:
    hidden = [
        str(path.relative_to(ROOT))
        for path in files("*.py")
        if path.name.startswith("_") and path.name not in {"__init__.py", "__main__.py"}
    ]
    assert not hidden, hidden


@pytest.mark.parametrize(
    ("source", "lines"),
    [("def f():\n    return 1\n", 2), ('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n', 2)],
)
def test_a_docstring_does_not_count(source: str, lines: int) -> None:
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert function_lines(function) == lines
