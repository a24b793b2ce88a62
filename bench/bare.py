"""The bare loop: the least durable work on our own tables that could be called the same thing.

No worker, no retries, no routing, no task: only the rows that must be written, in batches of 100, by one connection.
It completes the last batch and claims the next in one transaction. It is a bound, not a rival.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

from bench.measurement import Unverified
from bench.stores import Place, states
from mainspring.ids import new_id
from mainspring.store.sqlite import connect

BATCH = 100
QUEUE, TASK = "default", "bench.noop"
INSERT = """
INSERT INTO jobs (id, state, queue, task, version, priority, due, created, reason, options, payload)
VALUES (?, 'ready', 'default', 'bench.noop', '', 0, ?, ?, '', x'', ?)
"""
CLAIM = """
UPDATE jobs SET state = 'running', lease = lease + 1, attempt = attempt + 1, worker = 'bare', claim = ?, claimed = ?
WHERE seq IN (
    SELECT seq FROM jobs INDEXED BY jobs_ready
    WHERE state = 'ready' AND queue = 'default' AND task = 'bench.noop' AND version = '' AND suspect = 0
    ORDER BY priority DESC, due, id LIMIT ?
)
RETURNING seq, payload
"""
COMPLETE = """
UPDATE jobs SET state = 'completed', settled = lease, finished = ?
WHERE seq IN (SELECT value FROM json_each(?))
"""


def drain(place: Place, jobs: int) -> float:
    """Jobs per second: claim and complete what is there. Raises Unverified when something is left."""
    with closing(opened(place)) as connection:
        insert(connection, jobs, 1000)
        begin = time.perf_counter()
        held: list[int] = []
        number = 0
        while True:
            number += 1
            now = time.time()
            connection.execute("BEGIN IMMEDIATE")
            if held:
                connection.execute(COMPLETE, (now, json.dumps(held)))
            rows = connection.execute(CLAIM, (number, now, BATCH)).fetchall()
            connection.execute("COMMIT")
            held = [seq for seq, _ in rows]
            if not held:
                break
        rate = jobs / (time.perf_counter() - begin)
    return checked(place, {"completed": jobs}, rate)


def enqueue(place: Place, jobs: int, batch: int = BATCH) -> float:
    """Jobs per second: insert them, so many in each transaction."""
    with closing(opened(place)) as connection:
        begin = time.perf_counter()
        insert(connection, jobs, batch)
        rate = jobs / (time.perf_counter() - begin)
    return checked(place, {"ready": jobs}, rate)


def opened(place: Place) -> sqlite3.Connection:
    """A new file with our schema and our settings."""
    assert place.path is not None
    ours = connect.Place(str(place.path), place.synchronous)
    connection = connect.connect(ours)
    connect.prepare(connection, ours)
    return connection


def insert(connection: sqlite3.Connection, jobs: int, batch: int) -> None:
    for first in range(0, jobs, batch):
        now = time.time()
        rows = [(new_id(), now, now, b'{"n":%d}' % n) for n in range(first, min(first + batch, jobs))]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, rows)
        connection.execute("COMMIT")


def checked(place: Place, expected: dict[str, int], rate: float) -> float:
    assert place.path is not None
    if (found := states(place.path)) != expected:
        raise Unverified(f"the bare loop left {found} instead of {expected}")
    return rate
