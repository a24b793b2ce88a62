"""Bringing a place to life: connections, threads and locks, in the right order, and back again."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mainspring.clock import enter_outside, leave_outside
from mainspring.store.sqlite import faults
from mainspring.store.sqlite.connect import Place, connect, inspect, prepare
from mainspring.store.sqlite.liveness import FileLiveness, Liveness, LocalLiveness
from mainspring.store.sqlite.patience import Patience
from mainspring.store.sqlite.quiet import LastSweep
from mainspring.store.sqlite.rows import SqliteRows
from mainspring.store.sqlite.turn import Turn
from mainspring.store.sqlite.watch import Watch
from mainspring.store.sqlite.writer import Writer


class Guest(Protocol):
    """A transaction that the writer's thread is lent to."""

    def abandon(self) -> None:
        """Let go."""
        ...


@dataclass(slots=True)
class Opened:
    """Everything that an open store holds. `place`: its real path; `pid`: the process it belongs to."""

    pid: int
    place: Place
    writer: Writer
    reader: Writer
    watch: Watch
    liveness: Liveness
    turn: Turn | None
    migrated: list[str]
    last_sweep: LastSweep
    guests: set[Guest] = field(default_factory=set)
    ended: Future[None] | None = None

    def tell(self, rows: SqliteRows) -> None:
        """Something was committed; said in the thread that did."""
        _tell(self.watch, rows)

    async def close(self) -> None:
        """Write what is waiting, then let go of everything. Cancelled or not: once begun it is done to the end."""
        loop = asyncio.get_running_loop()
        if self.ended is None:
            self.ended = Future()
            self.ended.set_running_or_notify_cancel()  # so that nobody who waits can cancel it
            self.watch.stop()
            for guest in list(self.guests):
                guest.abandon()
            enter_outside(loop)
            threading.Thread(target=self._end, args=(loop, self.ended), name="mainspring-close", daemon=True).start()
        await asyncio.wrap_future(self.ended)

    def _end(self, loop: asyncio.AbstractEventLoop, ended: Future[None]) -> None:
        try:
            self.watch.close()
            self.reader.close()
            self.writer.close()  # the last to close a database puts its log away, which a reader cannot
            self.liveness.close()
            if self.turn is not None:
                self.turn.close()
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits
            ended.set_exception(error)
        else:
            ended.set_result(None)
        finally:
            leave_outside(loop)


async def open_place(place: Place, *, liveness: Liveness | None, poll: float | None, busy_limit: float) -> Opened:
    """Open a place. Raises StoreUnsuitable, with the place untouched, StoreUnavailable, and what `sqlite3` raises."""
    place = place.real()
    if place.private:
        return _open_private(place, liveness)
    return await asyncio.to_thread(_open_file, place, liveness, poll, busy_limit)


def _open_private(place: Place, liveness: Liveness | None) -> Opened:
    connection = connect(place)
    migrated = prepare(connection, place)
    watch = Watch(None)
    writer = Writer(connection, place.path, committed=lambda rows: _tell(watch, rows))
    liveness = liveness or LocalLiveness()
    return Opened(os.getpid(), place, writer, writer, watch, liveness, None, migrated, LastSweep("", liveness))


def _open_file(place: Place, liveness: Liveness | None, poll: float | None, busy_limit: float) -> Opened:
    inspect(place.path)
    turn = Turn(f"{place.path}-turn", busy_limit)
    connections: list[sqlite3.Connection] = []
    try:
        if liveness is None:
            liveness = FileLiveness(f"{place.path}-workers")
            liveness.probe()
        with turn:
            migrated = _patiently_connected(place, connections, busy_limit)
        still_there = _still_there(place.path)
        watch = Watch(connections[2], poll, f"{place.path}-wal")
    except BaseException:
        for connection in connections:
            connection.close()
        turn.close()
        raise
    writer = Writer(
        connections[0],
        place.path,
        turn=turn,
        busy_limit=busy_limit,
        committed=lambda rows: _tell(watch, rows),
        still_there=still_there,
    )
    reader = Writer(connections[1], place.path, reads=True, busy_limit=busy_limit, still_there=still_there)
    last_sweep = LastSweep(f"{place.path}-wal", liveness)
    return Opened(os.getpid(), place, writer, reader, watch, liveness, turn, migrated, last_sweep)


def _patiently_connected(place: Place, connections: list[sqlite3.Connection], busy_limit: float) -> list[str]:
    """Connect for writing, for reading, for watching; a program that holds a lock just now is waited for."""
    patience = Patience(place.path, busy_limit)
    while True:
        try:
            connections.append(connect(place))
            migrated = prepare(connections[0], place)
            connections += [connect(place, read_only=True), connect(place, read_only=True)]
        except sqlite3.OperationalError as error:
            if not faults.is_busy(error):
                raise
            while connections:
                connections.pop().close()
            patience.wait(error)
        else:
            return migrated


def _still_there(path: str) -> Callable[[], None]:
    """A look whether the path still leads to the file that it leads to now; it raises StoreUnsuitable when not."""
    file = Path(path)
    ours = file.stat()

    def look() -> None:
        try:
            found = os.path.samestat(file.stat(), ours)
        except FileNotFoundError:
            found = False
        if not found:
            raise faults.moved(path)

    return look


def _tell(watch: Watch, rows: SqliteRows) -> None:
    if rows.woke:
        watch.news(frozenset(rows.woke))
    if rows.changes is not None:
        watch.schedules_changed(rows.changes)
