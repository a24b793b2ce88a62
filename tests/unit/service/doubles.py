"""Services and hooks that do what a test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mainspring.service import Supervisor


def now() -> float:
    return asyncio.get_running_loop().time()


def states(sup: Supervisor) -> dict[str, str]:
    return {health.name: health.state for health in sup.health()}


async def forever() -> None:
    await asyncio.Event().wait()


def failing(error: BaseException, after: float = 0.0) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        await asyncio.sleep(after)
        raise error

    return fail


class Log(list[str]):
    """Makes services and hooks that write down what happens to them."""

    def until_cancelled(self, name: str, unwinding: float = 0.0) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            try:
                await forever()
            finally:
                await asyncio.sleep(unwinding)
                self.append(f"{name} stopped")

        return work

    def hook(self, name: str, error: Exception | None = None, lasting: float = 0.0) -> Callable[[], Awaitable[None]]:
        async def hooked() -> None:
            self.append(f"{name} hook")
            if lasting:
                await asyncio.sleep(lasting)
                self.append(f"{name} hook done")
            if error is not None:
                raise error

        return hooked
