"""What is said about a schedule: its trigger, the job of each run, and options, checked before anything is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final, TypedDict, Unpack, get_args

from mainspring.app.bound import BoundTask
from mainspring.app.options import duration, key, moment_of, optional_duration, positive
from mainspring.app.schedule_spelling import unknown_option
from mainspring.app.tasks import Task
from mainspring.clock import Duration
from mainspring.codec import decode
from mainspring.engine.triggers import pack_trigger
from mainspring.errors import InvalidOption, InvalidTrigger
from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every, Once
from mainspring.model.flow import One
from mainspring.model.record import NewJob
from mainspring.model.schedule import KEPT_RUNS, MOST_CAUGHT_UP, MOST_KEPT_RUNS, Definition, Misfire, Overlap
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.model.triggers import Except, Trigger, Union

_CONTROL: Final = frozenset(map(chr, (*range(32), *range(127, 160))))

RECORDS_EACH: Final = 3
"""Between two runs there may be a record of missed slots, and one of skipped ones."""


class ScheduleOptions(TypedDict, total=False):
    """What schedules take beside id, trigger and job. Durations are seconds or a timedelta; times are aware datetimes.

    `misfire`: what becomes of slots that nobody ran in time: `"once"` (default) runs the newest of them, `"skip"` runs
    it only when it is less than a minute late, `"all"` runs the newest `misfire_limit` (default 100, at most 1,000).
    `misfire_grace`: a slot that is later than this is not run at all. What is not run is counted as missed.

    `overlap`: what happens at a slot while the job of another slot has not ended: `"skip"` (default) leaves the slot
    out, `"allow"` runs both, `"queue"` lets one wait for the other, and leaves out those behind it.

    `start_at`, `end_at`: no slot before, none after; one slot may be at both. `max_runs`: so many slots become jobs,
    then it has finished; default: no end. `jitter`: run later than the slot by 0 up to so many seconds, always the same
    for this id, so that schedules of one minute do not start together; it may be longer than the interval: slots are
    then late by that much, and none is lost. `stop_after`: pause it when its last so many
    runs have died or expired; default: never; at most a third of `keep`. `keep`: run records that are kept, default 100, at most
    10,000; `keep_for`: and for how long, default: for ever.
    """

    misfire: Misfire
    misfire_limit: int
    misfire_grace: Duration | None
    overlap: Overlap
    start_at: datetime | None
    end_at: datetime | None
    max_runs: int | None
    jitter: Duration
    stop_after: int | None
    keep: int
    keep_for: Duration | None


class ScheduleSpec:
    """A schedule to be put, for `app.schedules.put_many`: what `put` is called with, checked.

    Raises InvalidOption that names the option, InvalidTrigger for what is no trigger.

        ScheduleSpec("nightly", Daily(time(3), tz="Europe/Berlin"), rebuild.bind("eu"), overlap="queue")
    """

    __slots__ = ("_fields", "id", "trigger", "work")

    def __init__(
        self,
        id: str,  # noqa: A002  # the word of the face
        trigger: Trigger,
        work: BoundTask[object],
        **options: Unpack[ScheduleOptions],
    ) -> None:
        self.id = schedule_id(id)
        self.trigger = checked_trigger(trigger)
        self.work = work
        self._fields = checked(options)
        self._fields["template"] = template_of(work)

    def definition(self, kinds: TriggerKinds) -> Definition:
        """What is stored. Raises InvalidTrigger for a trigger that could not be read from there: see `packed`."""
        return Definition(trigger=packed(self.trigger, kinds), from_end=self.trigger.from_end, **self._fields)

    def __repr__(self) -> str:
        return f"<ScheduleSpec {self.id} {self.trigger!r} {self.work!r}>"


def packed(trigger: Trigger, kinds: TriggerKinds) -> bytes:
    """The trigger as stored.

    Raises InvalidTrigger for what is no trigger, for one of an unknown kind, and for one of somebody's own that is not
    read as it was written: no worker could fire it.
    """
    if is_ours(trigger):
        return _packed_before(trigger, kinds)
    data = pack_trigger(trigger, kinds)
    try:
        again = kinds.from_plain(decode(data, what="the trigger"))
    except Exception as error:
        raise InvalidTrigger(f"{trigger!r} cannot be read from a store again: {error}") from error
    if again != trigger:
        raise InvalidTrigger(f"{trigger!r} is read from a store as {again!r}; see to_plain and from_plain")
    return data


@lru_cache(maxsize=1024)
def _packed_before(trigger: Trigger, kinds: TriggerKinds) -> bytes:
    """Thousands of schedules mostly share a few triggers."""
    return pack_trigger(trigger, kinds)


def is_ours(trigger: Trigger) -> bool:
    """Whether it has no part of somebody's own making."""
    match trigger:
        case Union():
            return all(map(is_ours, trigger.members))
        case Except():
            return is_ours(trigger.base) and is_ours(trigger.excluded)
        case _:
            return type(trigger) in {Every, Cron, Daily, Once}


