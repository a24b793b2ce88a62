"""The tallies of ended jobs: each batch appends its own, so that no two wait for each other; here they are added up."""

from __future__ import annotations

from typing import Final

from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Pool

AT_ONCE: Final = 20_000
"""Rows that one statement adds up."""

WORTHWHILE: Final = 500
"""Fewer rows than this are left: reading them costs less than writing them anew."""

MOST: Final = 50
"""Statements of one call; what is left then is for the next."""


async def fold(pool: Pool, place: Place) -> int:
    """Add tallies up, in bounded steps; returns how many rows there are fewer.

    Rows that somebody else adds up at the same time are skipped. What is appended meanwhile is counted as well, since
    a sum over all rows is the same before and after.
    """
    sql = place.sql("prune")
    gone = 0
    for _ in range(MOST):
        folded, left = (await pool.fetch(sql["fold"], WORTHWHILE, AT_ONCE))[0]
        gone += folded - left
        if folded < AT_ONCE:
            break
    return gone
