"""`app.schedules.sync`: the verbs of `SchedulesFace` for blocking code, in any thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar, Unpack

from mainspring.app.bound import BoundTask
from mainspring.app.connection import Connection
from mainspring.app.job import Job
from mainspring.app.schedule import Schedule
from mainspring.app.schedule_options import ScheduleOptions, ScheduleSpec
from mainspring.app.schedules import RunList, RunOrder, ScheduleList, SchedulesFace
from mainspring.model.schedule import RunState, ScheduleState
from mainspring.model.triggers import Slot, Trigger

T = TypeVar("T")


class SchedulesSync:
    """The schedules of an app, for blocking code: see `SchedulesFace` for each verb."""

    def __init__(self, schedules: SchedulesFace, connection: Connection) -> None:
        self._schedules = schedules
        self._connection = connection

    def put(
        self,
        id: str,  # noqa: A002  # the word of the face
        trigger: Trigger,
        work: BoundTask[object],
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """See `SchedulesFace.put`."""
        return self._call(lambda: self._schedules.put(id, trigger, work, **options))

    def put_many(self, specs: Iterable[ScheduleSpec]) -> ScheduleList:
        """See `SchedulesFace.put_many`."""
        return self._call(lambda: self._schedules.put_many(specs))

    def add(
        self,
        id: str | None,  # noqa: A002  # as above
        trigger: Trigger,
        work: BoundTask[object],
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """See `SchedulesFace.add`."""
        return self._call(lambda: self._schedules.add(id, trigger, work, **options))

    def replace(self, id: str, trigger: Trigger) -> Schedule:  # noqa: A002  # as above
        """See `SchedulesFace.replace`."""
        return self._call(lambda: self._schedules.replace(id, trigger))

    def pause(self, id: str) -> Schedule:  # noqa: A002  # as above
        """See `SchedulesFace.pause`."""
        return self._call(lambda: self._schedules.pause(id))

    def resume(self, id: str) -> Schedule:  # noqa: A002  # as above
        """See `SchedulesFace.resume`."""
        return self._call(lambda: self._schedules.resume(id))

    def trigger(self, id: str) -> Job[object] | None:  # noqa: A002  # as above
        """See `SchedulesFace.trigger`."""
        return self._call(lambda: self._schedules.trigger(id))

    def remove(self, id: str, *, wait: bool = False, cancel: bool = False) -> bool:  # noqa: A002  # as above
        """See `SchedulesFace.remove`."""
        return self._call(lambda: self._schedules.remove(id, wait=wait, cancel=cancel))

    def prune(self) -> int:
        """See `SchedulesFace.prune`."""
        return self._call(self._schedules.prune)

    def synchronise(self) -> tuple[str, ...]:
        """See `SchedulesFace.synchronise`."""
        return self._call(self._schedules.synchronise)

    def get(self, id: str) -> Schedule:  # noqa: A002  # as above
        """See `SchedulesFace.get`."""
        return self._call(lambda: self._schedules.get(id))

    def list(
        self,
        *,
        states: Sequence[ScheduleState] = (),
        ids: Sequence[str] | None = None,
        after: str = "",
        offset: int = 0,
        limit: int = 1000,
    ) -> ScheduleList:
        """See `SchedulesFace.list`."""
        return self._call(lambda: self._schedules.list(states=states, ids=ids, after=after, offset=offset, limit=limit))

    def next_fires(self, id: str, n: int = 5) -> tuple[Slot, ...]:  # noqa: A002  # as above
        """See `SchedulesFace.next_fires`."""
        return self._call(lambda: self._schedules.next_fires(id, n))

    def runs(
        self,
        id: str,  # noqa: A002  # as above
        *,
        states: Sequence[RunState] = (),
        from_number: int = 0,
        started_from: datetime | None = None,
        started_to: datetime | None = None,
        order: RunOrder = "number",
        descending: bool = False,
        newest: int | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> RunList:
        """See `SchedulesFace.runs`."""
        return self._call(
            lambda: self._schedules.runs(
                id,
                states=states,
                from_number=from_number,
                started_from=started_from,
                started_to=started_to,
                order=order,
                descending=descending,
                newest=newest,
                offset=offset,
                limit=limit,
            )
        )

    def _call(self, verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._connection.call(verb)
