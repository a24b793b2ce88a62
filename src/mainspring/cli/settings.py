"""What `mainspring run` was told, and the exit codes that it answers with."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from msgspec import Struct

LogFormat = Literal["text", "json"]


class Exit(IntEnum):
    """How `mainspring run` ended; the worst that happened while it stopped."""

    CLEAN = 0
    FAILED = 1
    """A worker process died while it was to stop, and its jobs were rescued or will be; or none ever came up."""
    USAGE = 2
    """What was asked for cannot be run; nothing was started."""
    LOST = 3
    """Settlements could not be written, since the store was away: these jobs run again."""
    STALLED = 70
    """A worker process stood still and had to be killed; also the code of one that ended itself for it."""


class RunSettings(Struct, frozen=True, kw_only=True):
    """The options of `mainspring run`; times in seconds.

    `lease_time` is shorter than that of an embedded worker, since the parent beats for a worker whose loop is busy
    (RULES C8).
    """

    app: str
    processes: int = 1
    queues: tuple[str, ...] | None = None
    concurrency: int = 10
    drain: bool = False
    reload: bool = False
    grace: float = 30.0
    stall_limit: float | None = 300.0
    lease_time: float = 15.0
    log_level: str = "info"
    log_format: LogFormat = "text"


class WorkerOrder(Struct, frozen=True, kw_only=True):
    """What a worker process is started with: its number, its end of the pipe, the table of started jobs."""

    settings: RunSettings
    number: int
    pipe: int
    table: int
