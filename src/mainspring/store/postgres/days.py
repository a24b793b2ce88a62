"""The days of `jobs_done`: one partition for each day of ids, made before it comes and dropped when it is empty.

An id is a UUIDv7 and begins with the milliseconds since 1970, so a day is a range of ids. Jobs whose ids belong to no
day that is told to the verbs go to `jobs_kept`: those that ended long after they were added, and those that were added
by a clock that is wrong. Nothing here holds a lock for which others wait (RULES H11d).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

from mainspring.store.postgres.place import Connection, Place

BEFORE: Final = 1
"""Days before today into which jobs that end are written."""

AHEAD: Final = 7
"""Days that are made ahead, so that midnight is nobody's business (RULES H11e)."""

PREFIX: Final = "jobs_done_"
MARGIN: Final = 3600.0
"""Seconds that a day is left alone after it takes no more: somebody may not have looked at the days since."""

_NEVER: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_DAY: Final = timedelta(days=1)


class Days(NamedTuple):
    """The ids that have a day in `jobs_done`: low <= id < high."""

    low: str
    high: str

    @classmethod
    def none(cls) -> Days:
        """No id has one."""
        return cls(_NEVER, _NEVER)


class Day(NamedTuple):
    """A partition of `jobs_done`, or a table that was one.

    `size` is in bytes. `attached`: it is a partition; `leaving`: somebody has begun to detach it.
    """

    date: date
    size: int
    attached: bool = True
    leaving: bool = False

    @property
    def table(self) -> str:
        """Its name."""
        return table_of(self.date)


def table_of(day: date) -> str:
    """The table of a day.

    >>> table_of(date(2026, 11, 22))
    'jobs_done_20261122'
    """
    return f"{PREFIX}{day:%Y%m%d}"


def first_id(day: date) -> str:
    """The first id of a day.

    >>> first_id(date(2026, 11, 22))
    '01a2008d-7400-0000-0000-000000000000'
    """
    digits = f"{int(start_of(day) * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"


def start_of(day: date) -> float:
    """Its first second, in seconds since 1970: days are those of UTC."""
    return datetime.combine(day, time(), UTC).timestamp()


def day_of(at: float) -> date:
    """The day of a time in seconds since 1970."""
    return datetime.fromtimestamp(at, UTC).date()


def covered(days: Iterable[date], today: date) -> Days:
    """The ids into whose days jobs that end are written: yesterday's, today's and those ahead, without a gap.

    Older days take no more: when one is dropped, nobody writes into it any longer.
    """
    there = set(days)
    if today not in there:
        return Days.none()
    low = today - BEFORE * _DAY if today - BEFORE * _DAY in there else today
    high = today
    while high in there:
        high += _DAY
    return Days(first_id(low), first_id(high))


async def days_of(connection: Connection, place: Place) -> Days:
    """What the verbs that end jobs must know. Reads only."""
    return covered(*await _look(connection, place.sql("days"), place))


async def ensure_days(connection: Connection, place: Place) -> Days:
    """Make the days that are missing, from yesterday to a week ahead; the same answer as `days_of`.

    In a transaction of its own, with an advisory lock while something is missing. A day is made apart and attached,
    which stops neither readers nor writers.
    """
    sql = place.sql("days")
    there, today = await _look(connection, sql, place)
    if missing(there, today):
        async with connection.transaction():
            await connection.execute(sql["lock"], place.schema)
            there, today = await _look(connection, sql, place)
            for day in missing(there, today):
                await connection.execute(of_day(sql["make"], day))
                await connection.execute(of_day(sql["attach"], day))
        there, today = await _look(connection, sql, place)
    return covered(there, today)


def missing(there: Iterable[date], today: date) -> list[date]:
    """The days that have to be made."""
    wanted = [today + number * _DAY for number in range(-BEFORE, AHEAD + 1)]
    return [day for day in wanted if day not in set(there)]


async def all_days(connection: Connection, place: Place) -> tuple[list[Day], float]:
    """Every day that there is, oldest first, with those that were detached and not dropped; and the store's now."""
    sql = place.sql("days")
    rows = await connection.fetch(sql["days"], place.schema)
    days = [
        Day(day, size, attached, leaving) for name, size, attached, leaving in rows if (day := _date(name)) is not None
    ]
    return days, await connection.fetchval(sql["today"])


def closed(day: Day, now: float) -> bool:
    """Whether nobody writes into this day any longer: every process has looked at the days since it became too old."""
    return now >= start_of(day.date + (1 + BEFORE) * _DAY) + MARGIN


async def detach(connection: Connection, place: Place, day: Day) -> None:
    """Take a day out of `jobs_done` without stopping anybody. Not in a transaction, but for a day that is `leaving`.

    It waits for the readers of now. Begun but not done it leaves the day marked, and the next call finishes it.
    """
    await connection.execute(of_day(place.sql("days")["finish_detaching" if day.leaving else "detach"], day.date))


def of_day(statement: str, day: date) -> str:
    """The statement about this day's table."""
    text = statement.replace("{day}", table_of(day))
    return text.replace("{from}", first_id(day)).replace("{to}", first_id(day + _DAY))


async def _look(connection: Connection, sql: Mapping[str, str], place: Place) -> tuple[list[date], date]:
    """The days that take rows, and which one today is."""
    rows = await connection.fetch(sql["days"], place.schema)
    dates = [_date(name) for name, _, attached, leaving in rows if attached and not leaving]
    return [each for each in dates if each is not None], day_of(await connection.fetchval(sql["today"]))


def _date(table: str) -> date | None:
    """The day of a table; None for one that somebody else has made."""
    try:
        return datetime.strptime(table, f"{PREFIX}%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
