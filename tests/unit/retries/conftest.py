from __future__ import annotations

import pytest

from mainspring.clock import FakeClock
from mainspring.retries import pace


class Paced:
    """Time that passes only by sleeping, and what was slept."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> Paced:
    """No real sleep in sync drivers; full jitter always draws the half."""
    paced = Paced()
    monkeypatch.setattr(pace, "sleep", paced.sleep)
    monkeypatch.setattr(pace, "monotonic", paced.clock.monotonic)
    monkeypatch.setattr(pace, "random", lambda: 0.5)
    return paced
