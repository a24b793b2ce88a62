"""News of work that may be claimed: told within this process, and to and from others by NOTIFY (RULES M6).

All of it is a hint. What is not heard is found when a worker looks next, at the latest after a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from mainspring.errors import MainspringError
from mainspring.retries.backoff import exponential, jittered
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.hooks import Hooks, RetryDetails
from mainspring.retries.policy import Retry
from mainspring.store.postgres import faults
from mainspring.store.postgres.connect import connect
from mainspring.store.postgres.place import LONGEST_NAME, Connection, Place
from mainspring.store.postgres.pool import Pool

log = logging.getLogger("mainspring.store.postgres")

APART: Final = 0.005
"""Seconds between two notices of one queue from this process."""

PATIENCE: Final = 0.002
"""Seconds for which a notice that is due waits for a statement that takes it along: a commit of its own costs more."""

LOOK: Final = 5.0
"""Seconds between two questions whether the listening connection still answers."""

ANYTHING: Final = "\n"
"""What is sent when any queue may have got work."""

SCHEDULES: Final = "\x01schedules"
"""Stands for the schedules among the names of queues. No queue should be called so; who is, is woken too often."""

_LONGEST: Final = 7000
"""Bytes of a notice; the server takes 8000."""

_KNOWN: Final = 10_000
"""Queues whose last notice is remembered."""

RECONNECT: Final = Retry(on=Exception, attempts=None, backoff=jittered(exponential(0.1, cap=5)))
"""How the listener comes back."""

_TELL: Final = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"
"""What is told is committed already: no reason to wait for the disk once more."""

Waiter = asyncio.Future[None]


def channel_of(schema: str) -> str:
    """The channel of a schema: its name, or a digest where that is too long for a channel."""
    name = f"mainspring_{schema}"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"mainspring_{hashlib.sha256(schema.encode()).hexdigest()[:32]}"


class Wake:
    """Wakes those who wait for work, here and in other processes. `channel`: where others are told.

    The connection that listens is opened by the first `wait`, so that a process that only adds jobs has none. With
    `place.notify` off only this process is listened to, and nobody is told. No queues means: any may have got work.
    """

    def __init__(self, pool: Pool, place: Place) -> None:
        self._pool = pool
        self._place = place
        self._waiting: dict[Waiter, frozenset[str]] = {}
        self._told: dict[str, float] = {}
        self._untold: set[str] = set()
        self._teller: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._closed_after = -1
        self._quiet = True
        self._unheard = False  # news of schedules while nobody waited for them
        self.channel: Final = channel_of(place.schema)

    async def wait(self, queues: Collection[str], timeout: float) -> bool:
        """Until there is news for one of the queues (True), or `timeout` seconds have passed. No queues: for any."""
        self._pool.check()
        if self._closed:
            raise faults.closed(self._place)
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._waiting[waiter] = frozenset(queues)
        if self._listener is None and self._place.notify:
            self._listener = loop.create_task(self._listen(), name="mainspring-listen")
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(waiter, None)
        return True

    async def wait_schedules(self, timeout: float) -> bool:
        """Until there is news of schedules (True), or `timeout` seconds have passed.

        News that came since the last wait counts: who looks at what is due, and then waits, misses none.
        """
        self._pool.check()
        heard = self._unheard or await self.wait((SCHEDULES,), timeout)
        self._unheard = False
        return heard

    def local(self, queues: Collection[str]) -> None:
        """Wake those of this process who wait for one of these queues. To be called after the commit."""
        self._unheard = self._unheard or not queues or SCHEDULES in queues
        work = not queues or any(each != SCHEDULES for each in queues)
        for waiter, wanted in self._waiting.items():
            if not waiter.done() and (not queues or not wanted.isdisjoint(queues) or (work and not wanted)):
                waiter.set_result(None)

    def due_now(self, queues: Collection[str]) -> str:
        """What a statement may notify of by itself, now; '' when nothing. These queues count as told.

        Give the answer to `tell` after the commit, so that they are not told a second time.
        """
        if not self._place.notify:
            return ""
        now = asyncio.get_running_loop().time()
        due = [each for each in queues if self._due_at(each) <= now]
        if not due:
            return ""
        self._untold.difference_update(due)
        payload = payload_of(due)
        for each in due if payload != ANYTHING else queues:
            self._note_told(each, now)
        return payload

    def tell(self, queues: Collection[str], told: str = "") -> None:
        """Tell other processes, soon; each queue at most every 5 ms. `told`: what `due_now` gave for this commit."""
        if not self._place.notify or self._closed or told == ANYTHING:
            return
        if told:
            queues = frozenset(queues).difference(told.split("\n"))
            if not queues:
                return
        self._untold.update(queues or (ANYTHING,))
        if self._teller is None:
            self._teller = asyncio.get_running_loop().create_task(self._tell_all(), name="mainspring-tell")

    async def close(self) -> None:
        """Listen and tell no more, until the pool is opened again; those who wait get StoreClosed."""
        self._closed_after = self._pool.times_opened
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(faults.closed(self._place))
        tasks = [task for task in (self._listener, self._teller) if task is not None]
        self._listener = self._teller = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _closed(self) -> bool:
        """Whether it was closed since the pool was opened; a store that is opened again wakes again."""
        return self._closed_after == self._pool.times_opened or not self._pool.is_open

    # --- telling --------------------------------------------------------------------------------

    def _due_at(self, queue: str) -> float:
        return self._told.get(queue, float("-inf")) + APART

    def _note_told(self, queue: str, now: float) -> None:
        if len(self._told) >= _KNOWN:
            self._told.clear()
        self._told[queue] = now

    async def _tell_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._untold:
                now = loop.time()
                due = [each for each in self._untold if self._due_at(each) <= now]
                if not due:
                    # A little longer than it must be: the next statement that adds takes the notice along.
                    await asyncio.sleep(min(map(self._due_at, self._untold)) - now + PATIENCE)
                    continue
                self._untold.difference_update(due)
                for each in due:
                    self._note_told(each, now)
                await self._send(payload_of(due))
        finally:
            self._teller = None

    async def _send(self, payload: str) -> None:
        try:
            await self._pool.fetch(_TELL, self.channel, payload)
        except MainspringError as error:
            if self._quiet and not self._closed:
                log.warning("workers elsewhere are not told of new work, they find it themselves: %s", error)
            self._quiet = False
        else:
            self._quiet = True

    # --- listening ------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Connect, listen until the connection is lost, and again. Whoever waits looks for work after each beginning."""
        clock = asyncio.get_running_loop().time
        failures = Failures(_LISTENING)
        while True:
            try:
                connection = await connect(self._place)
                try:
                    lost = await self._begin(connection)
                    failures.succeeded(clock)
                    failures = Failures(_LISTENING)
                    self.local(())
                    await self._until_lost(connection, lost)
                finally:
                    connection.terminate()
            except Exception as error:  # noqa: BLE001  # whatever it was: without it, work is found by looking
                wait = failures.add(error, clock())
                assert wait is not None  # that policy never gives up
                await asyncio.sleep(wait)

    async def _begin(self, connection: Connection) -> asyncio.Event:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        async with asyncio.timeout(self._place.timeout):
            await connection.add_listener(self.channel, self._heard)
        return lost

    async def _until_lost(self, connection: Connection, lost: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await lost.wait()
            if lost.is_set():
                raise faults.lost(self._place)
            async with asyncio.timeout(min(LOOK, self._place.timeout)):
                await connection.execute("SELECT 1")

    def _heard(self, _: object, pid: int, __: str, payload: object) -> None:
        if isinstance(payload, str) and not self._pool.owns(pid):  # what this process has told, it has heard
            names = payload.split("\n")
            self.local(() if "" in names else names)


def payload_of(queues: Collection[str]) -> str:
    r"""The names, one a line; a line break alone when they are too long, or have line breaks themselves.

    >>> payload_of(["mail", "video"])
    'mail\nvideo'
    """
    payload = "\n".join(queues)
    if payload.count("\n") >= len(queues) or "" in queues or len(payload.encode()) > _LONGEST:
        return ANYTHING
    return payload


def _tell_silence(details: RetryDetails) -> None:
    if details.attempt == 1:
        log.warning("no news from other processes for now, listening again soon: %s", details.error)


def _tell_news(_: RetryDetails) -> None:
    log.info("listening to other processes again")


_LISTENING: Final = Terms(RECONNECT, "listen", hooks=Hooks(_tell_silence, _tell_news), inner=True)
