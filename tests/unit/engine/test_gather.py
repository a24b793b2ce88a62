"""Natural group commit (RULES H7, C10, C3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mainspring.engine.gather import Gather
from mainspring.errors import EncodingError, StoreFull, StoreUnavailable
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from tests.unit.engine.workshop import virtual


class Wire:
    """A `send` that takes a second, remembers its batches, and refuses what it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.bad: set[int] = set()
        self.down = 0
        self.error: Exception = EncodingError("bad")

    async def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(list(items))
        await asyncio.sleep(1)
        if self.down:
            self.down -= 1
            raise StoreUnavailable("down")
        if self.bad & set(items):
            raise self.error
        return [item * 10 for item in items]


@virtual
async def test_H7_items_gather_while_a_batch_is_in_flight() -> None:
    wire = Wire()
    gather = Gather(wire)
    first = asyncio.create_task(gather(1))
    await asyncio.sleep(0.5)
    rest = [asyncio.create_task(gather(item)) for item in (2, 3, 4)]
    assert await first == 10
    assert [await each for each in rest] == [20, 30, 40]
    assert wire.batches == [[1], [2, 3, 4]]


@virtual
async def test_H7_an_item_goes_at_once_when_nothing_is_in_flight() -> None:
    wire = Wire()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await Gather(wire)(1)
    assert loop.time() - began == pytest.approx(1.0)


@virtual
async def test_H7_what_is_put_in_one_turn_goes_as_one() -> None:
    wire = Wire()
    gather = Gather(wire)
    assert await asyncio.gather(*(gather(item) for item in range(5))) == [0, 10, 20, 30, 40]
    assert wire.batches == [[0, 1, 2, 3, 4]]


@virtual
async def test_H7_a_batch_is_bounded_by_number_and_by_weight() -> None:
    wire = Wire()
    gather = Gather(wire, limit=3, weigh=lambda item: item, weight_limit=10)
    await asyncio.gather(*(gather(item) for item in (1, 1, 1, 1, 50, 6, 6)))
    assert wire.batches == [[1, 1, 1], [1], [50], [6], [6]]


@virtual
async def test_H7_cancelled_before_it_is_sent_it_is_not_sent() -> None:
    wire = Wire()
    gather = Gather(wire)
    first = asyncio.create_task(gather(1))
    await asyncio.sleep(0.5)
    second, third = asyncio.create_task(gather(2)), asyncio.create_task(gather(3))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == 10
    assert await third == 30
    assert wire.batches == [[1], [3]]


@virtual
async def test_H7_cancelled_in_flight_it_goes_on_for_the_others() -> None:
    wire = Wire()
    gather = Gather(wire)
    first, second = asyncio.create_task(gather(1)), asyncio.create_task(gather(2))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await second == 20
    assert wire.batches == [[1, 2]]


@virtual
async def test_C10_only_the_culprit_gets_the_error() -> None:
    wire = Wire()
    wire.bad = {3}
    gather = Gather(wire)
    answers = await asyncio.gather(*(gather(item) for item in range(6)), return_exceptions=True)
    assert isinstance(answers.pop(3), EncodingError)
    assert answers == [0, 10, 20, 40, 50]
    assert [3] in wire.batches


@virtual
async def test_C3_a_batch_whose_answer_was_lost_is_repeated() -> None:
    wire = Wire()
    wire.down = 3
    unclear: list[int] = []
    gather = Gather(wire, unclear=lambda: unclear.append(1))
    first, second = await asyncio.gather(gather(1), gather(2))
    assert (first, second) == (10, 20)
    assert wire.batches == [[1, 2]] * 4
    assert len(unclear) == 3


@virtual
async def test_C3_the_policy_says_for_how_long() -> None:
    wire = Wire()
    wire.down = 100
    gather = Gather(wire, retry=Retry(on=StoreUnavailable, attempts=3, backoff=constant(1)))
    with pytest.raises(StoreUnavailable):
        await gather(1)
    assert len(wire.batches) == 3


@virtual
async def test_a_full_disk_is_nobodys_data_and_is_not_searched_for() -> None:
    wire = Wire()
    wire.bad, wire.error = {1}, StoreFull("full")
    gather = Gather(wire)
    answers = await asyncio.gather(*(gather(item) for item in range(4)), return_exceptions=True)
    assert all(isinstance(answer, StoreFull) for answer in answers)
    assert len(wire.batches) == 1


@virtual
async def test_what_nobody_waits_for_is_told_to_the_owner() -> None:
    wire = Wire()
    wire.bad = {2}
    told: list[tuple[list[int], list[int]]] = []
    refused: list[int] = []
    gather = Gather(
        wire,
        answered=lambda items, answers: told.append((items, list(answers))),
        refused=lambda item, _error: refused.append(item),
    )
    gather.put(1)
    gather.put(2)
    await gather.flush()
    assert told == [([1], [10])]
    assert refused == [2]
    assert len(gather) == 0


@virtual
async def test_abandon_gives_up_and_says_how_much() -> None:
    wire = Wire()
    wire.down = 10**6
    gather = Gather(wire)
    waiting = asyncio.create_task(gather(1))
    gather.put(2)
    await asyncio.sleep(10)
    gather.put(3)
    assert await gather.abandon() == 3
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(gather) == 0


@virtual
async def test_a_sender_that_was_cancelled_before_it_began_leaves_nobody_waiting() -> None:
    """The end of a loop cancels tasks that have not run at all."""
    gather = Gather(Wire())
    waiting = asyncio.create_task(gather(1))
    await asyncio.sleep(0)  # it has made the sender, which has not begun
    [sender] = [task for task in asyncio.all_tasks() if task.get_name().startswith("gather:")]
    sender.cancel()
    await gather.flush()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await gather(2) == 20
