"""Schedules come with part 4. Until then a store must say that it has none, and mean it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from mainspring.errors import Unsupported
from mainspring.store.base import Fire, ScheduleRecord, Store
from mainspring.testing.contract.harness import StoreHarness, new_job

SCHEDULE = ScheduleRecord("nightly", b"{}", new_job("template"))

VERBS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "put_schedules": lambda store: store.put_schedules([SCHEDULE]),
    "drop_schedules": lambda store: store.drop_schedules(["nightly"]),
    "due_schedules": lambda store: store.due_schedules(),
    "fire": lambda store: store.fire([Fire("nightly", 0, 0.0, (), None)]),
    "pause_schedules": lambda store: store.pause_schedules(["nightly"], True),
    "schedules": lambda store: store.schedules(),
}


class SchedulesContract:
    """`Schedules`."""

    @pytest.mark.parametrize("verb", VERBS)
    async def test_a_store_without_schedules_refuses_them(self, harness: StoreHarness, verb: str) -> None:
        assert not harness.store.features.schedules, "there are no contract tests for schedules yet"
        with pytest.raises(Unsupported):
            await VERBS[verb](harness.store)
