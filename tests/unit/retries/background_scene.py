"""Functions that fail or wait as they are told, and what the tests of `background` ask of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TypeVar

import pytest

from mainspring.retries import Retry, constant
from mainspring.testing.virtual import VirtualLoop

R = TypeVar("R")
STEADY = Retry(on=OSError, backoff=constant(1))
NOW = Retry(on=OSError, backoff=constant(0.0))
PATIENT = Retry(on=OSError, attempts=None, backoff=constant(3600))


class Failing:
    """Raises these, one at each call, and then returns the number of its calls."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = errors
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= len(self.errors):
            raise self.errors[self.calls - 1]
        return self.calls


class Gate:
    """A function that says when it has begun, and ends when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = threading.Event()
        self.let = threading.Event()
        self.error = error

    def __call__(self) -> str:
        self.begun.set()
        assert self.let.wait(30)
        if self.error is not None:
            raise self.error
        return "through"


def run(main: Coroutine[object, object, R]) -> R:
    """As `asyncio.run` does, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def failing(*errors: BaseException) -> Callable[[], Coroutine[object, object, int]]:
    """Raises these, one at each call, and then returns the number of its calls."""
    calls = 0

    async def fetch() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(1)
        if calls <= len(errors):
            raise errors[calls - 1]
        return calls

    return fetch


async def slow(value: R, seconds: float) -> R:
    await asyncio.sleep(seconds)
    return value


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.001)


def until_gone(name: str) -> None:
    """No thread has this name any more."""
    until(lambda: all(thread.name != name for thread in threading.enumerate()))


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "background call" in record.getMessage()]
