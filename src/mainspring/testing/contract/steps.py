"""Steps and signals come with part 5. Until then a store must say that it has none, and mean it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from mainspring.errors import Unsupported
from mainspring.store.base import Step, Store
from mainspring.testing.contract.harness import StoreHarness

VERBS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "save_steps": lambda store: store.save_steps([Step("job", 1, 0, "charge", b"1")]),
    "load_steps": lambda store: store.load_steps("job", 0),
    "signal": lambda store: store.signal("job", "approved", b"true"),
}


class StepsContract:
    """`Steps`."""

    @pytest.mark.parametrize("verb", VERBS)
    async def test_a_store_without_steps_refuses_them(self, harness: StoreHarness, verb: str) -> None:
        assert not harness.store.features.steps, "there are no contract tests for steps yet"
        with pytest.raises(Unsupported):
            await VERBS[verb](harness.store)
