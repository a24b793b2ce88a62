"""The Context, apart from any worker."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from mainspring.engine.context import Context, Surroundings, entered
from mainspring.errors import AppError, PayloadTooLarge
from mainspring.model.record import JobRecord


def job() -> JobRecord:
    return JobRecord(
        id="j1",
        task="mail.send",
        state="running",
        created=1_000.0,
        due=1_010.0,
        claimed=1_011.0,
        attempt=2,
        lease=7,
        metadata=b'{"a":1}',
        tags=("x",),
        correlation="c",
    )


def test_it_tells_of_its_job() -> None:
    context = Context(job(), Surroundings(state="pool", offset=1_000.0), started=15.0)
    assert (context.job_id, context.task, context.attempt, context.fence) == ("j1", "mail.send", 2, 7)
    assert context.created == datetime.fromtimestamp(1_000, UTC)
    assert context.due == datetime.fromtimestamp(1_010, UTC)
    assert context.started == datetime.fromtimestamp(1_015, UTC)
    assert context.delay == pytest.approx(5.0)
    assert context.metadata == {"a": 1}
    assert (context.tags, context.correlation, context.state) == (("x",), "c", "pool")


def test_stopping_is_that_of_the_worker() -> None:
    around = Surroundings()
    context = Context(job(), around)
    assert context.stopping is False
    around.stopping = True
    assert context.stopping is True


def test_outside_of_a_job_there_is_no_current_one() -> None:
    with pytest.raises(AppError, match=r"outside of a job"):
        Context.current()


def test_the_current_one_lasts_as_long_as_its_block() -> None:
    with entered(Context.detached("a")):
        with entered(Context.detached("b")):
            assert Context.current().task == "b"
        assert Context.current().task == "a"


def test_a_detached_one_is_the_first_attempt_of_nothing() -> None:
    context = Context.detached("a")
    assert (context.attempt, context.fence, context.state, context.metadata) == (1, 0, None, {})
    assert context.started.tzinfo is UTC
    assert not context.cancelled
    context.progress({"done": 1})


def test_progress_keeps_the_last_and_has_a_limit() -> None:
    context = Context(job())
    context.progress(1)
    context.progress({"done": 2})
    assert context.reported == b'{"done":2}'
    with pytest.raises(PayloadTooLarge):
        context.progress("x" * 20_000)


def test_progress_goes_to_a_sink_at_once() -> None:
    told: list[bytes] = []
    Context(job(), sink=told.append).progress([1])
    assert told == [b"[1]"]


def test_log_records_carry_the_ids(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Context(job()).logger.info("hello", extra={"own": 1})
    record = caplog.records[0]
    assert record.name == "mainspring.task.mail.send"
    assert (record.__dict__["job_id"], record.__dict__["attempt"], record.__dict__["own"]) == ("j1", 2, 1)
