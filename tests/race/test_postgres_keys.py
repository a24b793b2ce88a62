"""PostgreSQL: a unique key in the hands of somebody's open transaction, seen from an app (RULES C10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any, TypeAlias

import asyncpg
import pytest

from mainspring import App
from mainspring.app import keyed
from mainspring.engine.refusals import IN_OTHER_HANDS
from mainspring.errors import KeyBusy
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry, Stop

Work: TypeAlias = Any
"""A task without arguments."""

Foreign: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

pytestmark = pytest.mark.postgres


@pytest.fixture
async def work(postgres_url: str) -> AsyncIterator[Work]:
    app = App(postgres_url)

    @app.task(name="work")
    async def work() -> None: ...

    async with app:
        yield work


@pytest.fixture
async def connection(postgres_url: str, work: Work) -> AsyncIterator[Foreign]:
    """Of a person who uses the same database; the app has made its tables."""
    await work.enqueue()
    connection = await asyncpg.connect(postgres_url.partition("?")[0])
    yield connection
    await connection.close(timeout=5)


async def test_C10_a_busy_key_is_waited_for_by_its_callers_and_by_nobody_else(work: Work, connection: Foreign) -> None:
    async with connection.transaction():
        holder = await work.options(tx=connection, unique="k").enqueue()
        blocked = [asyncio.create_task(work.options(unique="k").enqueue()) for _ in range(5)]
        others = [asyncio.create_task(work.options(unique=f"other {n}").enqueue()) for n in range(20)]
        plain = asyncio.create_task(work.enqueue())
        async with asyncio.timeout(20):
            await asyncio.gather(*others, plain)
        began = monotonic()
        blocked.append(asyncio.create_task(work.options(unique="k").enqueue()))
        later = await work.options(unique="later").enqueue()
        assert monotonic() - began < 5
        assert later.created
        assert not any(each.done() for each in blocked)
    handles = await asyncio.gather(*blocked)
    assert {handle.id for handle in handles} == {holder.id}
    assert not any(handle.created for handle in handles)


async def test_C10_a_key_that_stays_busy_is_an_error_for_its_caller(
    work: Work, connection: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed, "KEY_RETRY", Retry(on=KeyBusy, attempts=2, backoff=constant(0.001)))
    async with connection.transaction():
        await work.options(tx=connection, unique="k").enqueue()
        with pytest.raises(KeyBusy):
            await work.options(unique="k").enqueue()
    assert not (await work.options(unique="k").enqueue()).created


async def test_C10_closing_waits_for_who_waits_for_a_key(work: Work, connection: Foreign) -> None:
    async with connection.transaction():
        await work.options(tx=connection, unique="k").enqueue()
        blocked = asyncio.create_task(work.options(unique="k").enqueue())
        opened = await work._home.connection().opened()  # to see that it waits
        async with asyncio.timeout(20):
            while not opened.keyed.waiting:
                await asyncio.sleep(0.01)
        closing = asyncio.create_task(opened.keyed.flush())
        await asyncio.sleep(0.05)
        assert not closing.done()
    await closing
    assert not (await blocked).created


def test_C10_a_settlement_whose_follow_up_has_a_busy_key_is_sent_again() -> None:
    """And does not end its job dead: the effect has happened."""
    decision = IN_OTHER_HANDS.decide(KeyBusy(["k"]), {}, 3600.0, random=lambda: 0.5)
    assert not isinstance(decision, Stop)
