"""Every rule of the store and the engine that this part of the work concerns has a test that is named after it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = (ROOT / "tests", ROOT / "src" / "mainspring" / "testing" / "contract")

RULES = (
    "C1",  # no mass rescue after an outage or a clock step
    "C2",  # ghost leases: a lost answer of a claim
    "C3",  # verbs may be repeated after an unclear answer
    "C4",  # a cancel request beats every non-terminal settlement
    "C5",  # one finish for every way to end
    "C6",  # crashes count against suspects only
    "C7",  # a loop that stands still is seen and ended
    "C8",  # the parent beats, so code that holds the GIL starves nobody
    "C9",  # SQLite: liveness by locks, writers take turns
    "C10",  # one bad job never fails or stalls its batch
    "C11",  # fan-in counts each sibling once
    "H5",  # what nobody may claim costs claims nothing
    "H7",  # group commit: cancelled callers, conflicts inside a batch
    "H8",  # prefetch is bounded, and checked before each start
    "H9",  # durations go in, the store's clock adds them
    "H10",  # virtual time waits for work outside the loop
    "H12",  # unique keys and their windows
    "H15",  # the history is exact and bounded
    "H16",  # jobs do not share a context
    "H17",  # own process pool: one death hurts one job
)


@pytest.mark.parametrize("rule", RULES)
def test_rule_has_a_test_of_its_name(rule: str) -> None:
    pattern = re.compile(rf"def test_{rule}_\w+")
    files = [path for place in PLACES for path in place.rglob("*.py")]
    assert any(pattern.search(path.read_text()) for path in files), f"no test is named test_{rule}_…"
