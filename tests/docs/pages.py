"""Takes the code out of the documents, and runs it."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import re
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from mainspring.clock import FakeClock, SystemClock
from mainspring.testing import Harness, VirtualLoop, run_virtual

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?P<before><!-- not run: [^\n]+ -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
FILE_NAME = re.compile(r"# (?P<name>\w+\.py)\b")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page; `line` is that of its first line of code."""

    page: Path
    line: int
    language: str
    code: str
    run: bool

    @property
    def file(self) -> str | None:
        """The name of the file that the block is, by its first line."""
        named = FILE_NAME.match(self.code)
        return named["name"] if named else None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start("code")) + 1,
            language=found["language"],
            code=found["code"],
            run=found["before"] is None,
        )
        for found in FENCE.finditer(text)
    ]


class PageRun:
    """Runs the blocks of one page in order, in virtual time, in the current directory.

    A block whose first line names a file becomes that file, and is run when it is a program; the others share one
    namespace, may use `await` at the top level, and their functions `test_…` are run as tests. That namespace is
    `__main__`, as it is where a reader pastes them: into `python -m asyncio`, or into a script.
    """

    def __init__(self, page: Path) -> None:
        self.page = page
        self.clock = FakeClock()
        self.loop = VirtualLoop(self.clock)
        self.module = ModuleType("__main__")

    def all(self) -> None:
        before: str | None = None
        for block in blocks(self.page):
            if block.language == "python" and block.run:
                before = self.one(block)
            elif block.language == "text" and block.run:
                assert before is not None, f"{self.page.name}:{block.line}: there is no program before this output"
                assert block.code == before, f"{self.page.name}:{block.line}: the program says something else"
                before = None
            else:
                before = None

    def one(self, block: Block) -> str:
        """Run a block; returns what it printed."""
        # Empty lines before the code: the numbers in a traceback are those of the page.
        code = compile("\n" * (block.line - 1) + block.code, str(block.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            if block.file is not None:
                Path(block.file).write_text(block.code, encoding="utf-8")
                if "asyncio.run(" in block.code:  # else a module that others import
                    exec(code, {"__name__": "__main__"})
            else:
                self._in_namespace(code)
        return said.getvalue()

    def _in_namespace(self, code: Any) -> None:
        known = set(vars(self.module))
        # A store of the page lives in the time of the page, so that its schedules fire there, and dates can be printed.
        with (
            patch.object(SystemClock, "now", lambda _: self.clock.now()),
            patch.object(SystemClock, "monotonic", lambda _: self.clock.monotonic()),
        ):
            answer = eval(code, vars(self.module))  # eval: it answers with the coroutine of a top-level await
            if asyncio.iscoroutine(answer):
                self.loop.run_until_complete(answer)
        for name in [each for each in vars(self.module) if each.startswith("test_") and each not in known]:
            run_virtual(vars(self.module)[name](*([Harness()] if takes_harness(vars(self.module)[name]) else [])))

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


def takes_harness(test: Callable[..., Coroutine[Any, Any, None]]) -> bool:
    return "mainspring" in test.__code__.co_varnames[: test.__code__.co_argcount]


@contextlib.contextmanager
def page_run(page: Path, directory: Path) -> Iterator[PageRun]:
    """A page to be run in this directory; modules that it makes are forgotten at the end."""
    run = PageRun(page)
    loaded = set(sys.modules)
    main = sys.modules["__main__"]
    sys.modules["__main__"] = run.module
    try:
        with (
            contextlib.chdir(directory),
            patch.object(sys, "path", [str(directory), *sys.path]),
            patch.object(asyncio, "run", run_virtual),
        ):
            yield run
    finally:
        run.close()
        sys.modules["__main__"] = main
        for name in set(sys.modules) - loaded:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(file).is_relative_to(directory):
                del sys.modules[name]
