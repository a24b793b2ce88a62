"""Work that must not be lost: retries, services, durable jobs, schedules and workflows.

Everything here is loaded when it is first used: `from mainspring import retry` loads the retries alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        Snooze,
    )
    from mainspring.model.record import JobRecord
    from mainspring.retries import (
        TRANSIENT,
        Backoff,
        ErrorSet,
        Retry,
        Rule,
        attempts_of,
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
    "Backoff",
    "CancelJob",
    "ErrorSet",
    "GiveUp",
    "JobCancelled",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobRecord",
    "MainspringError",
    "RetriesExhausted",
    "Retry",
    "RetryLater",
    "RetryTimeout",
    "Rule",
    "Service",
    "Snooze",
    "Supervisor",
    "attempts_of",
    "constant",
    "exponential",
    "jittered",
    "linear",
    "retry",
    "retrying",
]

_HOME = {
    name: module
    for module, names in {
        "mainspring.errors": (
            "CancelJob", "GiveUp", "JobCancelled", "JobExpired", "JobFailed", "JobNotFound", "MainspringError",
            "RetriesExhausted", "RetryLater", "RetryTimeout", "Snooze",
        ),
        "mainspring.model.record": (
            "JobRecord",
        ),
        "mainspring.retries": (
            "TRANSIENT", "Backoff", "ErrorSet", "Retry", "Rule", "attempts_of", "constant", "exponential", "jittered",
            "linear", "retry", "retrying",
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
        value = globals()[name] = getattr(import_module(module), name)
        return value

    def __dir__() -> list[str]:
        return sorted([*globals(), *__all__])
