"""The hub: "something happened", told to whoever wants to know. The event values live in the room they tell of.

They are had from here as well, and loaded at their first use: `from mainspring.events import JobEnded`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mainspring.engine.events import (
        JobEnded,
        JobStarted,
        LeaseLost,
        ScheduleFired,
        ScheduleStopped,
        SlotsMissed,
        WorkerStalled,
        WorkerStarted,
        WorkerStopped,
    )

__all__ = [
    "Hub",
    "JobEnded",
    "JobStarted",
    "LeaseLost",
    "ScheduleFired",
    "ScheduleStopped",
    "SlotsMissed",
    "WorkerStalled",
    "WorkerStarted",
    "WorkerStopped",
]

E = TypeVar("E")
Subscriber = Callable[[object], None]
log = logging.getLogger("mainspring.events")


class Hub:
    """Passes each event to those who subscribed to its class (or a base of it), in the order of subscription.

    A subscriber that fails is logged and hurts nobody: events tell, the store is the record.

    >>> hub = Hub()
    >>> seen: list[int] = []
    >>> stop = hub.subscribe(int, seen.append)
    >>> hub.emit(3); stop(); hub.emit(4); seen
    [3]
    """

    def __init__(self) -> None:
        self._subscribers: tuple[tuple[type[object], Subscriber], ...] = ()
        self._routes: dict[type[object], tuple[Subscriber, ...]] = {}
        self._lock = threading.Lock()

    def subscribe(self, kind: type[E], subscriber: Callable[[E], None]) -> Callable[[], None]:
        """Call `subscriber(event)` for every event of this class. Returns a function that ends it.

        The subscriber runs where the event happens, so it must be quick and must not block.
        """

        def told(event: object) -> None:
            subscriber(event)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # routed by class

        def unsubscribe() -> None:
            with self._lock:
                self._change(tuple(each for each in self._subscribers if each[1] is not told))

        with self._lock:
            self._change((*self._subscribers, (kind, told)))
        return unsubscribe

    def wanted(self, kind: type[object]) -> bool:
        """Whether anybody listens, so that a hot path need not build the event."""
        return bool(self._route(kind))

    def emit(self, event: object) -> None:
        """Tell every subscriber of the event's class; never raises."""
        for subscriber in self._route(type(event)):
            try:
                subscriber(event)
            except Exception:
                log.exception("a subscriber of %s failed; the work goes on", type(event).__name__)

    def _change(self, subscribers: tuple[tuple[type[object], Subscriber], ...]) -> None:
        self._subscribers = subscribers
        self._routes = {}

    def _route(self, kind: type[object]) -> tuple[Subscriber, ...]:
        # Taken before the subscribers are read: a route found while they change goes into the dict that is left.
        routes = self._routes
        route = routes.get(kind)
        if route is None:
            route = tuple(told for wanted, told in self._subscribers if issubclass(kind, wanted))
            routes[kind] = route
        return route


if not TYPE_CHECKING:  # hidden from type checkers: with it they would accept any misspelt name

    def __getattr__(name: str) -> object:
        """Load an event class at its first use, and keep it."""
        if name not in __all__:
            raise AttributeError(f"mainspring.events has no {name!r}")
        value = globals()[name] = getattr(import_module("mainspring.engine.events"), name)
        return value

    def __dir__() -> list[str]:
        return sorted([*globals(), *__all__])
