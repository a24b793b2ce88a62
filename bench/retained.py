"""What one million ended jobs cost those that are still to run, in one table and in two (decision 0004).

    python -m bench.retained [--ended 1000000] [--jobs 40000]

It runs the SQLite store's own statements, 200 jobs at a time, in this thread; the variant with two tables ends a job by
moving its row. Times are CPU microseconds for each job, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path

from mainspring.ids import new_id
from mainspring.model.record import JobRecord, NewJob, Settlement
from mainspring.store.base import Claim, Lane
from mainspring.store.serial import add, claim
from mainspring.store.sqlite.connect import Place, connect, prepare
from mainspring.store.sqlite.rows import SqliteRows

BATCH = 200
LANE = Lane("default", "shop.tasks.send", "", 100_000)
PAYLOAD = b'{"to":"somebody@example.com","number":12345,"text":"a payload of about a hundred bytes in all"}'
COPY = "INSERT INTO jobs_done ({columns}) SELECT {columns} FROM jobs WHERE id = ? AND lease = ?"
DELETE = "DELETE FROM jobs WHERE id = ? AND lease = ?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--ended", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=40_000)
    options = parser.parse_args()
    for moved in (False, True):
        for ended in (0, options.ended):
            with tempfile.TemporaryDirectory() as folder:
                tables = "two tables" if moved else "one table "
                spent = measure(Path(folder) / "jobs.db", ended, options.jobs, moved=moved)
                print(f"{tables}, {ended:>9,} ended: " + ", ".join(f"{name} {us:5.2f}" for name, us in spent.items()))


def measure(path: Path, ended: int, jobs: int, *, moved: bool) -> dict[str, float]:
    place = Place(str(path), "NORMAL")
    db = connect(place)
    prepare(db, place)
    rows = SqliteRows(db)
    if moved:
        make_second_table(db)
    for _ in range(0, ended, BATCH):
        transaction(rows, lambda: add_batch(rows))
        given = transaction(rows, lambda: claim_batch(rows))
        transaction(rows, lambda given=given: end_batch(rows, given, moved=moved))
    spent = {"add": 0.0, "claim": 0.0, "settle": 0.0}
    for _ in range(0, jobs, BATCH):
        start = time.thread_time()
        transaction(rows, lambda: add_batch(rows))
        added = time.thread_time()
        given = transaction(rows, lambda: claim_batch(rows))
        claimed = time.thread_time()
        transaction(rows, lambda given=given: end_batch(rows, given, moved=moved))
        settled = time.thread_time()
        for name, took in zip(spent, (added - start, claimed - added, settled - claimed), strict=True):
            spent[name] += took * 1e6 / jobs
    db.close()
    return {**spent, "sum": sum(spent.values())}


def add_batch(rows: SqliteRows) -> list[JobRecord]:
    add.add(rows, time.time(), new_id, [NewJob(id=new_id(), task=LANE.task, payload=PAYLOAD) for _ in range(BATCH)])
    return []


def claim_batch(rows: SqliteRows) -> list[JobRecord]:
    return claim.claim(rows, time.time(), new_id, Claim("worker", 1, [LANE], BATCH))


def end_batch(rows: SqliteRows, given: list[JobRecord], *, moved: bool) -> list[JobRecord]:
    settlements = [Settlement(job=job.id, lease=job.lease, kind="complete", ran=0.001, result=b"null") for job in given]
    assert rows.complete(settlements, time.time())
    if moved:
        columns = ", ".join(row[1] for row in rows._db.execute("PRAGMA table_info(jobs)") if row[1] != "seq")  # noqa: SLF001
        for statement in (COPY.format(columns=columns), DELETE):
            rows._db.executemany(statement, [(job.id, job.lease) for job in given])  # noqa: SLF001
    return given


def transaction(rows: SqliteRows, body: object) -> list[JobRecord]:
    assert callable(body)
    rows._db.execute("BEGIN IMMEDIATE")  # noqa: SLF001
    rows.begin()
    answer: list[JobRecord] = body()
    rows.flush()
    rows._db.execute("COMMIT")  # noqa: SLF001
    return answer


def make_second_table(db: sqlite3.Connection) -> None:
    """As `jobs`, with what ended jobs are found by; those indexes are then of no use on `jobs`."""
    (columns,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'jobs'").fetchone()
    db.execute(columns.replace("CREATE TABLE jobs", "CREATE TABLE jobs_done"))
    db.execute("CREATE INDEX done_finished ON jobs_done (state, finished)")
    db.execute("CREATE INDEX done_task ON jobs_done (task, id)")
    db.execute("DROP INDEX jobs_finished")


if __name__ == "__main__":
    main()
