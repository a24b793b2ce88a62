"""`retrying`: the block form, for a few lines that are no function of their own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from itertools import count
from types import TracebackType
from typing import overload

from mainspring.clock import Duration
from mainspring.errors import RetryDefinitionError
from mainspring.retries import pace
from mainspring.retries.backoff import Backoff
from mainspring.retries.decorate import check_listeners, chosen_policy
from mainspring.retries.explain import explained
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.hooks import Hooks
from mainspring.retries.policy import Fallback, Retry
from mainspring.retries.rules import On


@overload
def retrying(policy: Retry, /, *, baseline: Fallback | None = None, hooks: Hooks | None = None) -> Block: ...
@overload
def retrying(
    *,
    on: On,
    attempts: int | None = 5,
    give_up_after: Duration | None = None,
    backoff: Backoff | None = None,
    baseline: Fallback | None = None,
    hooks: Hooks | None = None,
) -> Block: ...
@explained("retrying takes one policy, or says which errors by name, as in retrying(on=OSError, attempts=3)")
def retrying(
    policy: Retry | None = None,
    /,
    *,
    on: On | None = None,
    attempts: int | None = 5,
    give_up_after: Duration | None = None,
    backoff: Backoff | None = None,
    baseline: Fallback | None = None,
    hooks: Hooks | None = None,
) -> Block:
    """Attempts as a loop: the body of `with attempt:` runs again when it fails with an error worth it.

    Means what `retry` means, with the same arguments and errors; hooks and logs call it by the function in which it
    stands, "block" outside of one. In async code write `async for`; the `with` stays. Type checkers think that the loop may end without a result: put the `return` after
    it. Leaving the body early, by `return` or `break`, is a success.

    >>> tries = 0
    >>> for attempt in retrying(on=OSError, backoff=lambda index: 0):
    ...     with attempt:
    ...         tries += 1
    ...         if tries < 3:
    ...             raise OSError("down")
    >>> tries
    3
    """
    check_listeners(baseline, hooks)
    return Block(Terms(chosen_policy(policy, on, attempts, give_up_after, backoff), _place(), baseline, hooks))


def _place() -> str:
    """The qualified name of the function that called `retrying`, which is two calls above."""
    name = sys._getframe(3).f_code.co_qualname  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # `inspect` is slow to load, and makes a list of frames
    return "block" if name == "<module>" else name


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
        if self._failures.terms.guarded:
            self._admit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            if error is None:
                self._failures.succeeded(self._now)
            elif isinstance(error, Exception):
                self._wait = self._failures.add(error, self._now())
        finally:
            if self._wait is None:
                self._failures.close(self._now)
        return self._wait is not None

    def wait_after(self) -> float | None:
        """Seconds before the next attempt, None when this one ended the block."""
        if not self._entered:
            raise RetryDefinitionError("nothing was attempted: write `with attempt:` inside the loop of retrying(…)")
        return self._wait

    def _admit(self) -> None:
        try:
            self._failures.admit(self._now())
        except BaseException:
            self._failures.close(self._now)
            raise

    def _now(self) -> float:
        return pace.monotonic()


class Block:
    """A loop of attempts, made by `retrying`. Each loop starts afresh, so one block may be used many times.

    Raises RetryDefinitionError when a loop comes round and its attempt was never entered by `with attempt:`.
    """

    __slots__ = ("_terms",)

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def __iter__(self) -> Iterator[Attempt]:
        failures = Failures(self._terms, pace.monotonic() if self._terms.watched else None)
        try:
            for number in count(1):
                attempt = Attempt(failures, number)
                yield attempt
                wait = attempt.wait_after()
                if wait is None:
                    return
                if wait > 0:
                    pace.sleep(wait)
        finally:
            failures.close(pace.monotonic)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        from mainspring.retries.awaiting import AsyncAttempts  # noqa: PLC0415  # asyncio is slow to load; sync code needs none

        return AsyncAttempts(self._terms)
