"""The run records of a schedule: how they follow from a fire, and from the ends of jobs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from msgspec.structs import replace

from mainspring.model.record import JobRecord, NewGroup, NewJob
from mainspring.model.schedule import Run, ScheduleRecord, SlotJob


class Ledger:
    """The jobs, groups and run records of one fire, numbered on from the last one. `newest`: oldest first."""

    def __init__(self, schedule: ScheduleRecord, newest: Sequence[Run], now: float) -> None:
        self._schedule = schedule
        self._now = now
        self._runs: dict[int, Run] = {}
        self._growing: dict[str, Run] = {}
        for run in newest:
            self._follow(run)
        self.number = schedule.number
        self.jobs: list[NewJob] = []
        self.groups: list[NewGroup] = []

    @property
    def runs(self) -> tuple[Run, ...]:
        """The records to write, by number."""
        return tuple(self._runs[number] for number in sorted(self._runs))

    def run(
        self,
        kind: Literal["slot", "trigger"],
        slots: Sequence[SlotJob],
        open_runs: Sequence[Run],
        refused: Collection[str] = (),
    ) -> int:
        """Add the jobs that the rule of overlap lets be, and that are not `refused`; the rest is skipped.

        Returns how many were added. Where one run must wait for another, the earlier one is the only member of a
        group that lets the later one go, however it ends.
        """
        overlap = self._schedule.definition.overlap
        allowed = len(slots)
        if open_runs and overlap != "allow":
            # One that was begun without a group, under another rule, cannot be waited for.
            allowed = int(overlap == "queue" and len(open_runs) == 1 and open_runs[0].group is not None)
        # One that is refused lets none behind it in: whether that one's key is free, nobody has looked.
        taken = [each for each in slots[:allowed] if each.job not in refused]
        tied = overlap == "queue" or (overlap == "skip" and len(taken) > 1)
        waits_on = open_runs[0].group if open_runs and overlap == "queue" else None
        jobs = {each.job for each in taken}
        for each in slots:
            if each.job in jobs:
                self._add(kind, each, waits_on, each.group if tied else None)
                waits_on = each.group if tied else None
            elif kind == "slot":
                self.left_out("skipped", each.slot, each.slot, 1)
        return len(taken)

    def left_out(self, kind: Literal["missed", "skipped"], first: float | None, last: float | None, count: int) -> None:
        """Record slots that do not run: in the record of that kind since the last run, if there is one."""
        run = self._growing.get(kind)
        if run is not None:
            self._write(replace(run, last_slot=last, count=run.count + count, fired=self._now, ended=self._now))
            return
        self.number += 1
        self._write(
            Run(
                schedule=self._schedule.id,
                number=self.number,
                kind=kind,
                slot=first,
                last_slot=last,
                count=count,
                fired=self._now,
                state=kind,
                ended=self._now,
            )
        )

    def _add(self, kind: Literal["slot", "trigger"], each: SlotJob, waits_on: str | None, group: str | None) -> None:
        slot = each.slot if kind == "slot" else None
        name = self._schedule.id
        template = self._schedule.definition.template
        self.jobs.append(replace(template, id=each.job, schedule=name, slot=slot, waits_on=waits_on, group=group))
        if group is not None:
            self.groups.append(NewGroup(id=group, size=1, on_failure="wait"))
        self.number += 1
        self._write(
            Run(schedule=name, number=self.number, kind=kind, slot=slot, job=each.job, group=group, fired=self._now)
        )

    def _write(self, run: Run) -> None:
        self._runs[run.number] = run
        self._follow(run)

    def _follow(self, run: Run) -> None:
        """A run ends the records of slots left out before it."""
        if run.job is None:
            self._growing[run.kind] = run
        else:
            self._growing.clear()


def ended_run(run: Run, job: JobRecord | None, now: float) -> Run:
    """An open run with the end of its job, when that has ended; `job` is None when it is gone."""
    if job is None:
        return replace(run, state="removed", ended=now)
    if not job.terminal:
        return run
    return replace(
        run,
        state=job.state,
        started=job.started if job.started is not None else job.claimed,
        ended=job.finished if job.finished is not None else now,
        attempts=job.attempt,
        error="" if job.error is None else f"{job.error.type}: {job.error.message}",
    )


def seen_run(run: Run, job: JobRecord | None, now: float) -> Run:
    """A run as people see it: an open one in the state in which its job is."""
    if not run.open:
        return run
    if job is None or job.terminal:
        return ended_run(run, job, now)
    return replace(run, state=job.state, started=job.started, attempts=job.attempt)


def reopened_run(run: Run) -> Run:
    """The run of a job that was replayed: its end is still to come."""
    return replace(run, state=None, started=None, ended=None, attempts=0, error="")
