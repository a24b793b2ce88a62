"""The input and the pure part: which files there are, what is in one, and how many become an index.

`python -m demo.source [--files N]` is the plain single-process computation that the durable one is compared with.
"""

from __future__ import annotations

import argparse
import ast
import gc
import os
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

STDLIB = Path(sysconfig.get_path("stdlib"))
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
NOT_OURS = {"site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is in one source file. A file that does not parse has `broken` instead of counts: a result, no error."""

    path: str
    lines: int = 0
    functions: int = 0
    classes: int = 0
    imports: int = 0
    broken: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """The sums of one package."""

    name: str
    files: int
    lines: int
    functions: int
    classes: int
    imports: int
    broken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """All packages by name, and how many files were counted, how many of them twice."""

    files: int
    twice: int
    packages: tuple[Package, ...]


def source_files(limit: int | None = None) -> list[str]:
    """Every source file of the standard library, below its folder; with `limit`, that many, evenly spread."""
    found = sorted(path.relative_to(STDLIB).as_posix() for path in python_files(STDLIB))
    if limit is None or limit >= len(found):
        return found
    return [found[number * len(found) // limit] for number in range(limit)]


def python_files(folder: Path) -> Iterator[Path]:
    """The source files below a folder; what else was installed there, which may be much, is not looked into."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_OURS]
        yield from (path for name in files if name.endswith(".py") and (path := Path(place, name)).is_file())


def examine(path: str) -> Facts:
    """Read and parse one file of the standard library."""
    return facts_of(path, (STDLIB / path).read_bytes())


def facts_of(path: str, source: bytes) -> Facts:
    """What is in this source.

    >>> facts_of("a.py", b"import os" + bytes([10]) + b"class A: pass")
    Facts(path='a.py', lines=2, functions=0, classes=1, imports=1, broken='')
    >>> facts_of("b.py", b"print 1").broken
    'SyntaxError'
    """
    lines = len(source.splitlines())
    try:
        tree = parsed(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Facts(path=path, lines=lines, broken=type(error).__name__)
    kinds = Counter(map(type, statements(tree)))
    return Facts(
        path=path,
        lines=lines,
        functions=kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        classes=kinds[ast.ClassDef],
        imports=kinds[ast.Import] + kinds[ast.ImportFrom],
    )


def parsed(source: bytes) -> ast.Module:
    """The tree of a source. The collector of cycles rests meanwhile: a tree has none, and to look for them takes long."""
    collects = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in the library are not our news
            return ast.parse(source)
    finally:
        if collects:
            gc.enable()


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Everything with a block in it or in a block: what we count, without a look into each expression."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        yield node
        for block in BLOCKS:
            left += getattr(node, block, ())


def index_of(facts: Iterable[Facts]) -> Index:
    """Sums per package. The order of the files does not matter.

    >>> index_of([Facts(path="a/b.py", lines=3), Facts(path="a/c.py", lines=4), Facts(path="d.py")]).packages[1].lines
    7
    """
    of_package: dict[str, list[Facts]] = {}
    times = Counter[str]()
    for one in facts:
        of_package.setdefault(package_of(one.path), []).append(one)
        times[one.path] += 1
    return Index(
        files=times.total(),
        twice=sum(number > 1 for number in times.values()),
        packages=tuple(_sums(name, of_package[name]) for name in sorted(of_package)),
    )


def package_of(path: str) -> str:
    """The first folder; single modules of the library are one package together.

    >>> package_of("asyncio/base_events.py"), package_of("ast.py")
    ('asyncio', '(modules)')
    """
    first, slash, _ = path.partition("/")
    return first if slash else "(modules)"


def _sums(name: str, facts: Sequence[Facts]) -> Package:
    summed = {
        field.name: sum(getattr(one, field.name) for one in facts)
        for field in fields(Package)
        if field.name not in {"name", "files", "broken"}
    }
    return Package(name=name, files=len(facts), broken=sum(bool(one.broken) for one in facts), **summed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int)
    index = index_of(map(examine, source_files(parser.parse_args().files)))
    print(msgspec.json.encode(index).decode())


if __name__ == "__main__":
    main()
