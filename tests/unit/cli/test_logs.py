"""The two forms of the log."""

from __future__ import annotations

import json
import logging
import sys

from mainspring.cli.logs import JsonLines, Text


def record(text: str = "done: %s", *, error: bool = False, **extra: object) -> logging.LogRecord:
    info = None
    if error:
        try:
            raise ValueError("no\nway")
        except ValueError:
            info = sys.exc_info()
    made = logging.LogRecord("shop.mail", logging.WARNING, __file__, 1, text, ("ü",), info)
    vars(made).update(extra)
    made.created = 1_767_225_600.25
    return made


def test_json_is_one_object_a_line_with_ids_and_no_payload() -> None:
    line = JsonLines().format(record(job_id="j-1", task="send", attempt=2, payload={"secret": 1}))
    assert "\n" not in line
    said = json.loads(line)
    assert said.pop("pid") > 0
    assert said == {
        "ts": "2026-01-01T00:00:00.250+00:00",
        "level": "warning",
        "logger": "shop.mail",
        "message": "done: ü",
        "job_id": "j-1",
        "task": "send",
        "attempt": 2,
    }


def test_an_error_stays_on_the_line() -> None:
    line = JsonLines().format(record(error=True))
    assert "\n" not in line
    assert "ValueError: no" in json.loads(line)["error"]


def test_what_json_cannot_hold_is_written_as_text() -> None:
    assert json.loads(JsonLines().format(record(task=object)))["task"] == "<class 'object'>"


def test_text_names_the_job_on_the_first_line() -> None:
    first, *rest = Text().format(record(job_id="j-1", error=True)).splitlines()
    assert first.endswith("shop.mail: done: ü [job j-1]")
    assert rest[0].startswith("Traceback")
    assert Text().format(record()).endswith("shop.mail: done: ü")
