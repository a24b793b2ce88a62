"""What several race tests do with schedules."""

from __future__ import annotations

from mainspring.model.schedule import Fire, Run
from mainspring.testing.contract.scheduling import NIGHTLY, ScheduleDriver
from tests.race.postgres_scene import Scene


async def due(d: ScheduleDriver, identifier: str = NIGHTLY) -> Fire:
    """What a scheduler has decided on this schedule, whose slot has come."""
    fire = d.decided(await d.stored(identifier))
    d.clock.advance(max(fire.slots[0].slot - d.clock.now(), 0.0))
    return fire


async def slots_of(d: ScheduleDriver, identifier: str = NIGHTLY) -> list[float | None]:
    """The slots in the ledger that became jobs; the jobs are asserted to say the same."""
    runs = [run for run in await d.runs(identifier) if run.kind == "slot"]
    jobs = {job.id: job.slot for job in await d.jobs_of(identifier) if job.slot is not None}
    assert jobs == {run.job: run.slot for run in runs}
    slots = [run.slot for run in runs]
    assert len(set(slots)) == len(slots)
    return slots


async def raw_runs(scene: Scene) -> list[Run]:
    """The ledger as it is written, by schedule and number, and not as the jobs stand."""
    rows = await scene.plain.fetch(
        f"SELECT schedule, number, state, job::text, date_part('epoch', ended) FROM {scene.table('schedule_runs')}"
        " ORDER BY schedule, number"
    )
    return [
        Run(schedule=schedule, number=number, kind="slot", state=state, job=job, ended=ended, fired=0.0)
        for schedule, number, state, job, ended in rows
    ]
