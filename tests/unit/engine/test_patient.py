from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from mainspring.engine.patient import STORE_RETRY, patiently
from mainspring.errors import StoreClosed, StoreUnavailable
from mainspring.retries import Hooks, Retry, constant, set_active, set_hooks, set_testing
from mainspring.testing.virtual import run_virtual

AGAIN = Retry(on=StoreUnavailable, attempts=None, give_up_after=10, backoff=constant(4))


def answering(*errors: Exception, took: float = 0.0) -> Callable[[], Awaitable[str]]:
    left = list(errors)

    async def ask() -> str:
        await asyncio.sleep(took)
        if left:
            raise left.pop(0)
        return "answer"

    return ask


def timed(call: Callable[[], Awaitable[str]]) -> tuple[str | BaseException, float]:
    async def main() -> tuple[str | BaseException, float]:
        try:
            answer: str | BaseException = await call()
        except Exception as error:
            answer = error
        return answer, asyncio.get_running_loop().time()

    return run_virtual(main())


def test_one_line_when_trouble_begins_and_one_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    errors = [StoreUnavailable("gone")] * 3
    assert timed(lambda: patiently(answering(*errors), "claim", AGAIN)) == (errors[2], 8.0)
    assert timed(lambda: patiently(answering(*errors[:2]), "settle", AGAIN)) == ("answer", 8.0)
    assert timed(lambda: patiently(answering(), "beat", AGAIN)) == ("answer", 0.0)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "claim: the store did not answer, asking again: StoreUnavailable('gone')"),
        ("WARNING", "settle: the store did not answer, asking again: StoreUnavailable('gone')"),
        ("INFO", "settle: the store answers again"),
    ]


def test_unclear_is_called_after_each_failure_the_last_too() -> None:
    heard: list[None] = []
    for errors in ([], [StoreUnavailable("gone")] * 2, [StoreUnavailable("gone"), StoreClosed("closed")]):
        timed(partial(patiently, answering(*errors), "claim", unclear=lambda: heard.append(None)))
    assert len(heard) == 0 + 2 + 2


def test_it_asks_for_ever_unless_the_error_is_another() -> None:
    errors = [StoreUnavailable("gone")] * 500
    answer, took = timed(lambda: patiently(answering(*errors), "claim"))
    assert answer == "answer"
    assert took > 500
    closed = StoreClosed("closed")
    assert timed(lambda: patiently(answering(*errors[:3], closed), "claim", STORE_RETRY))[0] is closed


def test_a_question_that_was_asked_is_never_cut_short() -> None:
    error = StoreUnavailable("gone")
    answer, took = timed(lambda: patiently(answering(error, took=9.0), "claim", AGAIN))
    assert (answer, took) == ("answer", 22.0)


def test_the_switches_and_hooks_of_the_process_do_not_concern_it() -> None:
    """Settling what was done must not depend on a switch that a program sets for its own calls."""
    told: list[object] = []
    set_hooks(Hooks(told.append, told.append, told.append))
    try:
        for switch in (set_active, lambda on: set_testing(not on)):
            switch(False)
            assert timed(lambda: patiently(answering(StoreUnavailable("gone")), "claim", AGAIN)) == ("answer", 4.0)
            switch(True)
    finally:
        set_hooks()
    assert told == []


def test_a_cancellation_that_the_store_made_an_error_of_ends_it() -> None:
    async def ask() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            raise StoreUnavailable("lost while closing")

    async def main() -> bool:
        task = asyncio.ensure_future(patiently(ask, "claim"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtual(main())
