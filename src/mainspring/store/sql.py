"""Named statements: SQL lives in `sql/*.sql` beside the code of its backend, one `-- name:` for each statement.

A file is a list of: a line `-- name: claim`, comments that say why, and the statement.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_HEADER = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)


class Migration(NamedTuple):
    """A numbered step of a schema; `script` is what the backend runs in one transaction."""

    number: int
    name: str
    script: str


@cache
def statements(package: str, group: str) -> dict[str, str]:
    """The statements of `sql/<group>.sql` in this package, by name.

    Raises ValueError when a name comes twice or has no statement; FileNotFoundError when there is no such file.
    """
    text = (files(package) / "sql" / f"{group}.sql").read_text(encoding="utf-8")
    parts = _HEADER.split(text)[1:]
    found: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        statement = _COMMENT.sub("", body).strip().removesuffix(";")
        if name in found or not statement:
            raise ValueError(f"{package}/sql/{group}.sql: {name} must have one statement and come once")
        found[name] = statement
    return found


@cache
def migrations(package: str) -> tuple[Migration, ...]:
    """The files `migrations/NNNN_what_it_does.sql` of this package, in the order of their numbers."""
    folder = files(package) / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(
        Migration(int(name[:4]), name.removesuffix(".sql"), (folder / name).read_text(encoding="utf-8"))
        for name in names
    )
