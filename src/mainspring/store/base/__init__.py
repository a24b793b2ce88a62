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
from mainspring.store.base.life import Features, Finding, Life
from mainspring.store.base.reads import Count, Filter, Page, Reads, WorkerSeen
from mainspring.store.base.schedules import Fire, FireAnswer, ScheduleRecord, Schedules
from mainspring.store.base.steps import Step, StepAnswer, Steps


class Store(Jobs, Upkeep, Schedules, Steps, Reads, Life, Protocol):
    """Everything that Mainspring asks of a store."""


__all__ = [
    "Added",
    "Beat",
    "BeatReply",
    "CancelAnswer",
    "ChangeAnswer",
    "Claim",
    "Claimed",
    "Count",
    "Features",
    "Filter",
    "Finding",
    "Fire",
    "FireAnswer",
    "Held",
    "Jobs",
    "Lane",
    "Life",
    "Page",
    "Reads",
    "ReplayAnswer",
    "ScheduleRecord",
    "Schedules",
    "Started",
    "Step",
    "StepAnswer",
    "Steps",
    "Store",
    "Swept",
    "Upkeep",
    "Worker",
    "WorkerSeen",
]
