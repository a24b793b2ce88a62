"""How a service is doing, as a value to look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

State = Literal["up", "waiting", "overdue", "ended", "failed", "cancelled"]

ERROR_LIMIT = 1000  # characters of an error's text that are kept


@dataclass(frozen=True, slots=True)
class Health:
    """One service as it is now.

    `state`: `up` (it runs, or an interval service is between two ticks) · `waiting` (before its first run, or in
    the backoff after an error) · `overdue` (it goes on after it had to end) · `ended` (returned) · `failed` (a permanent
    error) · `cancelled`. A service had to end when its `timeout` is over and its thread has not returned, or when its
    supervisor has stopped it and 5 s after the `grace` it had not ended; when it does end, the state says how.
    `restarts`: how often it ran again after an error. `last_error`: class and text of the newest error; it stays
    after a recovery. `since`: seconds since 1970 at which it came into this state.

    >>> Health("poll", since=5.0).entered("up", 7.0)
    Health(name='poll', state='up', restarts=0, last_error=None, since=7.0)
    """

    name: str
    state: State = "waiting"
    restarts: int = 0
    last_error: str | None = None
    since: float = 0.0

    @property
    def active(self) -> bool:
        """Whether the service has not ended in one way or another."""
        return self.state in {"up", "waiting", "overdue"}

    def entered(self, state: State, at: float) -> Health:
        """In another state from this time on; unchanged when it is in it already."""
        return self if state == self.state else replace(self, state=state, since=at)

    def restarted(self) -> Health:
        """One restart more."""
        return replace(self, restarts=self.restarts + 1)

    def erred(self, error: BaseException) -> Health:
        """With this error as the newest."""
        return replace(self, last_error=f"{type(error).__name__}: {error}"[:ERROR_LIMIT])
