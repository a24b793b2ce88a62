"""Counts that outlive the process: services with an attempt store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from pathlib import Path

import pytest

from mainspring.errors import InvalidOption, StoreUnavailable
from mainspring.retries.attempt_file import SQLiteAttempts
from mainspring.retries.attempt_store import AttemptStore, MemoryAttempts
from mainspring.retries.backoff import constant
from mainspring.retries.classify import TRANSPORT, Baseline
from mainspring.retries.policy import Retry, Rule
from mainspring.service import Service, Supervisor
from mainspring.testing.virtual import run_virtual
from tests.unit.service.doubles import now

KEY = "builtins.OSError"


class Scripted:
    """Fails or returns as told, then goes on with the last word; remembers when it ran."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.runs: list[float] = []

    async def run(self) -> None:
        self.runs.append(now())
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if step is not None:
            raise step


class Broken:
    """An attempt store that does not answer, or takes too long; while `works` is set it is one in memory."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.memory = MemoryAttempts()
        self.works = False
        self.hangs = hangs
        self.asked: list[str] = []

    async def load(self, owner: str, /) -> Mapping[str, int]:
        await self._look("load")
        return await self.memory.load(owner)

    async def add(self, owner: str, key: str, /) -> int:
        await self._look("add")
        return await self.memory.add(owner, key)

    async def reset(self, owner: str, /) -> None:
        await self._look("reset")
        await self.memory.reset(owner)

    async def _look(self, what: str) -> None:
        self.asked.append(what)
        if self.works:
            return
        if self.hangs:
            await asyncio.Event().wait()
        raise StoreUnavailable("away")


def retrying(attempts: int | None, wait: float = 1.0) -> Retry:
    return Retry(on=OSError, attempts=attempts, backoff=constant(wait))


async def run_for(seconds: float, *services: Service) -> None:
    async with Supervisor() as sup:
        for service in services:
            sup.add(service)
        await asyncio.sleep(seconds)


@pytest.fixture(params=["memory", "file"])
def attempts(request: pytest.FixtureRequest, tmp_path: Path) -> AttemptStore:
    return MemoryAttempts() if request.param == "memory" else SQLiteAttempts(tmp_path / "attempts.db")


def test_ATT_010_a_cancellation_keeps_the_counts_and_a_restart_goes_on_with_them(attempts: AttemptStore) -> None:
    """S1-17. The seed resets them on the way out."""
    work = Scripted(OSError("down"))

    async def main() -> None:
        await run_for(1.5, Service("poll", work, retry=retrying(5), attempt_store=attempts))
        assert await attempts.load("poll") == {KEY: 2}
        with pytest.raises(OSError, match="down") as caught:
            await run_for(100, Service("poll", work, retry=retrying(5), attempt_store=attempts))
        assert "gave up after 5 failed run(s)" in "".join(caught.value.__notes__)
        assert len(work.runs) == 5
        with pytest.raises(OSError, match="down"):  # it had given up: one try after a restart
            await run_for(100, Service("poll", work, retry=retrying(5), attempt_store=attempts))
        assert len(work.runs) == 6

    run_virtual(main())


def test_the_backoff_goes_on_where_it_was() -> None:
    attempts = MemoryAttempts()
    work = Scripted(OSError())
    retry = Retry(on=OSError, attempts=None, backoff=lambda index: 2.0**index)

    async def main() -> None:
        await run_for(5, Service("poll", work, retry=retry, attempt_store=attempts))  # at 0, 1, 3
        await run_for(100, Service("poll", work, retry=retry, attempt_store=attempts))

    run_virtual(main())
    assert work.runs[:6] == [0, 1, 3, 5, 13, 29]


def test_ATT_009_the_counts_are_cleared_at_the_success_not_when_the_next_failure_is_looked_at(
    attempts: AttemptStore,
) -> None:
    seen: list[Mapping[str, int]] = []

    async def main() -> None:
        work = Scripted(OSError(), OSError(), None, None, OSError())
        async with Supervisor() as sup:
            sup.add(Service("poll", work, every=10, retry=retrying(5), attempt_store=attempts))
            for moment in (0.5, 1.5, 2.5, 20, 22.5):
                await asyncio.sleep(moment - now())
                seen.append(await attempts.load("poll"))

    run_virtual(main())
    assert seen == [{KEY: 1}, {KEY: 2}, {}, {}, {KEY: 1}]


def test_ATT_009_a_one_shot_that_ends_well_clears_them_as_well(attempts: AttemptStore) -> None:
    """Else the failures of last month would count against the next start."""

    async def main() -> None:
        sup = Supervisor()
        sup.add(Service("once", Scripted(OSError(), None), retry=retrying(3), attempt_store=attempts))
        await sup.run()
        assert await attempts.load("once") == {}

    run_virtual(main())


def test_ATT_011_the_counts_of_another_service_stay(attempts: AttemptStore) -> None:
    """Keys carry the service's name; a reset is for one service."""

    async def main() -> None:
        good = Scripted(OSError("same text"), None)
        bad = Scripted(OSError("same text"))
        retry = retrying(None)
        await run_for(
            2.5,
            Service("good", good, every=5, retry=retry, attempt_store=attempts),
            Service("bad", bad, retry=retry, attempt_store=attempts),
        )
        assert await attempts.load("good") == {}
        assert await attempts.load("bad") == {KEY: 3}

    run_virtual(main())


