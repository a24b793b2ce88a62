"""The rows of the store in memory. Nothing survives the process."""

from __future__ import annotations

from mainspring.store.base import Count, Filter, Page
from mainspring.store.memory.reads import matches
from mainspring.store.memory.schedules import MemorySchedules


class MemoryRows(MemorySchedules):
    """`Rows` in memory."""

    def find(self, filter: Filter, cursor: str | None, limit: int, newest: bool) -> Page:  # noqa: A002
        found = sorted((job.id for job in self._jobs.values() if matches(job, filter)), reverse=newest)
        if cursor is not None:
            found = [each for each in found if (each < cursor if newest else each > cursor)]
        page = [self._jobs[each] for each in found[:limit]]
        return Page(page, page[-1].id if len(found) > limit else None)

    def counts(self) -> list[Count]:
        return [Count(*key, number) for key, number in sorted(self._counts.items()) if number]  # type: ignore[arg-type]
