"""Retries: policies as values, and the decorator and the block that act on them. Needs no app and no store.

Everything here is loaded when it is first used.

>>> from mainspring.retries import TRANSIENT, Retry, Rule, retry
>>> policy = Retry(Rule(TRANSIENT, attempts=8), Rule(KeyError, attempts=2), give_up_after=120)
>>> @retry(policy)
... def load(path: str) -> str:
...     return path.upper()
>>> load("a")
'A'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.errors import CircuitOpen, InvalidPolicy, RetriesExhausted, RetryDefinitionError, RetryTimeout
    from mainspring.retries.attempt_file import SQLiteAttempts
    from mainspring.retries.attempt_store import AttemptStore, MemoryAttempts
    from mainspring.retries.attempts import FailedAttempt, attempts_of
    from mainspring.retries.background_start import background
    from mainspring.retries.background_task import BackgroundTask, background_done
    from mainspring.retries.background_thread import BackgroundThread
    from mainspring.retries.backoff import Backoff, constant, exponential, jittered, linear
    from mainspring.retries.block import Attempt, Block, retrying
    from mainspring.retries.breaker import Breaker, CircuitBreaker
    from mainspring.retries.budget import Budget, RetryBudget
    from mainspring.retries.classify import SERVICE, TRANSPORT, Baseline, Category, Classification
    from mainspring.retries.decorate import RetryDecorator, retry
    from mainspring.retries.errorsets import TRANSIENT, ErrorSet
    from mainspring.retries.hints import WaitHint, retry_after
    from mainspring.retries.hooks import Hooks, RetryDetails, set_hooks
    from mainspring.retries.policy import Retry, Stop, Wait
    from mainspring.retries.rules import On, Rule
    from mainspring.retries.switches import is_active, is_testing, set_active, set_testing

__all__ = [
    "SERVICE",
    "TRANSIENT",
    "TRANSPORT",
    "Attempt",
    "AttemptStore",
    "BackgroundTask",
    "BackgroundThread",
    "Backoff",
    "Baseline",
    "Block",
    "Breaker",
    "Budget",
    "Category",
    "CircuitBreaker",
    "CircuitOpen",
    "Classification",
    "ErrorSet",
    "FailedAttempt",
    "Hooks",
    "InvalidPolicy",
    "MemoryAttempts",
    "On",
    "RetriesExhausted",
    "Retry",
    "RetryBudget",
    "RetryDecorator",
    "RetryDefinitionError",
    "RetryDetails",
    "RetryTimeout",
    "Rule",
    "SQLiteAttempts",
    "Stop",
    "Wait",
    "WaitHint",
    "attempts_of",
    "background",
    "background_done",
    "constant",
    "exponential",
    "is_active",
    "is_testing",
    "jittered",
    "linear",
    "retry",
    "retry_after",
    "retrying",
    "set_active",
    "set_hooks",
    "set_testing",
]

_HOME = {
    name: module
    for module, names in {
        "mainspring.errors": (
            "CircuitOpen",
            "InvalidPolicy",
            "RetriesExhausted",
            "RetryDefinitionError",
            "RetryTimeout",
        ),
        "mainspring.retries.attempt_file": ("SQLiteAttempts",),
        "mainspring.retries.attempt_store": ("AttemptStore", "MemoryAttempts"),
        "mainspring.retries.attempts": ("FailedAttempt", "attempts_of"),
        "mainspring.retries.backoff": ("Backoff", "constant", "exponential", "jittered", "linear"),
        "mainspring.retries.block": ("Attempt", "Block", "retrying"),
        "mainspring.retries.breaker": ("Breaker", "CircuitBreaker"),
        "mainspring.retries.budget": ("Budget", "RetryBudget"),
        "mainspring.retries.classify": ("SERVICE", "TRANSPORT", "Baseline", "Category", "Classification"),
        "mainspring.retries.decorate": ("RetryDecorator", "retry"),
        "mainspring.retries.errorsets": ("TRANSIENT", "ErrorSet"),
        "mainspring.retries.hints": ("WaitHint", "retry_after"),
        "mainspring.retries.hooks": ("Hooks", "RetryDetails", "set_hooks"),
        "mainspring.retries.background_task": ("BackgroundTask", "background_done"),
        "mainspring.retries.background_thread": ("BackgroundThread",),
        "mainspring.retries.background_start": ("background",),
        "mainspring.retries.policy": ("Retry", "Stop", "Wait"),
        "mainspring.retries.rules": ("On", "Rule"),
        "mainspring.retries.switches": ("is_active", "is_testing", "set_active", "set_testing"),
    }.items()
    for name in names
}

if not TYPE_CHECKING:  # hidden from type checkers: with it they would accept any misspelt name

    def __getattr__(name: str) -> object:
        """Load a public name at its first use, and keep it."""
        module = _HOME.get(name)
        if module is None:
            raise AttributeError(f"mainspring.retries has no {name!r}")
        value = globals()[name] = getattr(import_module(module), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
