"""Hints: within the process, between processes, and when the connection that listens is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Self

import pytest

from mainspring.errors import StoreClosed
from mainspring.retries.backoff import constant
from mainspring.retries.policy import Retry
from mainspring.store.postgres import wake as module
from mainspring.store.postgres.connect import connect
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.pool import Pool
from mainspring.store.postgres.wake import ANYTHING, SCHEDULES, Wake, channel_of, payload_of
from tests.servers.postgres import Postgres
from tests.servers.proxy import TcpProxy


class Process:
    """What one process has of a store."""

    def __init__(self, place: Place) -> None:
        self.pool = Pool(place)
        self.wake = Wake(self.pool, place)

    async def __aenter__(self) -> Self:
        await self.pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.wake.close()
        await self.pool.close()

    async def listening(self) -> None:
        """Wait until it listens: then everybody is hinted once."""
        assert await self.wake.wait(["first"], 5)

    def waits(self, *queues: str, timeout: float = 5) -> asyncio.Task[bool]:
        return asyncio.create_task(self.wake.wait(queues, timeout))


@pytest.fixture
def place(postgres_url: str) -> Place:
    return Place.parse(postgres_url)


@pytest.fixture
async def here(place: Place) -> AsyncIterator[Process]:
    async with Process(place) as process:
        yield process


@pytest.fixture
async def there(place: Place) -> AsyncIterator[Process]:
    async with Process(place) as process:
        yield process


@pytest.fixture
async def heard(place: Place) -> AsyncIterator[list[str]]:
    """Everything that anybody tells on the channel."""
    said: list[str] = []
    connection = await connect(place)
    await connection.add_listener(channel_of(place.schema), lambda *args: said.append(str(args[-1])))
    yield said
    connection.terminate()


async def test_within_the_process_only_those_who_want_the_queue_are_woken(place: Place) -> None:
    async with Process(replace(place, notify=False)) as process:
        mail, video, everything = process.waits("mail"), process.waits("video", timeout=0.1), process.waits()
        await asyncio.sleep(0)
        process.wake.local(["mail"])
        assert [await mail, await video, await everything] == [True, False, True]
        assert process.wake._listener is None


async def test_no_queue_means_any(place: Place) -> None:
    async with Process(replace(place, notify=False)) as process:
        waiting = process.waits("mail"), process.waits("video")
        await asyncio.sleep(0)
        process.wake.local(())
        assert list(await asyncio.gather(*waiting)) == [True, True]


async def test_a_process_that_only_adds_has_no_listener(here: Process) -> None:
    here.wake.tell({"mail"})
    await asyncio.sleep(0.05)
    assert here.wake._listener is None
    assert here.wake._teller is None


async def test_what_one_process_tells_another_hears(here: Process, there: Process) -> None:
    await here.listening()
    mail, video = here.waits("mail"), here.waits("video", timeout=0.2)
    await asyncio.sleep(0)
    there.wake.tell({"mail"})
    assert await mail
    assert not await video


async def test_a_statement_that_tells_by_itself(here: Process, there: Process) -> None:
    await here.listening()
    waiting = here.waits("mail")
    await asyncio.sleep(0)
    payload = there.wake.due_now({"mail"})
    assert payload == "mail"
    await there.pool.fetch("SELECT pg_notify($1, $2)", there.wake.channel, payload)
    assert await waiting


async def test_what_a_process_tells_it_does_not_hear_again(here: Process) -> None:
    await here.listening()
    waiting = here.waits("mail", timeout=0.2)
    await asyncio.sleep(0)
    here.wake.tell({"mail"})
    assert not await waiting


async def test_M6_a_queue_is_told_of_once_in_5_ms(here: Process, heard: list[str]) -> None:
    began = time.monotonic()
    for _ in range(200):
        here.wake.tell({"mail", "video"})
        await asyncio.sleep(0)
    while here.wake._untold or here.wake._teller:
        await asyncio.sleep(0.001)
    passed = time.monotonic() - began
    await here.pool.fetch("SELECT pg_notify($1, 'end')", here.wake.channel)
    async with asyncio.timeout(5):
        while "end" not in heard:
            await asyncio.sleep(0.001)
    told = [each for each in heard if "mail" in each.split("\n")]
    assert 2 <= len(told) <= passed / module.APART + 2  # the first at once, the last after the last


async def test_M6_what_a_statement_has_told_is_not_told_again(here: Process, heard: list[str]) -> None:
    told = here.wake.due_now({"mail"})
    assert here.wake.due_now({"mail"}) == ""
    here.wake.tell({"mail"}, told)
    assert not here.wake._untold
    here.wake.tell({"mail", "video"}, told)
    await asyncio.sleep(0.1)
    assert heard == ["video"]


async def test_the_last_of_a_row_is_told_after_the_pause(here: Process, heard: list[str]) -> None:
    assert here.wake.due_now({"mail"}) == "mail"
    here.wake.tell({"mail"})  # another commit
    assert here.wake.due_now({"mail"}) == ""
    await asyncio.sleep(0.1)
    assert heard == ["mail"]


async def test_a_statement_takes_along_what_is_due(here: Process, heard: list[str]) -> None:
    """A commit of its own costs more than the notice does."""
    here.wake.due_now({"mail"})
    here.wake.tell({"mail"})  # another commit, too soon after
    await asyncio.sleep(module.APART)
    assert here.wake.due_now({"mail"}) == "mail"
    await asyncio.sleep(0.1)
    assert heard == []  # it was given to the statement


async def test_telling_that_fails_is_logged_once_and_raises_nothing(
    here: Process, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TELL", "SELECT 1/0, $1::text, $2::text")
    caplog.set_level(logging.INFO, "mainspring")
    for queue in ("a", "b"):
        here.wake.tell({queue})
        async with asyncio.timeout(5):
            while here.wake._teller:
                await asyncio.sleep(0.001)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_listener_that_is_ended_comes_back_and_hints_everybody(
    here: Process, there: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RECONNECT", Retry(on=Exception, attempts=None, backoff=constant(0.05)))
    caplog.set_level(logging.INFO, "mainspring")
    await here.listening()
    pids = await there.pool.fetch(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND query LIKE '%' || $1 || '%'", here.wake.channel
    )
    assert len(pids) == 1
    waiting = here.waits("mail")
    await there.pool.fetch("SELECT pg_terminate_backend($1)", pids[0][0])
    assert await waiting
    waiting = here.waits("mail")
    await asyncio.sleep(0)
    there.wake.tell({"mail"})
    assert await waiting
    said = [record.message for record in caplog.records]
    assert sum("listening again soon" in each for each in said) == 1
    assert said.count("listening to other processes again") == 1


async def test_a_listener_that_hears_nothing_more_notices(
    postgres_server: Postgres, postgres_proxy: TcpProxy, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.2)
    monkeypatch.setattr(module, "RECONNECT", Retry(on=Exception, attempts=None, backoff=constant(0.05)))
    through = replace(place, dsn=postgres_server.url(port=postgres_proxy.port), timeout=0.3)
    async with Process(place) as there, Process(through) as here:
        await here.listening()
        postgres_proxy.blackhole()
        assert not await here.wake.wait(["mail"], 0.6)
        postgres_proxy.heal()
        assert await here.wake.wait(["mail"], 5)  # it is there again
        waiting = here.waits("mail")
        await asyncio.sleep(0)
        there.wake.tell({"mail"})
        assert await waiting


async def test_without_a_listener_waiting_goes_by_time(here: Process, caplog: pytest.LogCaptureFixture) -> None:
    wake = Wake(here.pool, Place.parse("postgresql://127.0.0.1:1/shop"))
    assert not await wake.wait(["mail"], 0.5)
    assert len([record for record in caplog.records if "no news" in record.message]) == 1
    await wake.close()


async def test_closing_ends_every_wait(here: Process) -> None:
    waiting = here.waits("mail")
    await asyncio.sleep(0)
    await here.wake.close()
    with pytest.raises(StoreClosed):
        await waiting
    with pytest.raises(StoreClosed):
        await here.wake.wait(["mail"], 1)
    await here.wake.close()
    here.wake.tell({"mail"})
    assert here.wake._teller is None


async def test_a_store_that_is_opened_again_is_woken_again(here: Process, there: Process) -> None:
    await here.listening()
    await here.wake.close()
    await here.pool.close()
    with pytest.raises(StoreClosed):
        await here.wake.wait(["mail"], 1)
    await here.pool.open()
    await here.listening()
    waiting = here.waits("mail")
    await asyncio.sleep(0)
    there.wake.tell({"mail"})
    assert await waiting


async def test_without_notices_nobody_is_told(place: Place, heard: list[str]) -> None:
    async with Process(replace(place, notify=False)) as process:
        assert process.wake.due_now({"mail"}) == ""
        process.wake.tell({"mail"})
        await asyncio.sleep(0.05)
    assert not heard


async def test_many_or_odd_names_become_a_hint_for_all(here: Process, there: Process) -> None:
    many = {f"queue-{number}-{'x' * 200}" for number in range(50)}
    assert payload_of(many) == payload_of(["a\nb"]) == payload_of([""]) == ANYTHING
    await here.listening()
    for queues in (many, {"a\nb"}, frozenset[str]()):
        waiting = here.waits("mail")
        await asyncio.sleep(0)
        there.wake.tell(queues)
        assert await waiting


def test_the_channel_of_a_schema_with_a_long_name_fits() -> None:
    assert channel_of("work") == "mainspring_work"
    long = [channel_of("x" * 62 + end) for end in "ab"]
    assert len(set(long)) == 2
    assert max(map(len, long)) <= 63


# --- news of schedules


async def test_news_of_schedules_reach_other_processes_and_disturb_no_worker(here: Process, there: Process) -> None:
    await here.listening()
    assert await here.wake.wait_schedules(0)  # it began to listen: whatever came before is looked for now
    mail, any_queue = here.waits("mail", timeout=0.2), here.waits(timeout=0.2)
    waiting = asyncio.create_task(here.wake.wait_schedules(5))
    await asyncio.sleep(0)
    there.wake.tell({SCHEDULES})
    assert await waiting
    assert [await mail, await any_queue] == [False, False]


async def test_news_of_work_disturb_no_scheduler(place: Place) -> None:
    async with Process(replace(place, notify=False)) as process:
        waiting = asyncio.create_task(process.wake.wait_schedules(0.1))
        await asyncio.sleep(0)
        process.wake.local(["mail"])
        assert not await waiting


async def test_news_of_schedules_between_a_look_and_the_wait_are_not_lost(place: Place) -> None:
    async with Process(replace(place, notify=False)) as process:
        process.wake.local([SCHEDULES])
        assert await process.wake.wait_schedules(5)
        assert not await process.wake.wait_schedules(0.01)


async def test_news_of_schedules_and_of_work_in_one_notice(here: Process, there: Process) -> None:
    await here.listening()
    assert await here.wake.wait_schedules(0)
    mail, waiting = here.waits("mail"), asyncio.create_task(here.wake.wait_schedules(5))
    await asyncio.sleep(0)
    there.wake.tell({SCHEDULES, "mail"})
    assert [await mail, await waiting] == [True, True]


async def test_a_closed_store_has_no_news_of_schedules(place: Place) -> None:
    async with Process(place) as process:
        process.wake.local([SCHEDULES])
    with pytest.raises(StoreClosed):
        await process.wake.wait_schedules(1)
