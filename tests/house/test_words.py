"""House rules on words: one concept, one name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "mainspring"
NOT_NAMES = {"manager", "util", "helper", "core", "command", "instance", "handler", "message"}
NOT_PARAMETERS = {"deadline", "max_retries", "max_attempts", "retries", "ttl"}


def words(name: str) -> set[str]:
    """The words of a name in either case, in the singular.

    >>> sorted(words("JobManagers"))
    ['job', 'manager']
    """
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {part.lower().removesuffix("s") for part in parts}


def trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(PACKAGE.rglob("*.py"))]


def test_no_module_has_a_word_we_do_not_use() -> None:
    bad = [
        f"{path.relative_to(PACKAGE)}: {taken}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if (taken := NOT_NAMES & set().union(*(words(part) for part in path.relative_to(PACKAGE).parts)))
    ]
    assert not bad, bad


def test_no_public_class_has_a_word_we_do_not_use() -> None:
    bad = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and NOT_NAMES & words(node.name)
    ]
    assert not bad, bad


def test_counts_and_time_limits_have_one_word_each() -> None:
    """attempts, timeout, give_up_after, expires, grace: no other parameter names for them ."""
    bad = [
        f"{path.relative_to(PACKAGE)}:{argument.lineno} {argument.arg}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if argument.arg in NOT_PARAMETERS
    ]
    assert not bad, bad


@pytest.mark.parametrize("name", ["TaskManager", "HTTPHandler", "job_utils", "core", "Messages"])
def test_the_forbidden_words_are_recognised(name: str) -> None:
    assert words(name) & NOT_NAMES


@pytest.mark.parametrize("name", ["Scoreboard", "Immediate", "mainspring", "Encoder"])
def test_words_are_whole_words(name: str) -> None:
    assert not words(name) & NOT_NAMES