def schedule_id(given: object) -> str:
    """The id of a schedule. Raises InvalidOption for an empty one, one above 255 bytes, and control characters."""
    text = key("the id of a schedule", given)
    if not _CONTROL.isdisjoint(text):
        raise InvalidOption(f"the id of a schedule has no control characters such as a line break; not {text!r}")
    return text


def checked_trigger(given: object) -> Trigger:
    """The same trigger. Raises InvalidTrigger for anything else, with how to make one of it."""
    if isinstance(given, Trigger):
        return given
    match given:
        case str():
            made = f"Cron({given!r})"
        case timedelta() | int() | float() if not isinstance(given, bool):
            made = f"Every({given!r})"
        case datetime():
            made = "Once(…)"
        case time():
            made = "Daily(…)"
        case type() if issubclass(given, Trigger):
            made = f"{given.__name__}(…)"
        case _:
            raise InvalidTrigger(f"a trigger is needed, such as Every(60) or Cron('@daily'); not {given!r}")
    raise InvalidTrigger(f"a trigger is needed: write {made}, not {given!r}")


def template_of(work: object) -> NewJob:
    """The job that each run adds. Raises InvalidOption for what is no bound task of one job, or says itself when."""
    if isinstance(work, Task):
        raise InvalidOption(f"a schedule needs the arguments of its jobs, too: give it {work.name}.bind(…)")
    if not isinstance(work, BoundTask):
        raise InvalidOption(f"a schedule adds jobs of a bound task such as report.bind(…), not {work!r}")
    if not isinstance(work.node, One):
        raise InvalidOption(
            f"a schedule adds one job each time, and {work!r} is several; schedule a task that enqueues the chain"
        )
    return check_template(work.node.job)


def check_template(job: NewJob) -> NewJob:
    """The same job. Raises InvalidOption for options that a job cannot have when the trigger says when it runs."""
    if job.delay or job.run_at is not None:
        raise InvalidOption("the trigger of a schedule says when its jobs run: leave out delay and run_at")
    if job.expires_at is not None:
        raise InvalidOption("expires of a schedule's jobs is a duration, which counts from each fire; not a moment")
    return job


def checked(options: Mapping[str, object]) -> dict[str, Any]:
    """Options as the fields of a Definition. Raises InvalidOption that names the option and says what it takes."""
    fields = {name: _reader(name)(value) for name, value in options.items()}
    if "misfire_limit" in fields and fields.get("misfire") != "all":
        raise InvalidOption("misfire_limit is for misfire='all' alone: say that, too, or leave it out")
    start, end = fields.get("start_at"), fields.get("end_at")
    if start is not None and end is not None and end < start:
        raise InvalidOption("end_at lies before start_at: no slot would ever count")
    keep, failures = fields.get("keep", KEPT_RUNS), fields.get("stop_after")
    if failures is not None and failures * RECORDS_EACH > keep:
        least = failures * RECORDS_EACH
        raise InvalidOption(
            f"stop_after={failures} may have to look at {least} run records, but keep is {keep}; raise it"
        )
    return fields


def _one_of(name: str, known: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in known:
            raise InvalidOption(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}")
        return str(value)

    return read


def _up_to(name: str, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise InvalidOption(f"{name} is a whole number from 1 to {most:,}, not {value!r}")
        return value

    return read


def _moment(name: str) -> Callable[[object], float | None]:
    return lambda value: None if value is None else moment_of(name, value)


_READERS: Final[dict[str, Callable[[object], object]]] = {
    "misfire": _one_of("misfire", get_args(Misfire)),
    "misfire_limit": _up_to("misfire_limit", MOST_CAUGHT_UP),
    "misfire_grace": lambda value: optional_duration("misfire_grace", value),
    "overlap": _one_of("overlap", get_args(Overlap)),
    "start_at": _moment("start_at"),
    "end_at": _moment("end_at"),
    "max_runs": lambda value: positive("max_runs", value),
    "jitter": lambda value: duration("jitter", value),
    "stop_after": lambda value: positive("stop_after", value),
    "keep": _up_to("keep", MOST_KEPT_RUNS),
    "keep_for": lambda value: optional_duration("keep_for", value),
}


def _reader(name: str) -> Callable[[object], Any]:
    reader = _READERS.get(name)
    if reader is None:
        raise InvalidOption(unknown_option(name, sorted(_READERS)))
    return reader
