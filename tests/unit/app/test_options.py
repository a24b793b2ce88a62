"""Options are checked before anything is stored."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainspring import App, Retry
from mainspring.app.options import Settings, TaskOptions
from mainspring.engine.options import OPTION_NAMES, unpack
from mainspring.errors import ArgumentsInvalid, InvalidOption

AT = datetime(2026, 1, 1, tzinfo=UTC)


def job(**options: Any) -> dict[str, Any]:
    return Settings().changed(options).job


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"delay": timedelta(minutes=1)}, {"delay": 60.0, "run_at": None}),
        ({"run_at": AT}, {"run_at": AT.timestamp(), "delay": 0.0}),
        ({"expires": 5}, {"expires_in": 5.0, "expires_at": None}),
        ({"expires": AT}, {"expires_at": AT.timestamp(), "expires_in": None}),
        ({"unique": "k"}, {"unique": "k"}),
        ({"unique": "k", "unique_for": "ever"}, {"unique": "k", "unique_for": math.inf}),
        ({"unique": "k", "unique_for": 10}, {"unique": "k", "unique_for": 10.0}),
        ({"priority": -3}, {"priority": -3}),
        ({"queue": "mail"}, {"queue": "mail"}),
        ({"tags": ["b", "a", "b"]}, {"tags": ("b", "a")}),
        ({"correlation": "c"}, {"correlation": "c"}),
        ({"metadata": {"a": 1}}, {"metadata": b'{"a":1}'}),
    ],
)
def test_options_are_written_on_the_job(options: dict[str, Any], written: dict[str, Any]) -> None:
    assert job(**options) == written


def test_retry_and_timeout_are_stored_for_the_engine() -> None:
    stored = unpack(job(retry=Retry(on=OSError, attempts=3), timeout=timedelta(seconds=2))["options"])
    assert stored.timeout == 2.0
    assert stored.retry is not None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dely": 1}, "no option 'dely'; did you mean 'delay'"),
        ({"colour": 1}, "there are: correlation, delay"),
        ({"delay": -1}, "delay must be 0 or more"),
        ({"delay": "60"}, "delay is seconds or a timedelta"),
        ({"delay": True}, "delay is seconds"),
        ({"delay": math.inf}, "delay must be"),
        ({"delay": math.nan}, "delay must be"),
        ({"delay": 1, "run_at": AT}, "not both"),
        ({"run_at": 1767225600}, "run_at is a datetime"),
        ({"expires": 0}, "expires must be more than 0"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"unique": ""}, "unique must be a non-empty string"),
        ({"unique": "k" * 300}, "more than 255 bytes"),
        ({"unique": "a\0"}, "NUL"),
        ({"unique_for": 5}, "give the key"),
        ({"unique": "k", "unique_for": "never"}, '"ever"'),
        ({"priority": 1.5}, "whole number"),
        ({"priority": 40_000}, "from -32768 to 32767"),
        ({"priority": True}, "whole number"),
        ({"tags": "mail"}, "tags is a list"),
        ({"tags": ["a", 1]}, "a tag must be"),
        ({"metadata": [1]}, "metadata is a dict"),
        ({"metadata": {"a": object()}}, "metadata cannot be stored"),
        ({"retry": 5}, "Retry"),
        ({"queue": ""}, "queue must be"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        job(**options)


def test_D16_naive_datetimes_are_refused() -> None:
    for option in ("run_at", "expires"):
        with pytest.raises(InvalidOption, match=f"{option}: .*no time zone"):
            job(**{option: datetime(2026, 1, 1)})  # noqa: DTZ001  # the case


def test_later_options_win_over_earlier_ones() -> None:
    both = Settings().changed({"delay": 5, "priority": 1}).changed({"run_at": AT})
    assert both.job == {"priority": 1, "run_at": AT.timestamp(), "delay": 0.0}
    assert both.given == {"delay": 5, "priority": 1, "run_at": AT}


def test_WFL_019_options_leave_the_task_untouched() -> None:
    """D5: a copy of the task, of the same class."""
    app = App("memory://")

    @app.task(name="t", queue="mail")
    async def task() -> None: ...

    copy = task.options(priority=5, metadata={"a": 1})
    assert type(copy) is type(task)
    assert (task.given, copy.given) == ({}, {"priority": 5, "metadata": {"a": 1}})
    assert (copy.name, copy.fn) == ("t", task.fn)
    assert copy.options(queue="other").bind().node != copy.bind().node


def test_the_engine_knows_the_names_of_all_options() -> None:
    """It says so when one is given as an argument."""
    assert set(TaskOptions.__annotations__) == OPTION_NAMES


async def test_an_option_among_the_arguments_is_pointed_out() -> None:
    app = App("memory://")

    @app.task(name="add")
    async def add(a: int) -> None: ...

    with pytest.raises(ArgumentsInvalid, match=r"task\.options\(delay=…\)"):
        await add.enqueue(1, delay=3)  # type: ignore[call-arg]  # the commonest slip
