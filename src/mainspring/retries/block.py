"""`retrying`: the block form, for a few lines that are no function of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from types import TracebackType
from typing import overload

from mainspring.clock import Duration
from mainspring.errors import RetryDefinitionError
from mainspring.retries import pace
from mainspring.retries.attempts import Failures
from mainspring.retries.backoff import Backoff
from mainspring.retries.decorate import chosen_policy
from mainspring.retries.policy import Retry
from mainspring.retries.rules import On


@overload
def retrying(policy: Retry, /) -> Block: ...
@overload
def retrying(
    *, on: On, attempts: int | None = 5, give_up_after: Duration | None = None, backoff: Backoff | None = None
) -> Block: ...
def retrying(
    policy: Retry | None = None,
    /,
    *,
    on: On | None = None,
    attempts: int | None = 5,
    give_up_after: Duration | None = None,
    backoff: Backoff | None = None,
) -> Block:
    """Attempts as a loop: the body of `with attempt:` runs again when it fails with an error worth it.

    Means what `retry` means, with the same arguments and errors. In async code write `async for`; the `with` stays.
    Type checkers think that the loop may end without a result: put the `return` after it.

    >>> tries = 0
    >>> for attempt in retrying(on=OSError, backoff=lambda index: 0):
    ...     with attempt:
    ...         tries += 1
    ...         if tries < 3:
    ...             raise OSError("down")
    >>> tries
    3
    """
    return Block(chosen_policy(policy, on, attempts, give_up_after, backoff))


class Attempt:
    """One attempt of a block; `number` counts from 1. Enter it once, with `with`."""

    __slots__ = ("_entered", "_failures", "_wait", "number")

    def __init__(self, failures: Failures, number: int) -> None:
        self.number = number
        self._failures = failures
        self._entered = False
        self._wait: float | None = None

    def __enter__(self) -> None:
        self._entered = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self._failures.forget()
        elif isinstance(error, Exception):
            self._wait = self._failures.add(error, self._now())
        return self._wait is not None

    def wait_after(self) -> float | None:
        """Seconds before the next attempt, None when this one ended the block."""
        if not self._entered:
            raise RetryDefinitionError("nothing was attempted: write `with attempt:` inside the loop of retrying(…)")
        return self._wait

    def _now(self) -> float:
        return pace.monotonic()


class Block:
    """A loop of attempts, made by `retrying`. Each loop starts afresh, so one block may be used many times.

    Raises RetryDefinitionError when a loop comes round and its attempt was never entered by `with attempt:`.
    """

    __slots__ = ("_policy",)

    def __init__(self, policy: Retry) -> None:
        self._policy = policy

    def __iter__(self) -> Iterator[Attempt]:
        limited = self._policy.give_up_after is not None
        failures = Failures(self._policy, pace.monotonic() if limited else None)
        for number in count(1):
            attempt = Attempt(failures, number)
            yield attempt
            wait = attempt.wait_after()
            if wait is None:
                return
            if wait > 0:
                pace.sleep(wait)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        from mainspring.retries.awaiting import AsyncAttempts  # noqa: PLC0415  # asyncio is slow to load; sync code needs none

        return AsyncAttempts(self._policy)
