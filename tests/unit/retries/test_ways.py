"""The four ways to make attempts do the same: same attempts, waits, hooks and ends, whatever fails how often."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.retries import (
    CircuitBreaker,
    RetriesExhausted,
    Retry,
    RetryBudget,
    Rule,
    attempts_of,
    constant,
    linear,
    retry,
    retrying,
)
from mainspring.retries.hooks import Hooks, RetryDetails
from mainspring.testing.virtual import run_virtual
from tests.unit.retries.conftest import Paced, Way, async_block, async_decorator, raising, sync_block, sync_decorator

KINDS = {"o": OSError, "k": KeyError, "v": ValueError, "x": KeyboardInterrupt}


class Seen(NamedTuple):
    """All that can be seen of one call from outside."""

    result: int | str
    notes: list[str]
    attempts: list[tuple[int, str, float, float | None]]
    told: list[tuple[int, float, float | None]]


def seen(way: Way, errors: str, policy: Retry) -> Seen:
    told: list[tuple[int, float, float | None]] = []

    def note(details: RetryDetails) -> None:
        told.append((details.attempt, details.seconds, details.wait))

    try:
        result = way(raising(*(KINDS[letter](letter) for letter in errors)), policy, hooks=Hooks(note, note, note))
    except BaseException as error:
        attempts = [(one.number, repr(one.error), one.seconds, one.wait) for one in attempts_of(error)]
        return Seen(repr(error), getattr(error, "__notes__", []), attempts, told)
    return Seen(result, [], [], told)


def policies(limit: float | None, budget: bool) -> Retry:
    return Retry(
        Rule(OSError, 4, linear(1)),
        Rule(KeyError, 2, constant(0)),
        give_up_after=limit,
        budget=RetryBudget(burst=3) if budget else None,
    )


@given(
    errors=st.text("ookvx", max_size=9),
    limit=st.sampled_from([None, 2.5, 60.0]),
    budget=st.booleans(),
)
def test_all_ways_do_the_same(errors: str, limit: float | None, budget: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        results: list[Seen] = []
        for way in (sync_decorator, sync_block, async_decorator, async_block):
            paced = Paced()
            patch.setattr("mainspring.retries.pace.sleep", paced.sleep)
            patch.setattr("mainspring.retries.pace.monotonic", paced.clock.monotonic)
            results.append(seen(way, errors, policies(limit, budget)))
    first, *others = results
    assert others == [first] * 3
    expected = next((place for place, letter in enumerate(errors) if letter in "vx"), len(errors))
    assert len(first.told) <= expected + 1


# --- nothing is kept ----------------------------------------------------------------------------------


class Big:
    """Held by the frame of an attempt."""


AT_ONCE = constant(0)
POLICIES: dict[str, Callable[[], Retry]] = {
    "attempts": lambda: Retry(on=OSError, attempts=3, backoff=AT_ONCE),
    "limit": lambda: Retry(on=OSError, attempts=3, backoff=AT_ONCE, give_up_after=60),
    "group": lambda: Retry(on=OSError, attempts=3, backoff=AT_ONCE, raise_group=True),
    "budget": lambda: Retry(on=OSError, attempts=3, backoff=AT_ONCE, budget=RetryBudget(burst=1)),
    "circuit": lambda: Retry(on=OSError, attempts=3, backoff=AT_ONCE, breaker=CircuitBreaker(failures=2)),
    "another error": lambda: Retry(on=KeyError),
}


def kept_by(run: Callable[[], None], held: list[weakref.ref[Big]]) -> int:
    """How much of what the attempts held is still there after the call, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        with pytest.raises((OSError, ExceptionGroup)):
            run()
        assert held
        return sum(big() is not None for big in held)
    finally:
        gc.enable()


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_an_end_keeps_no_frames_alive(policy: Callable[[], Retry]) -> None:
    held: list[weakref.ref[Big]] = []

    def fail() -> None:
        big = Big()
        held.append(weakref.ref(big))
        raise OSError

    def in_a_block() -> None:
        for attempt in retrying(policy()):
            with attempt:
                fail()

    assert kept_by(lambda: retry(policy())(fail)(), held) == 0
    assert kept_by(in_a_block, held) == 0


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("block", [False, True])
def test_an_async_end_keeps_no_frames_alive(policy: Callable[[], Retry], block: bool) -> None:
    held: list[weakref.ref[Big]] = []

    async def fail() -> None:
        big = Big()
        held.append(weakref.ref(big))
        raise OSError

    async def in_a_block() -> None:
        async for attempt in retrying(policy()):
            with attempt:
                await fail()

    async def main() -> list[Big | None]:
        try:
            await (in_a_block() if block else retry(policy())(fail)())
        except (OSError, ExceptionGroup):
            pass
        return [big() for big in held]

    gc.collect()
    gc.disable()
    try:
        kept = run_virtual(main())
        assert kept
        assert set(kept) == {None}
    finally:
        gc.enable()


