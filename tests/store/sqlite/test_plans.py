"""Every statement whose cost must not grow with what has ended uses the index that was made for it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pytest

from mainspring.store.sqlite import belongings, jobs, reads, schedules, workers
from mainspring.store.sqlite.connect import MEMORY, Place, connect, prepare

READS = sorted(name for name in reads.SQL if name.startswith("by_"))


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    place = Place(MEMORY)
    connection = connect(place)
    prepare(connection, place)
    yield connection
    connection.close()


def plan(db: sqlite3.Connection, statement: str) -> list[str]:
    named = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
    numbers = max((int(each) for each in re.findall(r"\?(\d+)", statement)), default=statement.count("?"))
    parameters = named or (1,) * numbers
    return [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + statement, parameters)]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("by_id", "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)"),
        ("by_ids", "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)"),
        ("heads", "SEARCH jobs USING INDEX jobs_ready (queue=? AND task=? AND version=? AND suspect=?)"),
        ("claim", "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"),
        ("complete", "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"),
        ("write", "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)"),
        ("claimed_as", "SEARCH jobs USING INDEX jobs_running (worker=? AND claim=?)"),
        ("running", "SEARCH jobs USING INDEX jobs_running (worker=?)"),
        ("strays", "SCAN jobs USING INDEX jobs_running"),
        ("due", "SEARCH jobs USING INDEX jobs_scheduled (due"),
        ("late", "SEARCH jobs USING INDEX jobs_expires (expires"),
        ("dependants", "SEARCH job_marks USING PRIMARY KEY (kind=? AND value=?)"),
        ("prunable", "SEARCH jobs USING INDEX jobs_finished (state=? AND finished"),
        ("remove", "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)"),
    ],
)
def test_verbs(db: sqlite3.Connection, name: str, wanted: str) -> None:
    steps = plan(db, jobs.SQL[name])
    assert any(wanted in step for step in steps), steps
    assert not [step for step in steps if "TEMP B-TREE" in step], "the index gives the order"


def test_the_next_due_time_is_the_first_of_two_indexes(db: sqlite3.Connection) -> None:
    steps = plan(db, jobs.SQL["next_due"])
    for name in ("jobs_scheduled", "jobs_expires"):
        assert any(re.match(rf"SEARCH jobs USING (COVERING )?INDEX {name}\b", step) for step in steps), steps


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("schedule", "SEARCH schedules USING INDEX sqlite_autoindex_schedules_1 (id=?)"),
        ("schedules", "SEARCH schedules USING INDEX sqlite_autoindex_schedules_1 (id=?)"),
        ("due", "SEARCH schedules USING INDEX schedules_due (due>? AND due<?)"),
        ("next_due", "SEARCH schedules USING INDEX schedules_due (due>?)"),
        ("move", "SEARCH schedules USING INTEGER PRIMARY KEY (rowid=?)"),
        ("list", "SEARCH schedules USING INDEX sqlite_autoindex_schedules_1 (id>?)"),
        ("keeping", "SEARCH schedules USING INDEX sqlite_autoindex_schedules_1 (id=?)"),
        ("remove_dropped", "SEARCH schedules USING INDEX schedules_dropped (dropped>? AND dropped<?)"),
        ("open_run", "SEARCH schedule_runs USING INDEX schedule_runs_open (schedule=?)"),
        ("open_runs", "SEARCH schedule_runs USING INDEX schedule_runs_open (schedule=?)"),
        ("all_open_runs", "SEARCH schedule_runs USING INDEX schedule_runs_open ((schedule,number)>(?,?))"),
        ("newest_runs", "SEARCH schedule_runs USING INDEX sqlite_autoindex_schedule_runs_1 (schedule=? AND number>?)"),
        ("trim", "SEARCH schedule_runs USING INDEX sqlite_autoindex_schedule_runs_1 (schedule=? AND number<?)"),
        ("remove_run", "SEARCH schedule_runs USING INDEX sqlite_autoindex_schedule_runs_1 (schedule=? AND number=?)"),
        ("reopen", "SEARCH schedule_runs USING INDEX sqlite_autoindex_schedule_runs_1 (schedule=?)"),
        ("keep", "SEARCH schedule_runs USING INDEX sqlite_autoindex_schedule_runs_1 (schedule=?)"),
        ("old_runs", "SEARCH schedule_runs USING INDEX schedule_runs_until (until>? AND until<?)"),
        ("orphaned_runs", "SEARCH schedules USING INDEX schedules_dropped (dropped>? AND dropped<?)"),
    ],
)
def test_schedules(db: sqlite3.Connection, name: str, wanted: str) -> None:
    """The index on `due` is the heap of the schedulers: a start and a look cost the same with any number of them."""
    steps = plan(db, schedules.SQL[name])
    assert any(wanted in step for step in steps), steps
    assert not [step for step in steps if "TEMP B-TREE" in step], "the index gives the order"


def test_those_that_this_code_declared_are_found_by_it(db: sqlite3.Connection) -> None:
    steps = plan(db, schedules.SQL["list_declared"])
    assert "SEARCH schedules USING INDEX schedules_declared (declared_by=? AND id>?)" in steps, steps


@pytest.mark.parametrize("name", ["put", "put_run"])
def test_a_put_looks_by_the_key_alone(db: sqlite3.Connection, name: str) -> None:
    assert plan(db, schedules.SQL[name]) == []


@pytest.mark.parametrize(
    ("walk", "wanted"),
    [
        ("by_id", "USING COVERING INDEX sqlite_autoindex_jobs_1 (id"),
        ("by_task", "USING COVERING INDEX jobs_task (task=? AND id"),
        ("by_state", "USING COVERING INDEX jobs_state (state=? AND id"),
        ("by_mark", "SEARCH job_marks USING PRIMARY KEY (kind=? AND value=? AND job"),
    ],
)
@pytest.mark.parametrize("order", ["", "_newest"])
def test_M5_a_walk_is_in_the_order_of_the_ids(db: sqlite3.Connection, walk: str, wanted: str, order: str) -> None:
    steps = plan(db, reads.SQL[walk + order])
    assert any(wanted in step for step in steps), steps
    assert not [step for step in steps if "TEMP B-TREE" in step]


@pytest.mark.parametrize("walk", ["by_ready", "by_running"])
@pytest.mark.parametrize("order", ["", "_newest"])
def test_the_hot_states_have_no_index_for_find_and_sort_theirs(db: sqlite3.Connection, walk: str, order: str) -> None:
    steps = plan(db, reads.SQL[walk + order])
    assert any(f"INDEX jobs_{walk[3:]}" in step for step in steps)


@pytest.mark.parametrize("walk", READS)
def test_M5_find_looks_at_no_more_than_the_walk_gives(db: sqlite3.Connection, walk: str) -> None:
    steps = plan(db, reads.around("page", walk))
    assert "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)" in steps
    assert any(step in ("CO-ROUTINE walk", "MATERIALIZE walk") for step in steps)


def test_no_statement_walks_the_table(db: sqlite3.Connection) -> None:
    """But for `recount`, which is meant to."""
    groups = (
        jobs.SQL,
        belongings.SQL,
        workers.SQL,
        schedules.SQL,
        {name: reads.around("page", name) for name in READS},
    )
    found = [each for group in groups for each in group.items()]
    found += [(name, text) for name, text in reads.SQL.items() if name not in {"page", "last", "recount"}]
    walk = re.compile(r"SCAN (jobs|schedules|schedule_runs)")
    assert [name for name, text in found for step in plan(db, text) if walk.fullmatch(step)] == []
