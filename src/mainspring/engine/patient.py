"""Asking a store again when it could not be reached: every verb may be repeated (RULES C3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from mainspring.errors import StoreClosed, StoreFull, StoreUnavailable, StoreUnsuitable
from mainspring.retries.awaiting import attempts_async, cancellation_behind
from mainspring.retries.backoff import exponential, jittered
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.hooks import Hooks, RetryDetails
from mainspring.retries.policy import Retry

T = TypeVar("T")
log = logging.getLogger("mainspring.engine")

WAITS: Final = jittered(exponential(0.1, cap=5))
"""The waits between two questions to a store that is in trouble, in seconds."""

STORE_RETRY: Final = Retry(on=StoreUnavailable, attempts=None, backoff=WAITS)
"""How the engine waits for a store that cannot be reached: for ever, at most 5 s at a time."""

SURELY: Final = Retry(on=(StoreUnavailable, StoreFull, StoreUnsuitable), attempts=None, backoff=WAITS)
"""The same for what must not be lost to any trouble of the store: full, read-only for a while, damaged."""


def worth_another_run(error: BaseException) -> bool:
    """Whether a loop of the engine goes on after this error: not when the store was closed under it."""
    return not isinstance(error, StoreClosed)


LOOP_RETRY: Final = Retry(on=worth_another_run, attempts=None, backoff=jittered(exponential(0.1, cap=10)))
"""How a loop of the engine comes back after an error."""


def _tell_trouble(details: RetryDetails) -> None:
    if details.attempt == 1:
        log.warning("%s: the store did not answer, asking again: %r", details.name, details.error)


def _tell_end(details: RetryDetails) -> None:
    log.info("%s: the store answers again", details.name)


_IN_THE_LOG: Final = Hooks(before_wait=_tell_trouble, recovered=_tell_end)


async def patiently(
    ask: Callable[[], Awaitable[T]],
    what: str,
    retry: Retry = STORE_RETRY,
    *,
    unclear: Callable[[], None] | None = None,
) -> T:
    """The answer of `ask()`, asked again by the policy. Raises the error that the policy gives up on.

    `unclear` is called after each failure: whether the store did it is not known then. `what` names it in the log,
    which gets a line when the trouble begins and one when it is over.
    """
    try:
        return await ask()
    except Exception as error:
        on_failure = None if unclear is None else lambda _: unclear()
        failures = Failures(Terms(retry, what, hooks=_IN_THE_LOG, inner=True, on_failure=on_failure))
        clock = asyncio.get_running_loop().time
        wait = failures.add(error, clock())
        if wait is None:
            raise
        cancellation = cancellation_behind(error)
    return await attempts_async(ask, failures, clock, wait, cancellation)
