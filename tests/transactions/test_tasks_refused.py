"""Where there can be no transaction."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring import App, Context, JobFailed
from mainspring.errors import AppError, TaskDefinitionError, Unsupported
from tests.transactions.tasks import LONG


@pytest.mark.parametrize("options", [{}, {"process": True}])
def test_only_async_functions_can_have_one(options: dict[str, Any]) -> None:
    app = App("memory://")
    with pytest.raises(TaskDefinitionError, match="transaction=True is for async functions"):

        @app.task(name="t", transaction=True, **options)
        def task() -> None: ...


async def test_a_store_without_transactions_says_so() -> None:
    app = App("memory://")

    @app.task(name="t", transaction=True)
    async def task(ctx: Context) -> None: ...

    async with app.running(grace=1):
        with pytest.raises(JobFailed, match="memory store takes part in no transaction"):
            await (await task.enqueue()).result(timeout=LONG)
        with pytest.raises(Unsupported, match="SQLite file or PostgreSQL"):
            await task.options(tx=object()).enqueue()


async def test_other_tasks_have_no_connection() -> None:
    app = App("memory://")

    @app.task(name="t")
    async def task(ctx: Context) -> None:
        assert ctx.connection

    async with app.running(grace=1):
        with pytest.raises(JobFailed, match=r"define it with @app\.task"):
            await (await task.enqueue()).result(timeout=LONG)
    with pytest.raises(AppError, match="let a worker run it"):
        await task()
