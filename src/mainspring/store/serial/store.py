"""The `Store` face of a store with one writer, but for what the backend gives."""

from __future__ import annotations

from mainspring.store.serial.jobs import JobVerbs
from mainspring.store.serial.later import LaterParts
from mainspring.store.serial.reads import ReadVerbs
from mainspring.store.serial.schedule_verbs import ScheduleVerbs
from mainspring.store.serial.workers import WorkerVerbs


class SerialStore(JobVerbs, WorkerVerbs, ScheduleVerbs, ReadVerbs, LaterParts):
    """All verbs over one writer. A backend adds `features`, opening and closing, `check`, and runs the verbs.

    And `wait` and `wait_schedules`, since only it knows how news comes.
    """
