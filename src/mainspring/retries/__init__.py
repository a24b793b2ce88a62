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
    from mainspring.errors import InvalidPolicy, RetriesExhausted, RetryDefinitionError, RetryTimeout
    from mainspring.retries.attempts import FailedAttempt, attempts_of
    from mainspring.retries.backoff import Backoff, constant, exponential, jittered, linear
    from mainspring.retries.block import Attempt, Block, retrying
    from mainspring.retries.classify import SERVICE, TRANSPORT, Baseline, Category, Classification
    from mainspring.retries.decorate import RetryDecorator, retry
    from mainspring.retries.errorsets import TRANSIENT, ErrorSet
    from mainspring.retries.policy import Retry, Stop, Wait
    from mainspring.retries.rules import On, Rule

__all__ = [
    "SERVICE",
    "TRANSIENT",
    "TRANSPORT",
    "Attempt",
    "Backoff",
    "Baseline",
    "Block",
    "Category",
    "Classification",
    "ErrorSet",
    "FailedAttempt",
    "InvalidPolicy",
    "On",
    "RetriesExhausted",
    "Retry",
    "RetryDecorator",
    "RetryDefinitionError",
    "RetryTimeout",
    "Rule",
    "Stop",
    "Wait",
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
        "mainspring.errors": ("InvalidPolicy", "RetriesExhausted", "RetryDefinitionError", "RetryTimeout"),
        "mainspring.retries.attempts": ("FailedAttempt", "attempts_of"),
        "mainspring.retries.backoff": ("Backoff", "constant", "exponential", "jittered", "linear"),
        "mainspring.retries.block": ("Attempt", "Block", "retrying"),
        "mainspring.retries.classify": ("SERVICE", "TRANSPORT", "Baseline", "Category", "Classification"),
        "mainspring.retries.decorate": ("RetryDecorator", "retry"),
        "mainspring.retries.errorsets": ("TRANSIENT", "ErrorSet"),
        "mainspring.retries.policy": ("Retry", "Stop", "Wait"),
        "mainspring.retries.rules": ("On", "Rule"),
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
        return sorted([*globals(), *__all__])
