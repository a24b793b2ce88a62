"""Adding jobs with unique keys: one that somebody's open transaction has in hand stalls its own callers alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from mainspring.engine.gather import Gather
from mainspring.engine.patient import patiently
from mainspring.errors import KeyBusy, StoreUnavailable
from mainspring.model.record import NewGroup, NewJob
from mainspring.retries.backoff import exponential, jittered
from mainspring.retries.policy import Retry
from mainspring.store.base import Added, Store

ADD_RETRY: Final = Retry(
    on=StoreUnavailable, attempts=None, give_up_after=10, backoff=jittered(exponential(0.1, cap=2))
)
"""How long an enqueue waits for a store that cannot be reached, before it raises StoreUnavailable."""

KEY_RETRY: Final = Retry(on=KeyBusy, attempts=None, give_up_after=10, backoff=jittered(exponential(0.005, cap=0.25)))
"""How long it waits for a key that an open transaction has in hand, before it raises KeyBusy."""


class Keyed:
    """Gathers jobs with keys; a caller whose key is busy goes on alone (RULES C10).

    Raises KeyBusy when the transaction that has the key in hand does not end within 10 s.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gather: Gather[NewJob, Added | None] = Gather(self._send, what="enqueue", retry=ADD_RETRY, weigh=weight)
        self._busy: set[str | None] = set()
        self._alone: set[asyncio.Task[list[Added]]] = set()

    @property
    def waiting(self) -> int:
        """How many callers wait for a key."""
        return len(self._alone)

    async def __call__(self, new: NewJob) -> Added:
        """Store one job, together with those that others add at the same time, or alone."""
        added = None if new.unique in self._busy else await self._gather(new)
        if added is not None:
            return added
        task = asyncio.get_running_loop().create_task(add_patiently(self._store, (new,)))
        self._alone.add(task)
        try:
            return (await task)[0]
        finally:
            self._alone.discard(task)
            self._busy.discard(new.unique)

    async def flush(self) -> None:
        """Return when nothing waits or is in flight."""
        await self._gather.flush()
        if self._alone:
            await asyncio.wait(self._alone)

    async def _send(self, jobs: Sequence[NewJob]) -> Sequence[Added | None]:
        """Those whose keys are free are added at once; None for the others."""
        try:
            return await self._store.add(jobs)
        except KeyBusy as busy:
            self._busy.update(busy.keys)
            free = [new for new in jobs if new.unique not in busy.keys]
            answers = iter(await self._send(free) if free else ())
            return [None if new.unique in busy.keys else next(answers) for new in jobs]


async def add_patiently(store: Store, jobs: Sequence[NewJob], groups: Sequence[NewGroup] = ()) -> list[Added]:
    """Store these as one step; a store that cannot be reached, and a key that is busy, are waited for."""
    reached = partial(patiently, partial(store.add, jobs, groups), "enqueue", ADD_RETRY)
    return await patiently(reached, "enqueue", KEY_RETRY)


def weight(new: NewJob) -> int:
    """What a job weighs in a batch, in bytes."""
    return len(new.payload)
