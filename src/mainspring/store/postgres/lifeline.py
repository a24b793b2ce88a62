"""Beats: those of the store, and those over a connection apart, for another thread (RULES C8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mainspring.store.base import Beat, BeatReply
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Before, Pool


async def beat_through(pool: Pool, sql: str, beat: Beat) -> BeatReply:
    """See `Upkeep.beat`. One statement."""
    progress = dict(beat.progress)
    rows = await pool.fetch(
        sql,
        beat.worker,
        beat.stalled,
        list(progress),
        [value.decode() for value in progress.values()],
        [each.job for each in beat.started],
        [each.lease for each in beat.started],
        [each.ran for each in beat.started],
    )
    now, known, cancel, paused = rows[0]
    return BeatReply(now, known, tuple(cancel), tuple(paused)) if known else BeatReply(now, known=False)


class PostgresLifeline:
    """See `store.base.Lifeline`. One connection, which looks at no schema and hears no notices."""

    def __init__(self, place: Place, *, before: Before | None = None) -> None:
        self._pool: Final = Pool(replace(place, pool=1, notify=False), before=before)
        self._sql: Final = place.sql("upkeep")["beat"]

    async def open(self) -> None:
        """See `Lifeline.open`."""
        await self._pool.open()

    async def beat(self, beat: Beat) -> BeatReply:
        """See `Lifeline.beat`."""
        return await beat_through(self._pool, self._sql, beat)

    async def close(self) -> None:
        """See `Lifeline.close`."""
        await self._pool.close()
