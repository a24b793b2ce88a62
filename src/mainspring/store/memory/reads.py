"""Which jobs a filter means."""

from __future__ import annotations

from mainspring.model.record import JobRecord
from mainspring.store.base import Filter


def matches(job: JobRecord, wanted: Filter) -> bool:
    """Whether all conditions that are given hold for this job."""
    return (
        (not wanted.states or job.state in wanted.states)
        and (wanted.task is None or job.task == wanted.task)
        and (wanted.queue is None or job.queue == wanted.queue)
        and (not wanted.tags or set(wanted.tags) <= set(job.tags))
        and (wanted.parent is None or job.parent == wanted.parent)
        and (wanted.correlation is None or job.correlation == wanted.correlation)
        and (wanted.schedule is None or job.schedule == wanted.schedule)
        and (wanted.group is None or job.group == wanted.group)
        and (wanted.created_from is None or job.created >= wanted.created_from)
        and (wanted.created_to is None or job.created < wanted.created_to)
    )
