from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from mainspring.clock import FakeClock
from mainspring.retries import Retry, Rule, pace, retry, retrying, switches
from mainspring.retries.hooks import Hooks, RetryDetails, set_hooks
from mainspring.testing.virtual import run_virtual


class Paced:
    """Time that passes only by sleeping, and what was slept."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> Paced:
    """No real sleep in sync drivers; full jitter always draws the half."""
    paced = Paced()
    monkeypatch.setattr(pace, "sleep", paced.sleep)
    monkeypatch.setattr(pace, "monotonic", paced.clock.monotonic)
    monkeypatch.setattr(pace, "random", lambda: 0.5)
    return paced


@pytest.fixture(autouse=True)
def as_a_process_begins() -> Iterator[None]:
    """No test leaves hooks or switches to the next one."""
    yield
    set_hooks()
    switches.set_active(True)
    switches.set_testing(False)


# --- every way to make attempts -----------------------------------------------------------------------


class Way(Protocol):
    """Runs a plain function with attempts; `options` are those of `retry` and `retrying`."""

    def __call__(self, fn: Callable[[], int], policy: Retry, **options: Any) -> int: ...


def sync_decorator(fn: Callable[[], int], policy: Retry, **options: Any) -> int:
    return retry(policy, **options)(fn)()


def async_decorator(fn: Callable[[], int], policy: Retry, **options: Any) -> int:
    async def call() -> int:
        return fn()

    return run_virtual(retry(policy, **options)(call)())


def sync_block(fn: Callable[[], int], policy: Retry, **options: Any) -> int:
    for attempt in retrying(policy, **options):
        with attempt:
            return fn()
    raise AssertionError("the block ended without a result")


def async_block(fn: Callable[[], int], policy: Retry, **options: Any) -> int:
    async def call() -> int:
        async for attempt in retrying(policy, **options):
            with attempt:
                return fn()
        raise AssertionError("the block ended without a result")

    return run_virtual(call())


@pytest.fixture(params=[sync_decorator, async_decorator, sync_block, async_block], ids=lambda way: way.__name__)
def way(request: pytest.FixtureRequest, paced: Paced) -> Way:
    """Each of the four, in time that passes by waiting only."""
    found: Way = request.param
    return found


def raising(*errors: BaseException) -> Callable[[], int]:
    """A function that raises these, one at each call, and then returns the number of its calls."""
    calls = 0

    def call() -> int:
        nonlocal calls
        calls += 1
        if calls <= len(errors):
            raise errors[calls - 1]
        return calls

    return call


def all_reachable(rules: list[Rule]) -> bool:
    """Whether a policy takes these rules: none of them is for what an earlier one is for already."""
    return not any(before.covers(rule) for index, rule in enumerate(rules) for before in rules[:index])


class Told:
    """What the three hooks were told, in order."""

    def __init__(self) -> None:
        self.of: list[tuple[str, RetryDetails]] = []
        self.hooks = Hooks(
            before_wait=lambda details: self.of.append(("before_wait", details)),
            recovered=lambda details: self.of.append(("recovered", details)),
            gave_up=lambda details: self.of.append(("gave_up", details)),
        )

    @property
    def moments(self) -> list[str]:
        return [moment for moment, _ in self.of]
