"""Every block of code in the README and in docs/ runs, in the order of its page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mainspring.errors import TaskDefinitionError
from tests.docs.pages import PAGES, ROOT, Block, PageRun, blocks, page_run

WITH_CODE = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
KNOWN = {"python", "text", "console", "ini", "toml", "mermaid", "json", "sql"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    with page_run(page, tmp_path) as run:
        run.all()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert [f"line {block.line}" for block in blocks(page) if block.language not in KNOWN] == []
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") + text.startswith("```") == 2 * len(blocks(page)), "a fence has no partner"
    assert text.count("<!-- not run") == sum(not block.run for block in blocks(page)), "a mark stands before no block"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


PROGRAM = """# two.py
import asyncio
from one_of_a_page import x

async def main():
    print(x, __name__)

asyncio.run(main())
"""


def block(code: str, language: str = "python") -> Block:
    return Block(Path("page.md"), 7, language, code, run=True)


def test_a_block_that_fails_is_seen_with_its_line(tmp_path: Path) -> None:
    with page_run(Path("page.md"), tmp_path) as run, pytest.raises(ZeroDivisionError) as caught:
        run.one(block("x = 1\ny = x / 0\n"))
    assert caught.traceback[-1].lineno == 7  # counted from 0
    assert str(caught.traceback[-1].path).endswith("page.md")


def test_what_a_page_says_a_program_prints_is_compared(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(3)\n```\n\n```text\n4\n```\n")
    with page_run(page, tmp_path) as run, pytest.raises(AssertionError, match=r"page.md:6: the program says something"):
        run.all()


def test_blocks_share_names_may_await_and_hold_tests(tmp_path: Path) -> None:
    with page_run(Path("page.md"), tmp_path) as run:
        run.one(block("import asyncio\nx = 1\n"))
        assert run.one(block("await asyncio.sleep(3600)\nprint(x)\n")) == "1\n"
        with pytest.raises(AssertionError):
            run.one(block("async def test_it(mainspring) -> None:\n    assert x == 2\n"))


def test_D22_blocks_are_the_main_module_as_where_a_reader_pastes_them(tmp_path: Path) -> None:
    """A task of the script itself needs a name; without one it would run here, and fail where the page says to run it."""
    main = sys.modules["__main__"]
    with page_run(Path("page.md"), tmp_path) as run:
        run.one(block('from mainspring import App\napp = App("memory://")\nasync def poll() -> None: ...\n'))
        with pytest.raises(TaskDefinitionError, match='give it a name: name="poll"'):
            run.one(block("app.every(60)(poll)\n"))
        assert run.one(block('app.every(60, name="poll")(poll)\nprint(poll.__module__)\n')) == "__main__\n"
    assert sys.modules["__main__"] is main


def test_a_block_with_a_file_name_is_a_program_that_others_import(tmp_path: Path) -> None:
    with page_run(Path("page.md"), tmp_path) as run:
        run.one(block("# one_of_a_page.py\nx = 5\n"))
        assert run.one(block(PROGRAM)) == "5 __main__\n"
    assert isinstance(run, PageRun)


def test_a_marked_block_is_not_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: it fails -->\n```python\n1 / 0\n```\n")
    with page_run(page, tmp_path) as run:
        run.all()
