"""The contract that every store fulfils: small Protocols, one file for each group of verbs, joined as `Store`."""

from __future__ import annotations

from typing import Protocol

from mainspring.store.base.jobs import (
    Added,
    Beat,
    BeatReply,
    CancelAnswer,
    ChangeAnswer,
    Claim,
    Claimed,
    Held,
    Jobs,
    Lane,
    ReplayAnswer,
    Started,
    Swept,
    Upkeep,
    Worker,
)
from mainspring.store.base.life import Features, Finding, Life, Lifeline
from mainspring.store.base.reads import Count, Filter, Page, Reads, WorkerSeen
from mainspring.store.base.schedules import (
    Due,
    DueSchedule,
    PutAnswer,
    RunNow,
    SchedulePut,
    Schedules,
    SchedulesSeen,
)
from mainspring.store.base.steps import Step, StepAnswer, Steps
from mainspring.store.base.transaction import INSIDE, Inside, Transaction, Transactions, inside_of


class Store(Jobs, Upkeep, Schedules, Steps, Reads, Transactions, Life, Protocol):
    """Everything that Mainspring asks of a store."""


__all__ = [
    "INSIDE",
    "Added",
    "Beat",
    "BeatReply",
    "CancelAnswer",
    "ChangeAnswer",
    "Claim",
    "Claimed",
    "Count",
    "Due",
    "DueSchedule",
    "Features",
    "Filter",
    "Finding",
    "Held",
    "Inside",
    "Jobs",
    "Lane",
    "Life",
    "Lifeline",
    "Page",
    "PutAnswer",
    "Reads",
    "ReplayAnswer",
    "RunNow",
    "SchedulePut",
    "Schedules",
    "SchedulesSeen",
    "Started",
    "Step",
    "StepAnswer",
    "Steps",
    "Store",
    "Swept",
    "Transaction",
    "Transactions",
    "Upkeep",
    "Worker",
    "WorkerSeen",
    "inside_of",
]
