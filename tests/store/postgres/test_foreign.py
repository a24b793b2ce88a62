"""Our statements over connections without our codecs: nothing in them may depend on a driver."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

import pytest

from mainspring.store.borrowed import Row, Statement
from mainspring.store.postgres.foreign import Foreign, at_once, rewritten
from mainspring.store.postgres.place import Place

PLACE = Place.parse("postgresql://localhost/x?schema=a)b")
USED = {
    "loads": ["now", "jobs", "done", "kept", "groups", "guard_keys", "keys", "dependants"],
    "flush": ["insert", "write", "end", "blobs", "put_groups", "take_keys", "free_keys", "append_attempts"],
    "jobs": ["add_more", "complete"],
}


@pytest.mark.parametrize("name", [(group, name) for group, names in USED.items() for name in names], ids="/".join)
def test_values_and_columns_are_of_types_that_every_driver_has_alike(name: tuple[str, str]) -> None:
    group, statement = name
    sql = rewritten(PLACE.sql(group)[statement])
    assert re.findall(r"\$\d+::(?:timestamptz|uuid|jsonb?)", sql) == []
    assert re.findall(r"\bj\.(?:options|metadata|hooks|counters|error)\b(?!::text)", sql.partition("FROM")[0]) == []
    if statement in {"jobs", "done", "kept"}:
        assert sql.startswith("SELECT j.id::text, j.task")
        assert "kind = 'payload'))::text" in sql
    assert "%" not in sql


class Fake:
    """Takes what a driver is given, and gives what a driver may."""

    database = "postgresql"
    begun = True
    origin: object = None

    def __init__(self) -> None:
        self.asked: list[Statement] = []

    def fetch(self, statement: Statement) -> list[Row]:
        self.asked.append(statement)
        return [(UUID(int=1), datetime(2026, 1, 1, tzinfo=UTC), ["a", UUID(int=2)], None, 3)]

    def sqlite(self) -> object:
        raise AssertionError


def test_values_go_in_as_lists_of_one_type_and_come_out_as_ours() -> None:
    fake = Fake()
    foreign = Foreign(fake, blocks=True)  # type: ignore[arg-type]  # it has no SQLite to give
    rows = at_once(foreign.fetch("SELECT $1, $2, $3", ("a", None), [1, 2.5, None], 3))
    assert fake.asked == [Statement("SELECT $1, $2, $3", (["a", None], [1.0, 2.5, None], 3))]
    assert rows == [(str(UUID(int=1)), 1767225600.0, ["a", str(UUID(int=2))], None, 3)]
    at_once(foreign.pause(0.0))
