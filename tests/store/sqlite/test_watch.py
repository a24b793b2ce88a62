"""The look at what other processes have committed: after a failure it comes back by a policy, like every loop here."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mainspring.retries.backoff import constant
from mainspring.retries.failures import Terms
from mainspring.retries.policy import Retry
from mainspring.store.sqlite import watch as room
from mainspring.store.sqlite.connect import MEMORY, Place, connect, prepare
from mainspring.store.sqlite.watch import Watch

LIMIT = 20.0  # real seconds, after which a test has failed rather than hang


@contextmanager
def watching() -> Iterator[Watch]:
    place = Place(MEMORY)
    connection = connect(place)
    prepare(connection, place)
    watch = Watch(connection, poll=0.001)
    try:
        yield watch
    finally:
        watch.stop()
        watch.close()


def patch_waits(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    policy = Retry(on=Exception, attempts=None, backoff=constant(seconds))
    monkeypatch.setattr(room, "_LOOKING", Terms(policy, "look", hooks=room._LOOKING.hooks, inner=True))


async def test_it_goes_on_after_a_failure_and_tells_of_it_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[int] = []
    again = threading.Event()

    def look(_: Watch) -> None:
        looks.append(len(looks))
        if len(looks) <= 3:
            raise sqlite3.DatabaseError("the disk is on fire")
        if len(looks) == 6:
            again.set()

    monkeypatch.setattr(Watch, "_look", look)
    patch_waits(monkeypatch, 0)
    caplog.set_level(logging.INFO)
    with watching() as watch:
        waiting = asyncio.create_task(watch.wait((), LIMIT))
        assert await asyncio.to_thread(again.wait, LIMIT)
        waiting.cancel()
    assert [each.levelno for each in caplog.records] == [logging.ERROR, logging.INFO]
    assert "on fire" in caplog.text


async def test_it_can_be_closed_while_it_waits_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def look(_: Watch) -> None:
        failed.set()
        raise sqlite3.DatabaseError("for a long time")

    monkeypatch.setattr(Watch, "_look", look)
    patch_waits(monkeypatch, 3600)
    with watching() as watch:
        waiting = asyncio.create_task(watch.wait((), LIMIT))
        assert await asyncio.to_thread(failed.wait, LIMIT)
    assert await waiting  # woken by the stop, and the thread has ended
