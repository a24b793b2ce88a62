"""Policies that a job cannot have are refused where they are given."""

from __future__ import annotations

import asyncio

import pytest

from mainspring import App, Retry
from mainspring.errors import InvalidPolicy
from mainspring.retries import CircuitBreaker, RetryBudget


@pytest.mark.parametrize(
    ("policy", "part"),
    [(Retry(on=OSError, budget=RetryBudget()), "budget"), (Retry(on=OSError, breaker=CircuitBreaker()), "breaker")],
)
def test_parts_that_count_in_one_process_are_not_for_jobs(policy: Retry, part: str) -> None:
    """The message says what to do instead: `@retry` on a function that the task calls."""
    app = App("memory://")

    @app.task(name="fetch")
    async def fetch() -> None: ...

    told = f"a job cannot have a {part}, .* Put @retry with it on a function .* a policy without {part}"
    with pytest.raises(InvalidPolicy, match=told):
        App("memory://", retry=policy)
    with pytest.raises(InvalidPolicy, match=told):
        app.task(name="other", retry=policy)(lambda: None)
    with pytest.raises(InvalidPolicy, match=told):
        asyncio.run(fetch.options(retry=policy).enqueue())
