"""Where counts of failures are kept so that they outlive what counted them.

An owner is whose counts they are, such as a service by its name; a key is that of a rule (`Rule.key`), or
`baseline:<category>:<rule>`. For the one in a file see `SQLiteAttempts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from mainspring.retries.classify import Baseline
from mainspring.retries.policy import Fallback, Retry
from mainspring.retries.rules import Rule


class AttemptStore(Protocol):
    """Counts of failures by owner and key. Write your own on any database.

    Every method may raise: a service then goes on with the counts that it has in memory, and logs that once.
    """

    async def load(self, owner: str, /) -> Mapping[str, int]:
        """The counts of this owner, by key; empty when there are none."""
        ...

    async def add(self, owner: str, key: str, /) -> int:
        """Count one failure more, and return how many there were before it: 0 for a new key."""
        ...

    async def reset(self, owner: str, /) -> None:
        """Forget the counts of this owner, and of nobody else."""
        ...


class MemoryAttempts:
    """Counts in this process: they outlive a supervisor, not the process.

    >>> import asyncio
    >>> attempts = MemoryAttempts()
    >>> asyncio.run(attempts.add("poll", "builtins.OSError")), asyncio.run(attempts.load("poll"))
    (0, {'builtins.OSError': 1})
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    async def load(self, owner: str, /) -> Mapping[str, int]:
        """The counts of this owner, by key."""
        return dict(self._counts.get(owner, {}))

    async def add(self, owner: str, key: str, /) -> int:
        """Count one failure more, and return how many there were before it."""
        counts = self._counts.setdefault(owner, {})
        before = counts.get(key, 0)
        counts[key] = before + 1
        return before

    async def reset(self, owner: str, /) -> None:
        """Forget the counts of this owner."""
        self._counts.pop(owner, None)


def unstable_rule(policy: Retry) -> Rule | None:
    """The first rule that is counted by its place, which changes when rules are moved: it has no key to be kept under.

    >>> unstable_rule(Retry(on=OSError)) is None
    True
    """
    return next((rule for rule in policy.rules if rule.key.startswith("rule:")), None)


def policies_of(fallback: Fallback | None) -> Iterator[Retry]:
    """The policies of a baseline; those of a fallback of another kind are not known."""
    if isinstance(fallback, Baseline):
        yield from fallback.policies.values()
        if fallback.unknown is not None:
            yield fallback.unknown
