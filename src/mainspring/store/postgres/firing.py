"""A batch of fires as one transaction: what it will ask for is locked and read for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.ids import IdSource
from mainspring.model.schedule import Fire, FireAnswer, ScheduleRecord
from mainspring.store.postgres.loads import Loads
from mainspring.store.postgres.work import Work
from mainspring.store.serial import fire as firing


class FireBatch:
    """Fires that are carried out together. Those whose schedule somebody else has in hand are left to them."""

    def __init__(self, fires: Sequence[Fire]) -> None:
        self._fires = fires
        self._trusting = True

    async def prepare(self, loads: Loads) -> float:
        """Lock and load. Nobody is waited for, but for who replays a job of these schedules just now."""
        about = loads.loaded.schedules
        now = await loads.schedules.take([each.schedule for each in self._fires])
        await self._leave_busy_keys(loads)
        going = [each for each in self._fires if _goes(each, about.schedules.get(each.schedule))]
        await loads.schedules.open_runs([each.schedule for each in going if each.schedule not in about.held])
        slots = [slot for each in going for slot in each.slots]
        loads.loaded.seen.update((slot.group, None) for slot in slots)
        await self._new_jobs(loads, [slot.job for slot in slots])
        return now

    def fire(self, rows: Work, now: float, ids: IdSource) -> list[FireAnswer]:
        """The answer to each."""
        held = rows.held_schedules
        answers = iter(firing.fire(rows, now, ids, [each for each in self._fires if each.schedule not in held]))
        return ["stale" if each.schedule in held else next(answers) for each in self._fires]

    async def _new_jobs(self, loads: Loads, jobs: Sequence[str]) -> None:
        """What fires is carried out for the first time, so its jobs are new. If the server says no, they are looked for."""
        if self._trusting:
            self._trusting = False
            loads.loaded.jobs.update(dict.fromkeys(jobs))
        else:
            await loads.new_jobs(jobs)

    async def _leave_busy_keys(self, loads: Loads) -> None:
        """Guard the keys that the jobs want; where an open transaction has one, its schedule is left for now (C10)."""
        about = loads.loaded.schedules
        wanted = {
            record.id: record.definition.template.unique
            for record in about.schedules.values()
            if record is not None and record.definition.template.unique is not None
        }
        if not wanted:
            return
        busy = await loads.free_keys(wanted.values())
        about.held.update(schedule for schedule, key in wanted.items() if key in busy)
        holders = [holder for holder in loads.loaded.keys.values() if holder is not None]
        await loads.schedules.look_at([holder.job for holder in holders if holder.until is not None])


def _goes(fire: Fire, record: ScheduleRecord | None) -> bool:
    """Whether this will do something, so that its jobs are new. Others may be repeats, whose job is there (C3)."""
    return record is not None and record.revision == fire.revision and record.due == fire.expected
