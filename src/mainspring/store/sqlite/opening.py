"""Bringing a place to life: connections, threads and locks, in the right order, and back again."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from dataclasses import dataclass

from mainspring.store.sqlite import faults
from mainspring.store.sqlite.connect import Place, connect, inspect, prepare
from mainspring.store.sqlite.locks import FileLiveness, FileLock, Liveness, LocalLiveness, lock_file
from mainspring.store.sqlite.patience import Patience
from mainspring.store.sqlite.rows import SqliteRows
from mainspring.store.sqlite.watch import Watch
from mainspring.store.sqlite.writer import Writer


@dataclass(slots=True)
class Opened:
    """Everything that an open store holds. `pid`: the process it belongs to."""

    pid: int
    writer: Writer
    reader: Writer
    watch: Watch
    liveness: Liveness
    turn: FileLock | None
    migrated: list[str]

    async def close(self) -> None:
        """Write what is waiting, then let go of everything."""
        self.watch.close()
        if self.reader is not self.writer:
            await self.reader.close()
        await self.writer.close()
        self.liveness.close()
        if self.turn is not None:
            self.turn.close()


async def open_place(place: Place, *, liveness: Liveness | None, poll: float | None, busy_limit: float) -> Opened:
    """Open a place. Raises StoreUnsuitable, with the place untouched, StoreUnavailable, and what `sqlite3` raises."""
    if place.private:
        return _open_private(place, liveness)
    return await asyncio.to_thread(_open_file, place, liveness, poll, busy_limit)


def _open_private(place: Place, liveness: Liveness | None) -> Opened:
    connection = connect(place)
    migrated = prepare(connection, place)
    watch = Watch(None)
    writer = Writer(connection, place.path, committed=lambda rows: _tell(watch, rows))
    return Opened(os.getpid(), writer, writer, watch, liveness or LocalLiveness(), None, migrated)


def _open_file(place: Place, liveness: Liveness | None, poll: float | None, busy_limit: float) -> Opened:
    inspect(place.path)
    turn = lock_file(f"{place.path}-turn")
    connections: list[sqlite3.Connection] = []
    try:
        if liveness is None:
            liveness = FileLiveness(f"{place.path}-workers")
            liveness.probe()
        with turn:
            migrated = _patiently_connected(place, connections, busy_limit)
        watch = Watch(connections[2], poll)
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
    )
    reader = Writer(connections[1], place.path, reads=True, busy_limit=busy_limit)
    return Opened(os.getpid(), writer, reader, watch, liveness, turn, migrated)


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


def _tell(watch: Watch, rows: SqliteRows) -> None:
    if rows.woke:
        watch.news(frozenset(rows.woke))
