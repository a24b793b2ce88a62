"""The table itself: complete, read from top to bottom, and drawn as it is."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.model.states import (
    LIVE,
    SETTLE_KINDS,
    STATES,
    TABLE,
    TERMINAL,
    VERBS,
    Condition,
    Row,
    State,
    Verb,
    allowed,
    diagram,
    target,
)

CONDITIONS: tuple[Condition, ...] = get_args(Condition)
AFTER_THE_END = {"replay", "revive", "delete"}
PLACES = (None, *STATES)


def rows_of(verb: Verb, state: State | None) -> list[Row]:
    return [row for row in TABLE if (row.verb, row.state) == (verb, state)]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_every_row_is_reached_by_its_own_conditions(row: Row) -> None:
    assert target(row.verb, row.state, row.when) == row.to
    assert allowed(row.verb, row.state)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", PLACES)
def test_the_first_row_that_holds_wins(verb: Verb, state: State | None) -> None:
    rows = rows_of(verb, state)
    for earlier, later in pairwise(rows):
        assert target(verb, state, (*earlier.when, *later.when)) == earlier.to
        assert not set(earlier.when) <= set(later.when), f"{later} is never reached"
    assert len({row.when for row in rows}) == len(rows)


@given(st.sampled_from(VERBS), st.sampled_from(PLACES), st.sets(st.sampled_from(CONDITIONS)))
def test_conditions_that_a_cell_does_not_ask_for_change_nothing(
    verb: Verb, state: State | None, holding: set[Condition]
) -> None:
    asked = {condition for row in rows_of(verb, state) for condition in row.when}
    assert target(verb, state, holding) == target(verb, state, holding & asked)


@given(st.sampled_from(VERBS), st.sampled_from(STATES), st.sets(st.sampled_from(CONDITIONS)))
def test_a_forbidden_cell_stays_forbidden(verb: Verb, state: State, holding: set[Condition]) -> None:
    if not rows_of(verb, state):
        assert not allowed(verb, state)
        assert target(verb, state, holding) is None


def test_every_verb_and_every_condition_is_used() -> None:
    assert {row.verb for row in TABLE} == set(VERBS)
    assert {condition for row in TABLE for condition in row.when} == set(CONDITIONS)


def test_live_and_terminal_are_all_states() -> None:
    assert set(STATES) == LIVE | TERMINAL
    assert not LIVE & TERMINAL
    assert {"completed", "dead", "expired", "cancelled"} == TERMINAL  # JOB-029


def test_only_add_makes_and_only_delete_removes() -> None:
    assert {row.verb for row in TABLE if row.state is None} == {"add"}
    assert {row.verb for row in TABLE if row.to is None} == {"delete"}


def test_terminal_is_final_except_by_replay() -> None:
    assert {row.verb for row in TABLE if row.state in TERMINAL} == AFTER_THE_END
    assert all(row.state == "cancelled" for row in TABLE if row.verb == "revive")


def test_running_is_entered_by_claim_only_and_left_by_lease_rescue_or_request_only() -> None:
    assert {row.verb for row in TABLE if row.to == "running" and row.state != "running"} == {"claim"}
    assert {row.verb for row in TABLE if row.state == "running"} == {*SETTLE_KINDS, "rescue", "cancel"}


@given(st.sampled_from([*SETTLE_KINDS, "rescue"]), st.sets(st.sampled_from(CONDITIONS)))
def test_C4_a_cancel_request_lets_a_running_job_only_end(verb: Verb, holding: set[Condition]) -> None:
    assert target(verb, "running", {*holding, "cancel requested"}) in TERMINAL


@given(st.sampled_from(VERBS), st.sampled_from(sorted(LIVE)), st.sets(st.sampled_from(CONDITIONS)))
def test_completed_comes_from_complete_only(verb: Verb, state: State, holding: set[Condition]) -> None:
    if target(verb, state, holding) == "completed":
        assert verb == "complete"


def test_the_diagram_shows_every_row_and_nothing_else() -> None:
    first, *lines = diagram().splitlines()
    assert first == "stateDiagram-v2"
    drawn = {}
    for line in lines:
        match = re.fullmatch(r"    (\S+) --> (\S+): (.+)", line)
        assert match, line
        drawn[match[1], match[2]] = match[3]
    assert set(drawn) == {(row.state or "[*]", row.to or "[*]") for row in TABLE}
    assert {place for arrow in drawn for place in arrow} == {*STATES, "[*]"}
    for row in TABLE:
        label = row.verb + (f" ({', '.join(row.when)})" if row.when else "")
        assert label in drawn[row.state or "[*]", row.to or "[*]"]
