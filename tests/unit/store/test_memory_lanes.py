"""Lanes of the memory store: a heap that has run empty is kept for the next job, but not very many of them."""

from __future__ import annotations

from mainspring.model.record import NewJob
from mainspring.store.base import Lane
from mainspring.store.memory.jobs import EMPTY_LIMIT
from mainspring.store.memory.rows import MemoryRows
from mainspring.store.serial.add import add


def put(rows: MemoryRows, *queues: str) -> list[str]:
    news = [NewJob(id=f"job-{queue}", task="t", queue=queue) for queue in queues]
    return [answer.id for answer in add(rows, 1000.0, str, news) if answer.created]


def end(rows: MemoryRows, *ids: str) -> None:
    for job in rows.jobs(ids):
        assert job is not None
        rows.remove([job.id])


def test_an_empty_lane_is_not_told_and_takes_its_next_job() -> None:
    rows = MemoryRows()
    end(rows, *put(rows, "a"))
    assert rows.lanes() == []
    put(rows, "a")
    assert rows.lanes() == [Lane("a", "t", "", 1)]
    assert len(rows.heads(Lane("a", "t", "", 1), False, 9)) == 1


def test_many_empty_lanes_are_forgotten_and_the_others_are_not() -> None:
    rows = MemoryRows()
    end(rows, *put(rows, *(f"q{number:03}" for number in range(EMPTY_LIMIT + 1))))
    put(rows, "busy")
    assert rows.lanes() == [Lane("busy", "t", "", 1)]
    assert list(rows._ready) == [("busy", "t", "", False)]
    assert rows.lanes() == [Lane("busy", "t", "", 1)]
