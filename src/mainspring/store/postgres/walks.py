"""Which indexes `find` walks: for each table that can hold what is wanted, the narrowest that the filter allows."""

from __future__ import annotations

from typing import Final, NamedTuple

from mainspring.model.states import TERMINAL, State
from mainspring.store.base import Filter

FEW: Final = 10_000
"""Entries that are gathered and sorted at most. Of what is more, a page is soon full along the ids."""

LIVE: Final = "jobs"
ENDED: Final = ("jobs_done", "jobs_kept")

_KEYS: Final = (("parent", "$8"), ("group_id", "$9"), ("correlation", "$10"), ("schedule", "$11"))
_BY_STATE: Final[dict[State, tuple[tuple[str, str], ...]]] = {
    "ready": (
        ("j.state = 'ready' AND NOT j.suspect", "j.queue, j.task, j.version, (-j.priority), j.due, j.id"),
        ("j.suspect AND j.state = 'ready'", "j.state, j.queue, j.task, j.version"),
    ),
    "running": (("j.state = 'running'", "j.worker"),),
    "scheduled": (("j.state = 'scheduled'", "j.due"),),
}
"""Live states that have an index, though not in the order of ids: what is in it, and its order."""


class Walk(NamedTuple):
    """A statement of `reads.sql`, on a table, and what takes the places in it."""

    statement: str
    table: str
    key: str = ""
    value: str = ""
    where: str = ""
    order: str = ""

    def places(self) -> dict[str, str]:
        """What takes the places of its statement."""
        return {"table": self.table, "key": self.key, "value": self.value, "where": self.where, "order": self.order}


def walks(wanted: Filter) -> list[list[Walk]]:
    """The walks that find all jobs of a filter, merged by id: for each group of tables, one or several."""
    found: list[list[Walk]] = []
    states = set(wanted.states)
    if not states or states - TERMINAL:
        found.append(_live(wanted))
    if not states or states & TERMINAL:
        found += [_ended(wanted, table) for table in ENDED]
    return found


def by_id(table: str) -> Walk:
    """Along the ids: what is always possible, and looks at everything."""
    return Walk("by_id", table)


def is_gathered(walk: Walk) -> bool:
    """Whether this walk is for few only: somebody has to count first."""
    return walk.statement in {"gathered", "tagged"}


def _live(wanted: Filter) -> list[Walk]:
    if key := _key(wanted, LIVE):
        return [key]
    states = [state for state in dict.fromkeys(wanted.states) if state not in TERMINAL]
    if states and all(state in _BY_STATE or state == "waiting" for state in states):
        return [walk for state in states for walk in _of_state(wanted, state)]
    return [by_id(LIVE)]


def _of_state(wanted: Filter, state: State) -> list[Walk]:
    if state == "waiting":
        return [Walk("by_key", LIVE, "state", "'waiting'", "AND j.state = 'waiting'")]
    narrowed = ""
    if state == "ready" and wanted.queue is not None:
        narrowed = " AND j.queue = $4" + (" AND j.task = $3" if wanted.task is not None else "")
    return [Walk("gathered", LIVE, where=where + narrowed, order=order) for where, order in _BY_STATE[state]]


def _ended(wanted: Filter, table: str) -> list[Walk]:
    if key := _key(wanted, table):
        return [key]
    if wanted.tags:
        return [Walk("tagged", table, where="j.tags @> $7::text[] AND j.id {beyond} $1")]
    states = {state for state in wanted.states if state in TERMINAL}
    if states and "completed" not in states:
        within = "AND j.state <> 'completed'"
        return [Walk("by_key", table, "state", f"'{state}'", within) for state in sorted(states)]
    if wanted.task is not None:
        return [Walk("by_key", table, "task", "$3", "AND j.task <> ''")]  # so that its index may be used
    return [by_id(table)]


def _key(wanted: Filter, table: str) -> Walk | None:
    """By what only few jobs share, as far as one can know."""
    values = (wanted.parent, wanted.group, wanted.correlation, wanted.schedule)
    for (key, value), given in zip(_KEYS, values, strict=True):
        if given is not None:
            return Walk("by_key", table, key, value, f"AND j.{key} IS NOT NULL")
    return None
