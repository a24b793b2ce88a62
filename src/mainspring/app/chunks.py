"""Flows as the batches that a store is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from mainspring.app.bound import BoundTask
from mainspring.model.flow import Flow
from mainspring.model.record import NewGroup, NewJob
from mainspring.store.base import Added

R = TypeVar("R")

CHUNK_JOBS = 1000
CHUNK_BYTES = 1 << 20

Compiled = tuple[BoundTask[R], Flow]


def chunks(work: Iterable[Compiled[R]]) -> Iterator[list[Compiled[R]]]:
    """The flows in batches of at most 1,000 jobs and 1 MiB, unless one alone is more."""
    chunk: list[Compiled[R]] = []
    jobs = weight = 0
    for bound, flow in work:
        more = sum(len(job.payload) for job in flow.jobs)
        if chunk and (jobs + len(flow.jobs) > CHUNK_JOBS or weight + more > CHUNK_BYTES):
            yield chunk
            chunk, jobs, weight = [], 0, 0
        chunk.append((bound, flow))
        jobs += len(flow.jobs)
        weight += more
    if chunk:
        yield chunk


def parts_of(flows: Sequence[Flow]) -> tuple[list[NewJob], list[NewGroup]]:
    """The jobs and groups of all these flows."""
    return [job for flow in flows for job in flow.jobs], [group for flow in flows for group in flow.groups]


def last_of_each(flows: Sequence[Flow], answers: Sequence[Added]) -> list[Added]:
    """The answers for the last job of each flow, out of those for all their jobs."""
    places = iter(answers)
    return [[next(places) for _ in flow.jobs][-1] for flow in flows]
