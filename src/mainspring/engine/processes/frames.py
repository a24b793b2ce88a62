"""What travels between the process pool and a child: one job down, a few words about it up. MessagePack, framed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from mainspring.codec import DEFAULT_LIMIT
from mainspring.engine.processes.carried import Carried
from mainspring.model.record import Failure, JobRecord

HEAD: Final = 4
"""Bytes of a frame's length, which comes before it."""


class Order(Struct, frozen=True, kw_only=True):
    """Run this job.

    `path` is the function's (see `importable`); `input` is what the job gets of what it waited on, as JSON.
    """

    path: str
    job: JobRecord
    input: bytes | None = None
    takes_context: bool = False
    store_result: bool = True
    limit: int = DEFAULT_LIMIT


class Taken(Struct, frozen=True, tag=True):
    """The child has the order: from here on its death is a crash of this job."""


class Began(Struct, frozen=True, tag=True):
    """The module is imported and the arguments fit: the function begins now."""


class Progress(Struct, frozen=True, tag=True):
    """What the function says about itself, as JSON."""

    data: bytes


class Returned(Struct, frozen=True, tag=True):
    """The function returned; its result as JSON, None when none is kept."""

    result: bytes | None


class Raised(Struct, frozen=True, tag=True):
    """The function raised, or its arguments or result did not fit. `failure` is the text, made in the child.

    `wait_hint`: seconds after which the error itself wants to come again.
    """

    error: Carried
    failure: Failure
    wait_hint: float | None = None


Word = Taken | Began | Progress | Returned | Raised


def _plain(value: object) -> object:
    """A record's counters are read-only, which msgspec cannot write as they are."""
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"{type(value).__name__} does not travel to a child")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_orders = msgspec.msgpack.Decoder(Order)
_words: msgspec.msgpack.Decoder[Word] = msgspec.msgpack.Decoder(Word)


def framed(value: Order | Word) -> bytes:
    """The value as a frame."""
    data = _encoder.encode(value)
    return len(data).to_bytes(HEAD) + data


async def read_word(reader: asyncio.StreamReader) -> Word | None:
    """The child's next word; None when the child is gone."""
    try:
        size = int.from_bytes(await reader.readexactly(HEAD))
        return _words.decode(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def read_order(pipe: socket.socket) -> Order | None:
    """The next order, for the child; blocks. None when the parent is gone."""
    head = _exactly(pipe, HEAD)
    data = None if head is None else _exactly(pipe, int.from_bytes(head))
    return None if data is None else _orders.decode(data)


def _exactly(pipe: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            part = pipe.recv(min(size - len(data), 1 << 20))
        except ConnectionError:
            return None
        if not part:
            return None
        data += part
    return bytes(data)
