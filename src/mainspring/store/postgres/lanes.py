"""Which lanes have ready jobs. What has been claimed lies in the index for as long as somebody may see it (RULES H4).

A look from lane to lane walks over the dead entries at the lower end of each. While that costs much, it is done for a
small share of the time; otherwise only new lanes are looked for, between those that were known before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from mainspring.store.postgres.claims import Key, Ration
from mainspring.store.postgres.pool import Pool

FIRST: Final[Key] = ("", "", "")
LAST: Final[Key] = ("\U0010ffff", "", "")
"""Before and behind all lanes."""


class LaneLook:
    """What one process knows of the lanes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: frozenset[Key] = frozenset()
        self._all = Ration()
        self._new = Ration()

    async def look(self, sql: Mapping[str, str]) -> list[Key]:
        """The lanes, as far as a look may cost anything now; else those that were found the last times."""
        now = time.monotonic()
        if self._all.allows(now):
            self._known = await self._fetch(self._all, sql["lanes"])
        elif self._new.allows(now):
            self._known |= await self._fetch(self._new, sql["new_lanes"], *zip(*gaps(self._known), strict=True))
        return sorted(self._known)

    async def _fetch(self, ration: Ration, text: str, *parameters: object) -> frozenset[Key]:
        began = time.monotonic()
        try:
            return frozenset(
                (queue, task, version) for queue, task, version in await self._pool.fetch(text, *parameters)
            )
        finally:
            ended = time.monotonic()
            ration.took(ended - began, ended)


def gaps(known: Iterable[Key]) -> list[tuple[str, ...]]:
    """What lies between these lanes: from one, to the next, both excluded.

    >>> gaps([("q", "b", ""), ("q", "a", "")])[1]
    ('q', 'a', '', 'q', 'b', '')
    """
    ordered = sorted(known)
    return [(*low, *high) for low, high in zip([FIRST, *ordered], [*ordered, LAST], strict=True)]
