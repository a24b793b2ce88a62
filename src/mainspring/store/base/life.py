"""Opening, closing, checking and copying a store; pausing queues and limiting lanes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, NamedTuple, Protocol

from mainspring.store.base.jobs import Beat, BeatReply


class Features(NamedTuple):
    """What a store can honestly do. The contract suite reads it: nothing is skipped in silence.

    `wake`: how a worker learns of new work. `transaction`: jobs can be added in the caller's own, and attempts can run
    in one of the store's. `atomic_limit`: how many jobs one settlement can add. `survives`: what acknowledged work
    survives. `shared`: several processes.
    """

    name: str
    wake: Literal["direct", "poll", "notify"]
    survives: Literal["nothing", "process", "power"]
    shared: bool
    transaction: bool = False
    strict_order: bool = True
    fleet_limits: bool = False
    atomic_limit: int = 100_000
    find: Literal["indexed", "limited"] = "indexed"
    schedules: bool = False
    steps: bool = False
    transfer: bool = False


class Finding(NamedTuple):
    """One thing that `check` has to say."""

    level: Literal["ok", "warning", "error"]
    subject: str
    message: str


class Lifeline(Protocol):
    """A connection for beats alone, which is used in one loop: not the store's, but one of another thread."""

    async def open(self) -> None:
        """Connect. Opening what is open changes nothing. Raises StoreUnavailable, StoreUnsuitable."""
        ...

    async def beat(self, beat: Beat) -> BeatReply:
        """See `Upkeep.beat`."""
        ...

    async def close(self) -> None:
        """Let go of the connection. Closing twice is fine."""
        ...


class Life(Protocol):
    """What everybody asks of a store."""

    @property
    def features(self) -> Features:
        """What this store can do."""
        ...

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Opening an open store changes nothing.

        Raises StoreUnsuitable for a place that cannot be used, which is then left untouched; StoreUnavailable when
        it cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Write what was acknowledged, and let go. Closing twice is fine; other verbs then raise StoreClosed."""
        ...

    def lifeline(self) -> Lifeline | None:
        """A new one to this place, not opened yet; may be asked for in any thread (RULES C8).

        None where a beat from a thread would tell nobody anything new: the store is in this process, or knows by a
        lock whether a process lives.
        """
        ...

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the names of the migrations that ran."""
        ...

    async def pending(self) -> list[str]:
        """The names of the migrations that opening would run; changes nothing, and needs no open store.

        Of a place where nothing is yet, all of them. Raises StoreUnsuitable and StoreUnavailable as opening does.
        """
        ...

    async def check(self) -> list[Finding]:
        """Whether this place, which is open, keeps what it promises. Changes nothing."""
        ...

    async def now(self) -> float:
        """The store's clock."""
        ...

    async def pause(self, queue: str) -> None:
        """Hand out no more jobs of this queue; they stay ready."""
        ...

    async def resume(self, queue: str) -> None:
        """End a pause."""
        ...

    async def set_limit(self, key: str, concurrency: int | None) -> None:
        """Limit how many jobs of this key run in the whole fleet; None removes the limit (part 5)."""
        ...

    def dump(self) -> AsyncIterator[bytes]:
        """Everything, as lines of JSON (part 7)."""
        ...

    async def restore(self, lines: AsyncIterator[bytes]) -> dict[str, int]:
        """Take what `dump` gave; returns counts by kind (part 7)."""
        ...
