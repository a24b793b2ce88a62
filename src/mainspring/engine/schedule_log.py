"""What the log says about schedules, in words; and which of them add jobs that nobody here can run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mainspring.clock import moment
from mainspring.model.schedule import Fire, Run, ScheduleRecord

NAMED: Final = 5
"""Schedules that one line of the log names."""

LONGEST_ERROR: Final = 200
REMEMBERED: Final = 20_000
"""How many schedules are remembered as told of; then all are forgotten, and may be told of again."""


def missed_line(fires: Sequence[Fire]) -> str:
    """Of slots that came too late: which, of one schedule; how many, of several.

    >>> missed_line([Fire(schedule="poll", revision=1, expected=0.0, missed=1, to=60.0, next=None, due=None)])
    "schedule 'poll': 1 slot came too late and was missed: 1970-01-01 00:01:00+00:00"
    """
    number = sum(fire.missed for fire in fires)
    what = "1 slot came too late and was missed" if number == 1 else f"{number} slots came too late and were missed"
    if len(fires) == 1:
        first, last = missed_between(fires[0])
        when = f": {moment(first)}" if first == last else f", from {moment(first)} to {moment(last)}"
        return f"schedule {fires[0].schedule!r}: {what}{when}"
    return f"{what}, of {len(fires)} schedules: {_names([fire.schedule for fire in fires])}"


def missed_between(fire: Fire) -> tuple[float, float]:
    """The first and the last slot that a fire leaves out as too late."""
    first = fire.to if fire.missed_from is None else fire.missed_from
    return first, first if fire.missed_to is None else fire.missed_to


def stopped_line(schedule: ScheduleRecord, runs: Sequence[Run]) -> str:
    """Of a schedule that is paused after its last runs have failed; `runs`: what is known of them, oldest first."""
    number = schedule.definition.stop_after or 0
    failed = "its last run failed" if number == 1 else f"its last {number} runs failed"
    error = next((run.error for run in reversed(runs) if run.error), "")
    said = " ".join(error.split())
    said = said if len(said) <= LONGEST_ERROR else f"{said[: LONGEST_ERROR - 1]}…"
    name = schedule.id
    return (
        f"schedule {name!r} is paused: {failed}{f', the last with {said}' if said else ''}. When that is mended, resume "
        f"it: `mainspring schedules resume {name}`, or app.schedules.resume({name!r})"
    )


class Strangers:
    """Schedules that add jobs of tasks which are not known here: each is told of once for each task.

    That may be well, where other workers know the task, and they cannot be asked. It is not when a task was renamed.
    """

    def __init__(self, knows: Callable[[str, str], bool]) -> None:
        self._knows = knows
        self._told: set[tuple[str, str, str]] = set()
        self._new: dict[tuple[str, str], list[str]] = {}

    def note(self, schedule: ScheduleRecord) -> None:
        """This schedule has a slot that became a job, or would have."""
        template = schedule.definition.template
        if self._knows(template.task, template.version):
            return
        key = (schedule.id, template.task, template.version)
        if key in self._told:
            return
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told.add(key)
        self._new.setdefault(key[1:], []).append(schedule.id)

    def lines(self) -> list[str]:
        """What there is to tell since the last call, a line for each task."""
        new, self._new = self._new, {}
        return [
            f"{_number(schedules)} jobs of task {task!r}{f', version {version!r}' if version else ''}, which this worker "
            "does not know; where no other worker does, they wait for ever. If the task was renamed, put the schedule "
            "again with the new name, or remove it"
            for (task, version), schedules in new.items()
        ]


def _number(schedules: Sequence[str]) -> str:
    if len(schedules) == 1:
        return f"schedule {schedules[0]!r} adds"
    return f"{len(schedules)} schedules ({_names(schedules)}) add"


def _names(schedules: Sequence[str]) -> str:
    return ", ".join(map(repr, schedules[:NAMED])) + (", …" if len(schedules) > NAMED else "")
