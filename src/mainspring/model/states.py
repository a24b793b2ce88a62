"""THE state machine of a job, as data. Everything else looks it up; nothing else decides what may follow what.

`TABLE` is read from top to bottom: the first row of a verb and a state whose conditions all hold says what comes
next. No such row: the verb changes nothing, and says so. From this table come the diagram in the documentation
(`python -m mainspring.model.states`), the contract tests of every store, cell by cell, and the stateful tests.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, NamedTuple, get_args

State = Literal["scheduled", "waiting", "ready", "running", "completed", "dead", "expired", "cancelled"]
Terminal = Literal["completed", "dead", "expired", "cancelled"]
STATES: Final[tuple[State, ...]] = get_args(State)
TERMINAL: Final[frozenset[State]] = frozenset(get_args(Terminal))
LIVE: Final[frozenset[State]] = frozenset(STATES) - TERMINAL

Verb = Literal[
    "add", "promote", "wake", "claim", "rescue", "expire", "cancel", "reschedule", "replay", "revive", "delete",
    "complete", "retry", "repeat", "snooze", "sleep", "wait", "release", "crash", "dead", "cancelled", "expired",
]  # fmt: skip
VERBS: Final[tuple[Verb, ...]] = get_args(Verb)

SettleKind = Literal[
    "complete", "retry", "repeat", "snooze", "sleep", "wait", "release", "crash", "dead", "cancelled", "expired"
]
SETTLE_KINDS: Final[tuple[SettleKind, ...]] = get_args(SettleKind)
"""The verbs that settle a running attempt. The last three end it so; `expired` only before its start."""

Condition = Literal["delayed", "held", "due", "cancel requested", "expired", "crash limit", "again", "there", "forced"]


class Row(NamedTuple):
    """One line of the table: `verb` moves a job from `state` to `to` when all of `when` hold."""

    verb: Verb
    state: State | None
    to: State | None
    when: tuple[Condition, ...] = ()


TABLE: Final[tuple[Row, ...]] = (
    Row("add", None, "waiting", ("held",)),
    Row("add", None, "scheduled", ("delayed",)),
    Row("add", None, "ready"),
    Row("promote", "scheduled", "waiting", ("due", "held")),
    Row("promote", "scheduled", "ready", ("due",)),
    Row("wake", "waiting", "scheduled", ("delayed",)),
    Row("wake", "waiting", "ready"),
    Row("claim", "ready", "expired", ("expired",)),
    Row("claim", "ready", "running"),
    # A job with a cancel request leaves `running` only into a terminal state (RULES C4).
    Row("complete", "running", "completed"),
    Row("retry", "running", "cancelled", ("cancel requested",)),
    Row("retry", "running", "expired", ("expired",)),
    Row("retry", "running", "scheduled"),
    Row("repeat", "running", "cancelled", ("cancel requested",)),
    Row("repeat", "running", "expired", ("expired",)),
    Row("repeat", "running", "scheduled"),
    Row("snooze", "running", "cancelled", ("cancel requested",)),
    Row("snooze", "running", "expired", ("expired",)),
    Row("snooze", "running", "scheduled"),
    Row("sleep", "running", "cancelled", ("cancel requested",)),
    Row("sleep", "running", "scheduled"),
    Row("wait", "running", "cancelled", ("cancel requested",)),
    Row("wait", "running", "ready", ("there",)),
    Row("wait", "running", "waiting"),
    Row("release", "running", "cancelled", ("cancel requested",)),
    Row("release", "running", "scheduled", ("delayed",)),
    Row("release", "running", "ready"),
    Row("crash", "running", "cancelled", ("cancel requested",)),
    Row("crash", "running", "dead", ("crash limit",)),
    Row("crash", "running", "ready"),
    Row("dead", "running", "dead"),
    Row("cancelled", "running", "cancelled"),
    Row("expired", "running", "expired"),
    Row("rescue", "running", "cancelled", ("cancel requested",)),
    Row("rescue", "running", "dead", ("crash limit",)),
    Row("rescue", "running", "scheduled", ("again",)),
    Row("rescue", "running", "ready"),
    Row("expire", "scheduled", "expired", ("expired",)),
    Row("expire", "waiting", "expired", ("expired",)),
    Row("expire", "ready", "expired", ("expired",)),
    Row("cancel", "scheduled", "cancelled"),
    Row("cancel", "waiting", "cancelled"),
    Row("cancel", "ready", "cancelled"),
    Row("cancel", "running", "running"),
    Row("reschedule", "scheduled", "scheduled", ("delayed",)),
    Row("reschedule", "scheduled", "ready"),
    Row("reschedule", "ready", "scheduled", ("delayed",)),
    Row("reschedule", "ready", "ready"),
    Row("replay", "dead", "waiting", ("held",)),
    Row("replay", "dead", "ready"),
    Row("replay", "expired", "waiting", ("held",)),
    Row("replay", "expired", "ready"),
    Row("replay", "cancelled", "waiting", ("held",)),
    Row("replay", "cancelled", "ready"),
    Row("replay", "completed", "ready", ("forced",)),
    Row("revive", "cancelled", "waiting"),
    Row("delete", "completed", None),
    Row("delete", "dead", None),
    Row("delete", "expired", None),
    Row("delete", "cancelled", None),
)

_ROWS: Final[dict[tuple[Verb, State | None], tuple[Row, ...]]] = {
    (verb, state): tuple(row for row in TABLE if row.verb == verb and row.state == state)
    for verb in VERBS
    for state in (None, *STATES)
}

_PLAIN: Final[dict[tuple[Verb, State | None], State | None]] = {
    cell: next((row.to for row in rows if not row.when), None) for cell, rows in _ROWS.items()
}


def allowed(verb: Verb, state: State | None) -> bool:
    """Whether the verb can change a job in this state at all."""
    return bool(_ROWS[verb, state])


def target(verb: Verb, state: State | None, holding: Collection[Condition] = ()) -> State | None:
    """The state after the verb, given the conditions that hold; None when the verb may not change this job.

    >>> target("retry", "running")
    'scheduled'
    >>> target("retry", "running", {"cancel requested"})
    'cancelled'
    >>> target("claim", "completed") is None
    True
    """
    if not holding:
        return _PLAIN[verb, state]
    for row in _ROWS[verb, state]:
        if all(condition in holding for condition in row.when):
            return row.to
    return None


def diagram() -> str:
    """The table as a Mermaid state diagram, one arrow for each pair of states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in TABLE:
        label = row.verb if not row.when else f"{row.verb} ({', '.join(row.when)})"
        labels = arrows.setdefault((row.state or "[*]", row.to or "[*]"), [])
        if label not in labels:
            labels.append(label)
    lines = [f"    {start} --> {end}: {', '.join(labels)}" for (start, end), labels in arrows.items()]
    return "\n".join(["stateDiagram-v2", *lines])


if __name__ == "__main__":
    print(diagram())
