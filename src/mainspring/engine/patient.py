"""Asking a store again when it could not be reached: every verb may be repeated (RULES C3)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from mainspring.errors import StoreClosed, StoreFull, StoreUnavailable, StoreUnsuitable
from mainspring.retries.backoff import exponential, jittered
from mainspring.retries.policy import Retry, Stop

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
    counters: Mapping[str, int] = {}
    began = 0.0
    while True:
        try:
            answer = await ask()
        except Exception as error:
            if unclear is not None:
                unclear()
            now = asyncio.get_running_loop().time()
            began = began if counters else now
            decision = retry.decide(error, counters, now - began, random=random.random)
            if isinstance(decision, Stop):
                raise
            if not counters:
                log.warning("%s: the store did not answer, asking again: %r", what, error)
            counters = decision.counters
            await asyncio.sleep(decision.seconds)
            continue
        if counters:
            log.info("%s: the store answers again", what)
        return answer
