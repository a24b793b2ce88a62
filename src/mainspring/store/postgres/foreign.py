"""Our statements over connections that are not ours: without our codecs, of whatever driver.

Ids and times go in and come out as our codecs would have them. They are turned in the SQL, as is JSON: drivers differ
about these, and callers may have set codecs of their own.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from mainspring.store.borrowed import Awaited, Blocking, Statement
from mainspring.store.postgres.place import Connection

T = TypeVar("T")

_TIMES: Final = re.compile(r"\$(\d+)::timestamptz\[\]")
_TIME: Final = re.compile(r"\$(\d+)::timestamptz\b(?!\[)")
_AS_TEXT: Final = re.compile(r"\$(\d+)::(uuid|jsonb?)\b(\[\])?")
_JSON: Final = re.compile(
    r"CASE WHEN num_nonnulls\(.*? END\b|\bj\.options\b"
    r"|coalesce\(j\.(?:payload|result), \(SELECT b\.value FROM .*? b WHERE b\.job = j\.id AND b\.kind = '\w+'\)\)"
    r"|(?<=\bSELECT )(?:j\.)?id(?=, (?:j\.task|size)\b)|(?<=\bSELECT key, )job(?=, )",
    re.DOTALL,
)


class Foreign:
    """What `Transact.within` and `flush` ask of a connection, over a borrowed one."""

    def __init__(self, borrowed: Blocking | Awaited, *, blocks: bool = False) -> None:
        self._borrowed = borrowed
        self._blocks = blocks

    async def fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows."""
        statement = Statement(rewritten(sql), tuple(map(_given, values)))
        answer = self._borrowed.fetch(statement)
        rows = answer if isinstance(answer, list) else await answer
        return [tuple(map(_taken, row)) for row in rows]

    async def fetchval(self, sql: str, *values: object) -> Any:
        """The first value of the first row."""
        return (await self.fetch(sql, *values))[0][0]

    async def execute(self, sql: str, *values: object) -> None:
        """No rows."""
        await self.fetch(sql, *values)

    async def pause(self, seconds: float) -> None:
        """Wait as this connection waits."""
        if self._blocks:
            time.sleep(seconds)  # noqa: ASYNC251  # no loop waits for this: `at_once` drives it
        else:
            await asyncio.sleep(seconds)

    def as_ours(self) -> Connection:
        """It, for functions that take a connection of the driver and use no more than is here."""
        return cast("Connection", self)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that never waits, since everything below it blocks."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        answer: T = stop.value
        return answer
    coroutine.close()
    raise AssertionError("something waited that should have blocked")


@cache
def rewritten(sql: str) -> str:
    """A statement of ours, for any driver.

    >>> rewritten("SELECT j.options FROM x j WHERE due < $2::timestamptz AND id = $1::uuid")
    'SELECT j.options::text FROM x j WHERE due < to_timestamp($2::float8) AND id = $1::text::uuid'
    """
    sql = _TIMES.sub(
        r"ARRAY(SELECT to_timestamp(at) FROM unnest($\1::float8[]) WITH ORDINALITY AS _ (at, n) ORDER BY n)", sql
    )
    sql = _TIME.sub(r"to_timestamp($\1::float8)", sql)
    sql = _AS_TEXT.sub(r"$\1::text\3::\2\3", sql)
    sql = _JSON.sub(r"\g<0>::text", sql)
    return sql.replace(", until FROM", ", date_part('epoch', until) FROM")


def _given(value: object) -> object:
    """Lists are lists of one type, whatever they hold."""
    if not isinstance(value, (list, tuple)):
        return value
    values = list(cast("Sequence[object]", value))
    if any(isinstance(each, float) for each in values):
        return [float(each) if isinstance(each, int) else each for each in values]
    return values


def _taken(value: object) -> object:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, list):
        return [_taken(each) for each in cast("list[object]", value)]
    return value
