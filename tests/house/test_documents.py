"""The documents say what is true: the README's program is the example, the diagram is the table's."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_first_program_of_the_readme_is_the_example() -> None:
    block = re.search(r"```python\n(.*?)```", read("README.md"), re.DOTALL)
    assert block
    assert block.group(1) == read("examples/hello.py")


def test_the_diagram_is_the_one_of_the_table() -> None:
    if not (ROOT / "src/mainspring/model/states.py").is_file():
        pytest.skip("the table is not there yet")
    diagram: str = importlib.import_module("mainspring.model.states").diagram()
    shown = re.search(r"<!-- states -->\n(.*?)<!-- /states -->", read("ARCHITECTURE.md"), re.DOTALL)
    assert shown
    wanted = diagram if diagram.startswith("```") else f"```mermaid\n{diagram.rstrip()}\n```\n"
    assert shown.group(1).strip() == wanted.strip(), "run: python -m mainspring.model.states"


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = {
        target
        for document in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")
        for target in re.findall(r"(?:`|\$ )make ([a-z]+)", read(document))
    }
    assert named
    assert named - targets == set()


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_inside_the_repository_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", read(document))
    assert [link for link in links if not (ROOT / link).exists()] == []
