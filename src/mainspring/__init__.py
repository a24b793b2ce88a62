"""Work that must not be lost: retries, services, durable jobs, schedules and workflows.

Everything here is loaded when it is first used: `from mainspring import retry` loads the retries alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.app.app import App
    from mainspring.app.bound import Accepts, BoundTask, chain, group
    from mainspring.app.definitions import Tasks
    from mainspring.app.job import Job
    from mainspring.app.options import TaskDefaults, TaskOptions
    from mainspring.app.schedule import Schedule, ScheduleRun
    from mainspring.app.schedule_options import ScheduleOptions, ScheduleSpec
    from mainspring.app.tasks import AsyncTask, SyncTask, Task
    from mainspring.engine.context import Context
    from mainspring.errors import (
        CancelJob,
        GiveUp,
        JobCancelled,
        JobExpired,
        JobFailed,
        JobNotFound,
        MainspringError,
        RetriesExhausted,
        RetryLater,
        RetryTimeout,
        ScheduleExists,
        ScheduleNotFound,
        Snooze,
    )
    from mainspring.model.cron import Cron, Daily
    from mainspring.model.every import Every, Once
    from mainspring.model.record import JobRecord
    from mainspring.model.triggers import Slot, Trigger
    from mainspring.retries import (
        TRANSIENT,
        Backoff,
        ErrorSet,
        Retry,
        Rule,
        attempts_of,
        background,
        constant,
        exponential,
        jittered,
        linear,
        retry,
        retrying,
    )
    from mainspring.service import Service, Supervisor

__all__ = [
    "TRANSIENT",
    "Accepts",
    "App",
    "AsyncTask",
    "Backoff",
    "BoundTask",
    "CancelJob",
    "Context",
    "Cron",
    "Daily",
    "ErrorSet",
    "Every",
    "GiveUp",
    "Job",
    "JobCancelled",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobRecord",
    "MainspringError",
    "Once",
    "RetriesExhausted",
    "Retry",
    "RetryLater",
    "RetryTimeout",
    "Rule",
    "Schedule",
    "ScheduleExists",
    "ScheduleNotFound",
    "ScheduleOptions",
    "ScheduleRun",
    "ScheduleSpec",
    "Service",
    "Slot",
    "Snooze",
    "Supervisor",
    "SyncTask",
    "Task",
    "TaskDefaults",
    "TaskOptions",
    "Tasks",
    "Trigger",
    "attempts_of",
    "background",
    "chain",
    "constant",
    "exponential",
    "group",
    "jittered",
    "linear",
    "retry",
    "retrying",
]

_HOME = {
    name: module
    for module, names in {
        "mainspring.app.app": (
            "App",
        ),
        "mainspring.app.bound": (
            "Accepts", "BoundTask", "chain", "group",
        ),
        "mainspring.app.definitions": (
            "Tasks",
        ),
        "mainspring.app.job": (
            "Job",
        ),
        "mainspring.app.options": (
            "TaskDefaults", "TaskOptions",
        ),
        "mainspring.app.schedule": (
            "Schedule", "ScheduleRun",
        ),
        "mainspring.app.schedule_options": (
            "ScheduleOptions", "ScheduleSpec",
        ),
        "mainspring.app.tasks": (
            "AsyncTask", "SyncTask", "Task",
        ),
        "mainspring.engine.context": (
            "Context",
        ),
        "mainspring.errors": (
            "CancelJob", "GiveUp", "JobCancelled", "JobExpired", "JobFailed", "JobNotFound", "MainspringError",
            "RetriesExhausted", "RetryLater", "RetryTimeout", "ScheduleExists", "ScheduleNotFound", "Snooze",
        ),
        "mainspring.model.cron": (
            "Cron", "Daily",
        ),
        "mainspring.model.every": (
            "Every", "Once",
        ),
        "mainspring.model.record": (
            "JobRecord",
        ),
        "mainspring.model.triggers": (
            "Slot", "Trigger",
        ),
        "mainspring.retries": (
            "TRANSIENT", "Backoff", "ErrorSet", "Retry", "Rule", "attempts_of", "background", "constant", "exponential",
            "jittered", "linear", "retry", "retrying",
        ),
        "mainspring.service": (
            "Service", "Supervisor",
        ),
    }.items()
    for name in names
}  # fmt: skip

if not TYPE_CHECKING:  # hidden from type checkers: with it they would accept any misspelt name

    def __getattr__(name: str) -> object:
        """Load a public name at its first use, and keep it."""
        module = _HOME.get(name)
        if module is None:
            raise AttributeError(f"mainspring has no {name!r}")
        try:
            value = globals()[name] = getattr(import_module(module), name)
        except AttributeError as error:  # else it would be taken for "there is no such name", its cause unseen
            raise ImportError(f"{module} could not be loaded: {error}") from error
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
