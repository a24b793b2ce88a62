"""Declared schedules: those that code says with `@app.every`, `@app.cron` and `@app.daily`, and how a store gets them."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from typing import Final

from mainspring.app.bound import BoundTask
from mainspring.app.plan import Declarations, Declared, Vanished, code_of
from mainspring.app.schedule_options import ScheduleOptions, ScheduleSpec, check_template, checked_trigger
from mainspring.app.schedule_writes import Decide, asked, written
from mainspring.app.schedules import decided
from mainspring.app.tasks import Task
from mainspring.errors import AppError, TaskDefinitionError
from mainspring.model.flow import One
from mainspring.model.planning import paused
from mainspring.model.schedule import VANISHED, ScheduleRecord
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.model.triggers import Trigger
from mainspring.store.base import Store

log = logging.getLogger("mainspring.app")

PAGE: Final = 1000


def declaration(
    task: Task[..., object],
    trigger: Trigger,
    id: str | None,  # noqa: A002  # the word of the face
    options: ScheduleOptions,
) -> Declared:
    """The schedule of a task. Raises TaskDefinitionError unless its code is here and it can be called without arguments."""
    checked_trigger(trigger)
    try:
        fn = task.registered.fn
    except AppError as error:
        raise TaskDefinitionError(f"{error}; put its schedule with app.schedules.put(…)") from error
    required = [name for name in task.returns.names if name in task.returns.required]
    if required:
        raise TaskDefinitionError(
            f"task {task.name!r} cannot run by itself: nobody gives it {required[0]!r}. Give the parameter a default, or "
            f"say what it gets: app.schedules.put({id or task.name!r}, …, task.bind({required[0]}=…))"
        )
    work: BoundTask[object] = BoundTask(One(check_template(task.template)), task.returns, task.name)
    return Declared(ScheduleSpec(task.name if id is None else id, trigger, work, **options), code_of(fn))


async def synchronise(store: Store, declared: Declarations, kinds: TriggerKinds) -> tuple[str, ...]:
    """Write what is declared, and act on what is declared no more; returns the ids that were written.

    A row that stands as it should is not written again. Raises Unsupported when schedules are declared and the store
    has none, InvalidTrigger, and what the store raises.
    """
    if not store.features.schedules and not declared.schedules:
        return ()
    rows = await _vanished(store, declared)
    gone = [row.id for row in rows]
    if declared.vanished == "remove" and gone:
        await asked(partial(store.drop_schedules, gone), "removing schedules")
    changed: set[str] = set()
    decisions: dict[str, Decide] = {
        each.spec.id: _noted(changed, partial(decided, each.spec, kinds, declared_by=each.code))
        for each in declared.schedules.values()
    }
    if declared.vanished == "pause":
        decisions.update((schedule, _noted(changed, partial(_paused, declared.codes))) for schedule in gone)
    if decisions:
        await written(store, decisions)
    _tell([schedule for schedule in gone if schedule in changed or declared.vanished == "remove"], declared.vanished)
    return tuple(sorted({*changed, *(gone if declared.vanished == "remove" else ())}))


async def _vanished(store: Store, declared: Declarations) -> list[ScheduleRecord]:
    """The stored schedules of this code that it does not declare; of those that stand still none, unless to be removed."""
    rows: list[ScheduleRecord] = []
    if declared.vanished == "keep" or not declared.codes:
        return rows
    after = ""
    codes = sorted(declared.codes)
    while True:
        ask = partial(store.list_schedules, after=after, limit=PAGE, declared_by=codes)
        page = (await asked(ask, "listing schedules")).schedules
        rows += [
            row
            for row in page
            if row.id not in declared.schedules
            and (declared.vanished == "remove" or not (row.paused or row.unreadable))
        ]
        if len(page) < PAGE:
            return rows
        after = page[-1].id


def _paused(codes: Collection[str], row: ScheduleRecord | None, now: float) -> ScheduleRecord:
    """The row, paused as vanished; as it is when somebody else has acted on it meanwhile."""
    assert row is not None  # a removed one stays for a day
    if row.dropped is not None or row.paused or row.unreadable or row.declared_by not in codes:
        return row
    return paused(row, now, VANISHED)


def _noted(changed: set[str], decide: Decide) -> Decide:
    """The same decision, and a note of what it changes."""

    def noting(row: ScheduleRecord | None, now: float) -> ScheduleRecord:
        after = decide(row, now)
        (changed.discard if after is row else changed.add)(after.id)
        return after

    return noting


def _tell(gone: list[str], vanished: Vanished) -> None:
    if not gone:
        return
    names = ", ".join(map(repr, gone[:10])) + (", …" if len(gone) > 10 else "")
    what = (
        "1 schedule that this code declared once is"
        if len(gone) == 1
        else (f"{len(gone)} schedules that this code declared once are")
    )
    was, it = ("was", "it") if len(gone) == 1 else ("were", "them")
    if vanished == "remove":
        log.warning("%s declared no more, and %s removed: %s", what, was, names)
        return
    log.warning(
        "%s declared no more, and %s paused: %s. Declare %s again, or remove %s: "
        "`mainspring schedules rm`, or App(vanished='remove')",
        what, was, names, it, it,
    )  # fmt: skip
