"""The caller's own connections, as far as jobs are added through them: asyncpg, psycopg, SQLAlchemy, Django, sqlite3.

None of these packages is imported. A connection is known by the names of its class, and is never committed, rolled back
or closed here.
"""

from mainspring.store.borrowed.awaited import Asyncpg, Awaited
from mainspring.store.borrowed.blocking import Blocking, PlainSqlite
from mainspring.store.borrowed.kinds import borrow, borrow_awaited
from mainspring.store.borrowed.statements import Row, Statement

__all__ = ["Asyncpg", "Awaited", "Blocking", "PlainSqlite", "Row", "Statement", "borrow", "borrow_awaited"]
