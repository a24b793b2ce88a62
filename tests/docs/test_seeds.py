"""docs/seeds.md: every row that was built so far is answered once, and what the answers name is there."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from typing import is_typeddict

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "seeds.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (S\d-\d\d) \| (.+?) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.replace("\\|", "/"))
SPANS = ((0, 1, 35), (0, 49, 49), (0, 52, 71), (1, 1, 43), (2, 1, 10), (3, 1, 45))
ANSWERED = [f"S{seed}-{number:02}" for seed, first, last in SPANS for number in range(first, last + 1)]
NAMED = sorted(set(re.findall(r"`(mainspring\.[^`]+)`", PAGE)))
PATHS = sorted(set(re.findall(r"`([\w.-]+(?:/[\w.-]+)+)`", PAGE)))
OTHERS = set(re.findall(r"`([^`]+)`", PAGE)) - {*NAMED, *PATHS}


def resolved(name: str) -> object:
    """What a dotted name leads to; modules are imported as far as they go."""
    parts = name.split(".")
    found: object = import_module(parts[0])
    for index, part in enumerate(parts[1:], 2):
        if not hasattr(found, part) and inspect.ismodule(found):
            import_module(".".join(parts[:index]))
        found = getattr(found, part)
    return found


def keywords(found: object) -> set[str]:
    """What can be given to it by keyword, in any of its forms."""
    if is_typeddict(found):
        return set(getattr(found, "__annotations__", ()))
    assert callable(found), f"{found!r} takes no parameters"
    # Our values check their fields in `__new__`, which says nothing of them.
    called = vars(found)["__init__"] if isinstance(found, type) and "__init__" in vars(found) else found
    given = inspect.signature(called).parameters.values()
    return {each.name for each in given if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}}


def test_every_row_is_answered_once_and_in_order() -> None:
    assert [row for row, _, _ in ROWS] == ANSWERED


def test_no_answer_is_empty() -> None:
    assert [row for row, asked, answer in ROWS if len(asked) < 5 or len(answer) < 10] == []


@pytest.mark.parametrize("name", NAMED)
def test_a_name_leads_somewhere(name: str) -> None:
    dotted, _, call = name.partition("(")
    found = resolved(dotted)
    if call:
        assert call.endswith("=)"), "write Name(word=)"
        assert call.removesuffix("=)") in keywords(found)


def test_paths_are_there() -> None:
    assert [path for path in PATHS if not (ROOT / path).exists()] == []


def test_other_code_is_python() -> None:
    for code in OTHERS:
        ast.parse(code.replace("word=", "word=None"), mode="eval")


def test_a_name_that_is_gone_is_found() -> None:
    with pytest.raises(AttributeError):
        resolved("mainspring.retries.Retry.explain")
    with pytest.raises(ModuleNotFoundError):
        resolved("mainspring.retries.gone")
    assert "deadline" not in keywords(resolved("mainspring.retries.Retry"))
