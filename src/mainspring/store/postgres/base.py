"""What the verbs of the store stand on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mainspring.ids import IdSource, new_id
from mainspring.store.base import Lane
from mainspring.store.postgres.claims import Bounds, Ration
from mainspring.store.postgres.floors import Floors
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Before, Pool
from mainspring.store.postgres.transact import Transact
from mainspring.store.postgres.wake import Wake

SELDOM: Final = 0.05
"""Seconds that a look may cost that is made about once a second, without being put off the next time."""

GROUPS: Final = ("jobs", "upkeep", "reads")


class Base:
    """A place, its connections, and what this process remembers of what it has asked."""

    def __init__(self, place: Place, *, ids: IdSource = new_id, before: Before | None = None) -> None:
        self._place = place
        self._ids = ids
        self._pool = Pool(place, before=before)
        self._wake = Wake(self._pool, place)
        self._floors = Floors()
        self._transact = Transact(self._pool, place, ids, self._became_ready, self._floors)
        self._sql = {name: text for group in GROUPS for name, text in place.sql(group).items()}
        self._bounds: dict[str, Bounds] = {}
        self._unclear: set[str] = set()
        self._strays, self._watching = Ration(0.01, 60.0, SELDOM), Ration(cheap=SELDOM)
        self._lanes: list[Lane] = []
        self._lanes_ration = Ration(0.02, 15.0, SELDOM)

    async def now(self) -> float:
        rows = await self._pool.fetch(self._sql["now"])
        return float(rows[0][0])

    def _became_ready(self, queues: Iterable[str], told: str = "") -> None:
        """Tell who waits for work here and elsewhere; without a name, of everything. `told`: what `due_now` gave."""
        names = frozenset(queues)
        self._wake.local(names)
        self._wake.tell(names, told)
