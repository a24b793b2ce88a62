"""`app.queues`: pausing, resuming and counting queues."""

from __future__ import annotations

from mainspring.app.connection import Connection
from mainspring.app.options import key
from mainspring.model.states import State

QueueCounts = dict[str, dict[State, int]]
"""How many jobs of each state there are, by queue; states without jobs are left out."""


class QueuesFace:
    """The queues of an app. Every verb as `app.queues.sync.verb()` for blocking code."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def pause(self, queue: str) -> None:
        """Hand out no more jobs of this queue, in the whole fleet; they stay ready, those that run go on."""
        await (await self._connection.opened()).store.pause(key("queue", queue))

    async def resume(self, queue: str) -> None:
        """End a pause; nothing happens when there is none."""
        await (await self._connection.opened()).store.resume(key("queue", queue))

    async def counts(self) -> QueueCounts:
        """How many jobs there are, by queue and state."""
        found: QueueCounts = {}
        for count in await (await self._connection.opened()).store.counts():
            states = found.setdefault(count.queue, {})
            states[count.state] = states.get(count.state, 0) + count.number
        return found

    @property
    def sync(self) -> QueuesSync:
        """The same verbs for blocking code, in any thread."""
        return QueuesSync(self, self._connection)


class QueuesSync:
    """The queues of an app, for blocking code."""

    def __init__(self, queues: QueuesFace, connection: Connection) -> None:
        self._queues = queues
        self._connection = connection

    def pause(self, queue: str) -> None:
        """See `QueuesFace.pause`."""
        self._connection.call(lambda: self._queues.pause(queue))

    def resume(self, queue: str) -> None:
        """See `QueuesFace.resume`."""
        self._connection.call(lambda: self._queues.resume(queue))

    def counts(self) -> QueueCounts:
        """See `QueuesFace.counts`."""
        return self._connection.call(self._queues.counts)
