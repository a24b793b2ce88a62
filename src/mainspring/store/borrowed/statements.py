"""Statements as drivers want them: ours have `$1`, `$2`, …, each used any number of times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

Row = Sequence[object]

_PLACE: Final = re.compile(r"\$(\d+)")


class Statement(NamedTuple):
    """SQL, and what stands for its places."""

    sql: str
    values: tuple[object, ...] = ()


def named(statement: Statement) -> tuple[str, dict[str, object]]:
    """The statement for drivers that take `%(p1)s` and a dict.

    >>> named(Statement("SELECT $1, '100%', $2, $1", (1, 2)))
    ("SELECT %(p1)s, '100%%', %(p2)s, %(p1)s", {'p1': 1, 'p2': 2})
    """
    sql = _PLACE.sub(r"%(p\1)s", statement.sql.replace("%", "%%"))
    return sql, {f"p{number}": value for number, value in enumerate(statement.values, 1)}


def in_order(statement: Statement, mark: str) -> tuple[str, tuple[object, ...]]:
    """The statement for drivers that take `%s` or `?`, one value for each.

    >>> in_order(Statement("SELECT $2, $1, $2", ("a", "b")), "?")
    ('SELECT ?, ?, ?', ('b', 'a', 'b'))
    """
    sql = statement.sql.replace("%", "%%") if mark == "%s" else statement.sql
    values = tuple(statement.values[int(number) - 1] for number in _PLACE.findall(sql))
    return _PLACE.sub(mark, sql), values
