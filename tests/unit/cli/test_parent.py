"""The parent's own loop is a service: trouble in it is told of, and does not end it."""

from __future__ import annotations

import asyncio

import pytest

from mainspring.cli.parent import Parent
from mainspring.cli.settings import RunSettings


async def test_a_look_at_the_workers_that_fails_is_logged_and_made_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parent = Parent(RunSettings(app="shop:app", lease_time=0.2))
    looks = 0
    enough = asyncio.Event()

    def beat(_: object) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError("once")
        if looks == 4:
            enough.set()

    async def keep_all() -> None:
        await enough.wait()

    monkeypatch.setattr(parent._witness, "beat", beat)
    monkeypatch.setattr(parent, "_keep_all", keep_all)
    async with asyncio.timeout(20):
        assert await parent.run() == 0
    assert "service 'look' failed and runs again" in caplog.text
