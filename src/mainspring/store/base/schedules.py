"""The verbs about schedules: stored triggers that add jobs. Each is one atomic step; all take batches.

What becomes of a schedule is decided in `mainspring.model` (`planning`, `catch_up`, `firing`); a store applies it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, Protocol

from mainspring.model.schedule import Fire, FireAnswer, Run, ScheduleRecord, SlotJob


class SchedulesSeen(NamedTuple):
    """Schedules in the order of their ids (byte order), and the store's now.

    One whose definition cannot be read is among them, as `unreadable`; this goes for what is due as well (RULES C10).
    """

    schedules: list[ScheduleRecord]
    now: float


class DueSchedule(NamedTuple):
    """A schedule that is to be looked at. Where its trigger counts from the end of a run (`from_end`):

    `active`: a run goes on; `ended`: when the run that ended last did so, None when none has.
    """

    schedule: ScheduleRecord
    active: bool = False
    ended: float | None = None


class Due(NamedTuple):
    """Schedules that are due, the earliest first; the store's now; and when the next is due that is not among them."""

    schedules: list[DueSchedule]
    now: float
    next_due: float | None


class SchedulePut(NamedTuple):
    """A row to write, and the row it was decided on, None when there was none.

    It is written only while the stored row has the same `revision`, `fired_to` and `number`, and is not dropped, or is
    dropped, as the one it was decided on. What is put is never `unreadable`; a put over one that is mends it.
    """

    record: ScheduleRecord
    stored: ScheduleRecord | None


class RunNow(NamedTuple):
    """A person's "run it now"; `job.slot` means nothing."""

    schedule: str
    job: SlotJob


PutAnswer = Literal["put", "conflict"]


class Schedules(Protocol):
    """What schedulers, and people, ask of a store."""

    async def get_schedules(self, ids: Sequence[str]) -> SchedulesSeen:
        """Those of these that there are; also the rows of removed ones (`dropped`), as long as they are kept."""
        ...

    async def list_schedules(
        self, *, after: str = "", limit: int = 1000, declared_by: Sequence[str] | None = None
    ) -> SchedulesSeen:
        """Schedules by id, from behind `after`; without removed ones. `declared_by`: only those of this code."""
        ...

    async def put_schedules(self, puts: Sequence[SchedulePut]) -> list[PutAnswer]:
        """Write these rows, each if nobody has changed or fired it meanwhile; all in one commit, answered each.

        A repeat of a put that was made is `put` again when the row still is what was to be written.
        """
        ...

    async def drop_schedules(self, ids: Sequence[str]) -> list[bool]:
        """Remove; False for one that is not there. The row stays for 24 h, for its watermark and its runs."""
        ...

    async def due_schedules(self, limit: int = 1000, *, without: Collection[str] = ()) -> Due:
        """Those that are neither paused nor removed and whose `due` has come, the earliest first; not these ids."""
        ...

    async def fire(self, fires: Sequence[Fire]) -> list[FireAnswer]:
        """Do what `firing.fired` says: add the jobs, the run records, and move the schedules on; one commit.

        A fire whose schedule somebody else holds locked is answered as `stale`; so are all but the first of several
        fires of one schedule. No slot becomes a job twice, ever: a fire that is sent again, with the same ids, adds
        nothing, and is answered `fired` as long as its job is there.
        """
        ...

    async def trigger(self, asked: Sequence[RunNow]) -> list[FireAnswer]:
        """Do what `firing.triggered` says.

        Repeated with the same job id it adds nothing more, and answers `fired`, as long as the job is there, or its
        record is among the newest 100 of the schedule.
        """
        ...

    async def runs(self, schedule: str, *, from_number: int = 0, limit: int = 10_000) -> list[Run]:
        """The newest `limit` run records from this number on, oldest first, open ones as `ledger.seen_run` shows them."""
        ...

    async def prune_runs(self, limit: int = 1000) -> int:
        """Write down the ends of runs (`ledger.ended_run`), and remove what is not to be kept; returns how many went.

        Runs beyond `keep` or older than `keep_for` (by `fired`), never open ones; schedules that were dropped 24 h ago,
        with their runs. At most `limit` of each go, but all ends are written down, in steps of so many.
        """
        ...

    async def wait_schedules(self, timeout: float) -> bool:
        """A hint: True when a schedule may have been put, changed, or due earlier; False after `timeout` seconds."""
        ...
