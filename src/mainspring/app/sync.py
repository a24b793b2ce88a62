"""`app.sync`: the verbs of an app for blocking code, in any thread."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from mainspring.app.bound import BoundTask
from mainspring.app.chunks import chunks, last_of_each, parts_of
from mainspring.app.job import Job, enqueued
from mainspring.store.base import Finding

if TYPE_CHECKING:
    from mainspring.app.app import App
    from mainspring.app.connection import Connection

R = TypeVar("R")


class AppSync:
    """The verbs of an app, blocking. `with app.sync:` opens the app, and closes it at the end.

    Calls go to the loop that has the app open, from any other thread; when it is not open, to one loop in a thread of
    our own, which opens it at the first call. Inside that very loop they raise AppError: await the verb instead.
    """

    def __init__(self, app: App, connection: Connection) -> None:
        self._app = app
        self._connection = connection

    def enqueue(self, work: BoundTask[R], /, *, tx: object = None) -> Job[R]:
        """See `App.enqueue`."""
        if tx is not None:
            return self.enqueue_many([work], tx=tx)[0]
        return self._connection.call(lambda: self._app.enqueue(work))

    def enqueue_many(self, work: Iterable[BoundTask[R]], /, *, tx: object = None) -> list[Job[R]]:
        """See `App.enqueue_many`."""
        if tx is None:
            return self._connection.call(lambda: self._app.enqueue_many(work))
        handles: list[Job[R]] = []
        for chunk in chunks((each, self._app.compiled(each)) for each in work):
            flows = [flow for _, flow in chunk]
            answers = last_of_each(flows, self._connection.add_within(tx, *parts_of(flows)))
            for (each, flow), added in zip(chunk, answers, strict=True):
                handles.append(enqueued(self._connection, flow.last, added, each.returns))
        return handles

    def check(self) -> list[Finding]:
        """See `App.check`."""
        return self._connection.call(self._app.check)

    def idle(self) -> None:
        """See `App.idle`."""
        self._connection.call(self._app.idle)

    def close(self) -> None:
        """See `App.close`."""
        self._connection.call(self._app.close)

    def __enter__(self) -> Self:
        self._connection.call(self._connection.enter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.call(self._connection.leave)
