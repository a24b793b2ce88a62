"""PostgreSQL beside the model, under random verbs and lost answers; in turns by two processes on one schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, cycle
from typing import cast

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mainspring.clock import FakeClock
from mainspring.ids import IdSource
from mainspring.store.base import Store, Swept
from mainspring.store.postgres import jobs, schedules
from mainspring.store.postgres import upkeep as upkeep_verbs
from mainspring.store.postgres.days import day_of, first_id
from mainspring.store.postgres.floors import Floor
from mainspring.store.postgres.place import Place
from mainspring.store.postgres.store import PostgresStore
from mainspring.store.serial import upkeep
from mainspring.store.serial.rows import Unit
from tests.contract.test_postgres import PostgresHarness
from tests.servers.fixtures import fresh_schema
from tests.servers.postgres import Postgres
from tests.stateful.machine import SideBySide
from tests.stateful.pair import ALL, Dead, Pair
from tests.stateful.test_stores import InTurns, bounded
from tests.stateful.timetable import Timetable


class PostgresBesideModel(PostgresStore):
    """PostgreSQL, which is told who is dead, and what time it is."""

    def __init__(self, place: Place, harness: PostgresHarness, ids: IdSource, dead: Dead) -> None:
        super().__init__(place, ids=ids, before=harness.tell_the_time)
        self._dead = dead

    async def sweep(self, worker: str, limit: int = 1000) -> Swept:
        def verb(rows: Unit, now: float) -> Swept:
            return upkeep.tidy(rows, now, self._ids, worker, limit, self._dead.lapsed(worker))

        swept = await self._transact.run(verb)
        looked, _ = await self._look(Floor())
        others = any(each.running and each.worker.id != worker for each in await self.workers())
        return swept._replace(next_due=looked.next_due, watch=others)


class PostgresPair(Pair):
    """`url` is of a schema for this class alone. Every other id is of a day that has no table."""

    url = ""

    def ids(self, prefix: str) -> IdSource:
        kind, numbers = {"job": "0", "hook": "f"}[prefix], count()
        days = cycle([first_id(day_of(self.clock.now()))[:13], "0190163d-8694"])
        return lambda: f"{next(days)}-7000-8000-{kind}{next(numbers):011}"

    def is_hook(self, id: str) -> bool:  # noqa: A002
        return id[24] == "f"

    async def pruned(self, store: Store, retention: dict[str, float]) -> int:
        """Until nothing is left: what waits for the end of another is sooner seen when they lie in different tables."""
        removed = 0
        while number := await store.prune(retention, ALL):
            removed += number
        return removed

    def other(self, clock: FakeClock, ids: IdSource, dead: Dead) -> Store:
        harness = PostgresHarness(self.url)
        harness.clock = clock
        self.run(self.emptied(harness))
        stores: Sequence[Store] = [PostgresBesideModel(harness.place, harness, ids, dead) for _ in range(2)]
        return cast("Store", InTurns(*stores))

    async def emptied(self, harness: PostgresHarness) -> None:
        await harness.prepare()
        await harness.store.close()


class PostgresBesideMemory(PostgresPair, SideBySide):
    pass


class PostgresTimetable(PostgresPair, Timetable):
    """As long as its oldest record is not too old, it does not look at the others of a schedule.

    Where it looks for what is due follows the clock as it was seen (RULES H4).
    """

    ages = False
    back = 0.5


class Still:
    """A time in which no statement takes long: how far a claim looks depends on what the last one cost."""

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def url(postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(jobs, "time", Still())
    monkeypatch.setattr(upkeep_verbs, "time", Still())
    monkeypatch.setattr(schedules, "time", Still())
    with fresh_schema(postgres_server) as schema:
        yield postgres_server.url(schema)


@pytest.mark.parametrize("machine", [PostgresBesideMemory, PostgresTimetable])
def test_postgres_beside_memory(machine: type[PostgresPair], url: str) -> None:
    run_state_machine_as_test(
        type("Machine", (machine,), {"url": url}),
        settings=settings(bounded(6, 25), phases=(Phase.explicit, Phase.reuse, Phase.generate)),
    )


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("machine", [PostgresBesideMemory, PostgresTimetable])
def test_postgres_for_long(machine: type[PostgresPair], url: str) -> None:
    run_state_machine_as_test(type("Machine", (machine,), {"url": url}), settings=bounded(300, 60))
