"""The public contract suite: what every store must hold, for the authors of stores.

Subclass `StoreContract` in a test module and give it a fixture `harness` that yields a `StoreHarness` (an open store,
the clock that drives it, a way to make a worker dead). It needs pytest and pytest-asyncio.

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def harness(self) -> AsyncIterator[StoreHarness]: ...

The suite reads the store's `Features`; nothing is skipped in silence.
"""

from __future__ import annotations

import pytest

MODULES = (
    "batches", "cancel", "cells", "claims", "control", "finish", "fires", "harness", "history", "jobs", "keys", "ledger",
    "life", "lost", "overlap", "reads", "rescue", "schedules", "scheduling", "settle", "states", "steps", "transaction",
    "unreadable", "upkeep",
)  # fmt: skip
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in MODULES))  # before they are loaded

from mainspring.testing.contract.batches import FireBatchesContract  # noqa: E402
from mainspring.testing.contract.cancel import CancelContract  # noqa: E402
from mainspring.testing.contract.cells import CellsContract  # noqa: E402
from mainspring.testing.contract.claims import ClaimContract  # noqa: E402
from mainspring.testing.contract.control import ControlContract  # noqa: E402
from mainspring.testing.contract.finish import FinishContract  # noqa: E402
from mainspring.testing.contract.fires import FiresContract  # noqa: E402
from mainspring.testing.contract.harness import StoreHarness, fall_silent, new_job, settlement  # noqa: E402
from mainspring.testing.contract.history import HistoryContract  # noqa: E402
from mainspring.testing.contract.jobs import AddContract  # noqa: E402
from mainspring.testing.contract.keys import KeysContract  # noqa: E402
from mainspring.testing.contract.ledger import RunsContract  # noqa: E402
from mainspring.testing.contract.life import LifeContract  # noqa: E402
from mainspring.testing.contract.lost import LostAnswers, LostAnswersContract  # noqa: E402
from mainspring.testing.contract.overlap import OverlapContract  # noqa: E402
from mainspring.testing.contract.reads import ReadsContract  # noqa: E402
from mainspring.testing.contract.rescue import RescueContract, SuspectsContract  # noqa: E402
from mainspring.testing.contract.schedules import SchedulesContract  # noqa: E402
from mainspring.testing.contract.settle import SettleContract  # noqa: E402
from mainspring.testing.contract.states import Driver  # noqa: E402
from mainspring.testing.contract.steps import StepsContract  # noqa: E402
from mainspring.testing.contract.transaction import TransactionContract  # noqa: E402
from mainspring.testing.contract.unreadable import UnreadableContract  # noqa: E402
from mainspring.testing.contract.upkeep import UpkeepContract  # noqa: E402


class StoreContract(
    AddContract,
    KeysContract,
    ClaimContract,
    SettleContract,
    CancelContract,
    ControlContract,
    FinishContract,
    HistoryContract,
    UpkeepContract,
    RescueContract,
    SuspectsContract,
    ReadsContract,
    LifeContract,
    SchedulesContract,
    FiresContract,
    FireBatchesContract,
    OverlapContract,
    RunsContract,
    UnreadableContract,
    StepsContract,
    TransactionContract,
    CellsContract,
    LostAnswersContract,
):
    """All of the contract. Needs a fixture `harness` that yields a `StoreHarness`."""

    pytestmark = pytest.mark.asyncio


__all__ = ["Driver", "LostAnswers", "StoreContract", "StoreHarness", "fall_silent", "new_job", "settlement"]
