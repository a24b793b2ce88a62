"""The log of the command line, as text for people or as one JSON object a line for programs."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Final

from mainspring.cli.settings import LogFormat

IDS: Final = ("job_id", "task", "attempt", "worker", "schedule", "slot")
"""What a record may carry beside its text. Payloads are never logged."""


class JsonLines(logging.Formatter):
    """A record as a JSON object on one line: ts, level, logger, message, pid; ids and the error where there are."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": os.getpid(),
        }
        said.update((key, value) for key in IDS if (value := getattr(record, key, None)) is not None)
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            said["stack"] = record.stack_info
        return json.dumps(said, ensure_ascii=False, default=str)


class Text(logging.Formatter):
    """A record as a line to read, with the job's id at its end where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it."""
        text = super().format(record)
        job = getattr(record, "job_id", None)
        if job is None:
            return text
        first, *rest = text.split("\n", 1)
        return "\n".join([f"{first} [job {job}]", *rest])


def configure(level: str, format: LogFormat) -> None:  # noqa: A002  # as on the command line
    """Send everything from this level on to standard error, in this format; what was set up before is replaced."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonLines() if format == "json" else Text())
    logging.basicConfig(level=level.upper(), handlers=[stream], force=True)