def test_an_interrupted_wait_keeps_no_frames_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[Big]] = []

    def interrupt(seconds: float) -> None:
        raise InterruptedError(seconds)  # an OSError, but not of an attempt

    monkeypatch.setattr("mainspring.retries.pace.sleep", interrupt)

    def fail() -> None:
        big = Big()
        held.append(weakref.ref(big))
        raise OSError

    def in_a_block() -> None:
        for attempt in retrying(on=OSError, backoff=constant(1)):
            with attempt:
                fail()

    assert kept_by(retry(on=OSError, backoff=constant(1))(fail), held) == 0
    assert kept_by(in_a_block, held) == 0
    assert len(held) == 2


@pytest.mark.parametrize("block", [False, True])
def test_a_cancelled_wait_keeps_no_frames_alive(block: bool) -> None:
    held: list[weakref.ref[Big]] = []

    async def fail() -> None:
        big = Big()
        held.append(weakref.ref(big))
        raise OSError

    async def in_a_block() -> None:
        async for attempt in retrying(on=OSError, backoff=constant(60)):
            with attempt:
                await fail()

    async def main() -> list[Big | None]:
        call = in_a_block if block else retry(on=OSError, backoff=constant(60))(fail)
        try:
            async with asyncio.timeout(5):
                await call()
        except TimeoutError:
            pass
        return [big() for big in held]

    gc.collect()
    gc.disable()
    try:
        assert run_virtual(main()) == [None]
    finally:
        gc.enable()


def test_a_block_that_is_cut_short_lets_go_of_the_errors_before() -> None:
    held: list[weakref.ref[Big]] = []

    async def fail_once() -> None:
        if held:
            await asyncio.sleep(60)  # what the cancelled attempt itself holds, asyncio keeps for the collector
        big = Big()
        held.append(weakref.ref(big))
        raise OSError

    async def main() -> list[Big | None]:
        try:
            async for attempt in retrying(on=OSError, backoff=constant(1), give_up_after=5):
                with attempt:
                    await fail_once()
        except TimeoutError:
            pass
        return [big() for big in held]

    gc.collect()
    gc.disable()
    try:
        assert run_virtual(main()) == [None]
    finally:
        gc.enable()


def test_a_part_of_a_group_knows_the_attempts_of_the_call(way: Way) -> None:
    errors = [OSError("first"), KeyError("second"), OSError("third")]
    policy = Retry(on=(OSError, KeyError), attempts=3, backoff=constant(1), raise_group=True)
    parts: list[BaseException] = []
    try:
        way(raising(*errors), policy)
    except* KeyError as part:
        parts.append(part)
    except* OSError as rest:
        parts.append(rest)
    groups = [part for part in parts if isinstance(part, RetriesExhausted)]
    assert [group.exceptions for group in groups] == [(errors[1],), (errors[0], errors[2])]
    for group in groups:
        assert [(attempt.number, attempt.error) for attempt in attempts_of(group)] == list(enumerate(errors, 1))


def test_notes_of_a_group_are_not_shared_with_its_parts() -> None:
    group = RetriesExhausted("gave up", [OSError(), KeyError()])
    group.add_note("during the night")
    part, rest = group.split(OSError)
    assert part is not None
    assert rest is not None
    part.add_note("a part")
    assert rest.__notes__ == group.__notes__ == ["during the night"]
    assert attempts_of(part) == ()
