"""Named statements and numbered migrations."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.store.sql import Migration, migrations, statements


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "statements_of_a_test"
    for folder in ("sql", "migrations"):
        (tmp_path / name / folder).mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    statements.cache_clear()
    migrations.cache_clear()
    yield name
    sys.modules.pop(name, None)


def test_statements_by_name_without_their_comments(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "sql" / "jobs.sql").write_text(
        "-- About jobs.\n\n-- name: one\n-- Why.\nSELECT 1;\n\n-- name: two\nSELECT '--',\n  2;\n"
    )
    assert statements(package, "jobs") == {"one": "SELECT 1", "two": "SELECT '--',\n  2"}


@pytest.mark.parametrize("text", ["-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n", "-- name: a\n-- nothing\n"])
def test_a_name_has_one_statement(package: str, tmp_path: Path, text: str) -> None:
    (tmp_path / package / "sql" / "jobs.sql").write_text(text)
    with pytest.raises(ValueError, match="must have one statement and come once"):
        statements(package, "jobs")


def test_migrations_come_in_the_order_of_their_numbers(package: str, tmp_path: Path) -> None:
    for name in ("0002_more.sql", "0001_jobs.sql", "README.md"):
        (tmp_path / package / "migrations" / name).write_text(name)
    assert migrations(package) == (
        Migration(1, "0001_jobs", "0001_jobs.sql"),
        Migration(2, "0002_more", "0002_more.sql"),
    )
