"""What a worker process and its parent say to each other on their pipe: lines of JSON; an empty line is a tick."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

TICK: Final = b"\n"
"""The loop of the worker process turns."""

TICK_EVERY: Final = 0.5
"""Seconds between two ticks, fewer for a short lease time."""


def tick_every(lease_time: float) -> float:
    """Seconds between two ticks: a busy loop is to be seen well within the lease time.

    >>> tick_every(15.0), tick_every(2.0)
    (0.5, 0.2)
    """
    return min(TICK_EVERY, lease_time / 10)


class Ready(Struct, frozen=True, tag=True):
    """The worker has joined.

    `url` names its store; `shared` says whether the parent can open it, too. `code` is the folder of its app, which
    was imported after `since` (seconds since 1970).
    """

    worker: str
    url: str | None
    shared: bool
    code: str
    since: float


class Longest(Struct, frozen=True, tag=True):
    """The longest timeout among the running jobs, in seconds; told when it changes. Nobody stands still before it."""

    timeout: float


class Refused(Struct, frozen=True, tag=True):
    """The app cannot be run; the text says what to do."""

    text: str


class NotUp(Struct, frozen=True, tag=True):
    """The worker could not start, for the reason in the text.

    `wait`: because its store is away, which is no fault of the app's; it will come up when the store is there.
    """

    text: str
    wait: bool = False


class Left(Struct, frozen=True, tag=True):
    """The worker has stopped: how many jobs ended within the grace, went back, could not be settled.

    `left_behind`: functions in threads that nobody can stop; they end with the process, and their jobs with it.
    """

    finished: int
    handed_back: int
    lost: int
    left_behind: int = 0


class Stop(Struct, frozen=True, tag=True):
    """Told by the parent: stop, with the grace, or `now`."""

    now: bool = False


Word = Ready | Longest | Refused | NotUp | Left | Stop

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Word] = msgspec.json.Decoder(Word)


def line(word: Word) -> bytes:
    """A word as it travels."""
    return _encoder.encode(word) + b"\n"


def word_of(data: bytes) -> Word | None:
    """A line as a word; None for a tick."""
    return _decoder.decode(data) if data.strip() else None