def test_S1_19_what_a_baseline_counts_is_kept_under_its_category() -> None:
    attempts = MemoryAttempts()
    baseline = Baseline({TRANSPORT: Retry(on=ConnectionError, attempts=None, backoff=constant(1))})

    async def main() -> None:
        async with Supervisor(baseline=baseline) as sup:
            sup.add(Service("poll", Scripted(ConnectionResetError()), attempt_store=attempts))
            await asyncio.sleep(1.5)
        assert await attempts.load("poll") == {"baseline:transport:builtins.ConnectionError": 2}

    run_virtual(main())


def test_a_baseline_with_a_rule_that_has_no_stable_key_is_refused() -> None:
    nameless = Retry(Rule(lambda error: True))
    for baseline in (Baseline({TRANSPORT: nameless}), Baseline(unknown=nameless)):
        sup = Supervisor(baseline=baseline)
        sup.add(Service("a", Scripted(None)))
        with pytest.raises(InvalidOption, match="key="):
            sup.add(Service("b", Scripted(None), attempt_store=MemoryAttempts()))


def test_two_that_count_for_one_owner_share_its_counts() -> None:
    """As two processes on one file do: what the store says counts."""
    attempts = MemoryAttempts()

    async def main() -> None:
        first, second = Scripted(OSError("first")), Scripted(OSError("second"))
        one, other = Supervisor(), Supervisor()
        with pytest.raises(OSError, match="second"):
            async with one, other:
                one.add(Service("poll", first, retry=retrying(4), attempt_store=attempts))
                other.add(Service("poll", second, retry=retrying(4), attempt_store=attempts, delay=0.5))
                await asyncio.sleep(100)
        assert (first.runs, second.runs) == ([0.0, 1.0], [0.5, 1.5])
        assert await attempts.load("poll") == {KEY: 4}

    run_virtual(main())


# --- a store in trouble ------------------------------------------------------------------------------


@pytest.mark.parametrize("hangs", [False, True])
def test_without_its_store_a_service_lives_on_counts_in_memory(hangs: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Told once, not at each failure; one that hangs is given 5 seconds."""
    broken = Broken(hangs=hangs)
    work = Scripted(OSError("down"))

    async def main() -> None:
        with pytest.raises(OSError, match="down"):
            await run_for(1000, Service("poll", work, retry=retrying(3), attempt_store=broken))

    run_virtual(main())
    assert work.runs == ([5.0, 11.0, 17.0] if hangs else [0.0, 1.0, 2.0])
    told = [each.getMessage() for each in caplog.records if "cannot be kept" in each.getMessage()]
    assert len(told) == 1


def test_when_the_store_is_back_it_is_told_so_and_forgets_at_the_next_success(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    broken = Broken()

    async def main() -> None:
        await broken.memory.add("poll", KEY)  # of a process that was killed
        work = Scripted(OSError(), None, None, None)
        async with Supervisor() as sup:
            sup.add(Service("poll", work, every=10, retry=retrying(5), attempt_store=broken))
            await asyncio.sleep(5)
            assert await broken.memory.load("poll") == {KEY: 1}
            broken.works = True
            await asyncio.sleep(10)
            assert await broken.memory.load("poll") == {}
            asked = len(broken.asked)
            await asyncio.sleep(30)
            assert len(broken.asked) == asked  # with nothing to forget, a tick asks nobody

    run_virtual(main())
    assert "kept again" in caplog.text


def test_it_can_be_stopped_while_it_waits_for_its_store() -> None:
    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("poll", Scripted(None), attempt_store=Broken(hangs=True)))
            await asyncio.sleep(1)
        assert now() == 1
        assert sup.health()[0].state == "cancelled"

    run_virtual(main())


def test_one_that_is_asked_to_stop_while_it_waits_for_its_store_does_not_begin() -> None:
    work = Scripted(None)
    broken = Broken(hangs=True)

    async def stop() -> None: ...

    async def main() -> None:
        async with Supervisor() as sup:
            sup.add(Service("poll", work, attempt_store=broken, stop=stop))
            await asyncio.sleep(1)
        assert now() == 5  # the time that the store was given
        assert sup.health()[0].state == "ended"

    run_virtual(main())
    assert work.runs == []


class AtOnce:
    """Raises when it is called, not when it is awaited."""

    def load(self, owner: str, /) -> Awaitable[Mapping[str, int]]:
        raise StoreUnavailable("away")

    def add(self, owner: str, key: str, /) -> Awaitable[int]:
        raise StoreUnavailable("away")

    def reset(self, owner: str, /) -> Awaitable[None]:
        raise StoreUnavailable("away")


def test_a_store_that_fails_before_it_is_awaited_is_only_one_that_does_not_answer() -> None:
    work = Scripted(OSError("down"))

    async def main() -> None:
        with pytest.raises(OSError, match="down"):
            await run_for(1000, Service("poll", work, retry=retrying(3), attempt_store=AtOnce()))  # type: ignore[arg-type]  # not async

    run_virtual(main())
    assert work.runs == [0.0, 1.0, 2.0]
