"""Every rule of the store and the engine that this part of the work concerns has a test that is named after it."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
    "H2",  # the user's transaction as the end of a job
    "H3",  # SQLite: no waiting for oneself inside a transaction
    "H4",  # claims begin where the last one ended, and lose nothing below
    "H5",  # what nobody may claim costs claims nothing
    "H7",  # group commit: cancelled callers, conflicts inside a batch
    "H8",  # prefetch is bounded, and checked before each start
    "H9",  # durations go in, the store's clock adds them
    "H10",  # virtual time waits for work outside the loop
    "H11",  # a job that moves from table to table is found by every verb
    "H12",  # unique keys and their windows
    "H13",  # schedules: no slot twice, whatever changes or steps meanwhile
    "H14",  # daylight saving: gaps, overlaps, real time
    "H15",  # the history is exact and bounded
    "H16",  # jobs do not share a context
    "H17",  # own process pool: one death hurts one job
)

# What is critical or high, and what PostgreSQL could break: its own races are forced, beside the suite of all stores.
ON_POSTGRES = ("C1", "C2", "C3", "C4", "C5", "C6", "C8", "C10", "C11", "H2", "H4", "H5", "H11", "H12", "H13")


def names_a_test(rule: str, files: Iterable[Path]) -> bool:
    """Whether one of these files has a test of this name."""
    pattern = re.compile(rf"def test_{rule}_\w+")
    return any(pattern.search(path.read_text()) for path in files)


@pytest.mark.parametrize("rule", RULES)
def test_rule_has_a_test_of_its_name(rule: str) -> None:
    files = [path for place in PLACES for path in place.rglob("*.py")]
    assert names_a_test(rule, files), f"no test is named test_{rule}_…"


@pytest.mark.parametrize("rule", ON_POSTGRES)
def test_rule_has_a_test_of_its_name_on_postgres(rule: str) -> None:
    files = [path for path in (ROOT / "tests").rglob("*postgres*.py") if path.name.startswith("test_")]
    assert names_a_test(rule, files), f"no test of PostgreSQL alone is named test_{rule}_…"
