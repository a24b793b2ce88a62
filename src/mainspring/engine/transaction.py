"""Attempts that run inside a transaction of the store: effects, completion and follow-ups are one commit (RULES H2).

The function comes first and its settlement last, so the job's row is locked for a moment only, however long the
function takes. A lease that was lost meanwhile, an error, or a request to end takes everything back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mainspring.engine.context import Context
from mainspring.engine.patient import SURELY, patiently
from mainspring.errors import StoreFull, StoreUnavailable
from mainspring.model.conclude import Completed, Outcome, Released, completed
from mainspring.model.record import Answer, Settlement
from mainspring.store.base import INSIDE, Inside, Reads, Transaction, Transactions


class TransactionStore(Reads, Transactions, Protocol):
    """What of a store such an attempt needs."""


@dataclass(frozen=True, slots=True)
class Committed(Completed):
    """The function returned, and its settlement has been answered already: there is nothing left to write."""

    settlement: Settlement | None = None
    answer: Answer = "accepted"


async def run_within(
    store: TransactionStore,
    context: Context,
    call: Callable[[], Awaitable[object]],
    outcome_of_value: Callable[[object], Outcome],
) -> Outcome:
    """Call the function inside a transaction, and commit it together with what the attempt says.

    Raises what the function raises, and what the database has against the commit, with everything rolled back.
    Raises CancelledError when the attempt was told to end and its function returned all the same.
    """
    job = context.job
    began = asyncio.get_running_loop().time()
    transaction = await patiently(partial(store.transaction, job.worker or "", job.id), "transaction", SURELY)
    inside = Inside(store, transaction)
    try:
        context.inside = inside
        INSIDE.set(inside)
        value = await call()
        if context.cancelled:
            raise asyncio.CancelledError
        outcome = outcome_of_value(value)
        if type(outcome) is not Completed:
            return outcome  # the result cannot be stored: nothing has happened
        inside.committing = True
        settlement = completed(job, outcome, asyncio.get_running_loop().time() - began)
        try:
            answer = await committed(store, transaction, settlement)
        except (StoreUnavailable, StoreFull):
            return Released()  # taken back whole, and not the function's fault: it runs again
    finally:
        INSIDE.set(None)
        await transaction.rollback()
    if answer == "accepted":
        for tell in inside.committed:
            tell()
    return Committed(outcome.result, settlement=settlement, answer=answer)


async def committed(store: Reads, transaction: Transaction, settlement: Settlement) -> Answer:
    """The answer of the commit. One that did not come is read from the job. Raises as `Transaction.settle`."""
    try:
        return await transaction.settle(settlement)
    except StoreUnavailable:
        job = (await patiently(partial(store.get, [settlement.job]), "commit", SURELY))[0]
        if job is not None and job.settled == settlement.lease and job.state == "completed":
            return "accepted"
        raise
