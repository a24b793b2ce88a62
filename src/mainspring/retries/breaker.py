"""Circuit breakers: leave the other side alone for a while when attempt after attempt fails, then ask it carefully.

Source: M. Nygard, "Release It!", chapter "Stability Patterns". Times are given, never read.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, Literal, NamedTuple, NoReturn, Protocol

from mainspring.clock import Duration
from mainspring.retries.backoff import checked_count, checked_seconds

CircuitState = Literal["closed", "open", "half_open"]


class Breaker(Protocol):
    """What a policy asks before each attempt, and tells how that went.

    Every `admit` that answered 0 is followed by exactly one of `succeeded`, `failed` and `abandoned`. Times are
    monotonic seconds; `admitted` is the `now` of that attempt's `admit`: by it a late answer is known. Called from
    many threads and tasks at once; must not block.

    It may have a `snapshot(now)` as well, whose answer has `retry_after`: seconds for which it surely lets nobody
    through, else 0. A call whose next wait is shorter then gives up at once; without it, after that wait.
    """

    def admit(self, now: float, /) -> float:
        """0: go. Else seconds, above 0, after which to ask again."""
        ...

    def succeeded(self, admitted: float, now: float, /) -> None:
        """The attempt returned."""
        ...

    def failed(self, admitted: float, now: float, /) -> None:
        """The attempt failed with an error that the policy knows: by a rule, or by the baseline of the call."""
        ...

    def abandoned(self, admitted: float, now: float, /) -> None:
        """The attempt said nothing about the other side: cancelled, or an error that no rule matches."""
        ...


Event = Literal["asked", "succeeded", "failed", "abandoned"]
Condition = Literal["last straw", "rested", "place"]


class Row(NamedTuple):
    """One line of the table: when `event` comes in `state` and all of `when` hold, `to` is next.

    `last straw`: with this failure there are `failures` in a row. `rested`: it has been open for `pause`. `place`:
    fewer than `probes` probes are out. `goes`: the attempt that asked may go.
    """

    event: Event
    state: CircuitState
    to: CircuitState
    when: tuple[Condition, ...] = ()
    goes: bool = False


TABLE: Final[tuple[Row, ...]] = (
    Row("asked", "closed", "closed", goes=True),
    Row("asked", "open", "half_open", ("rested",), goes=True),
    Row("asked", "open", "open"),
    Row("asked", "half_open", "half_open", ("place",), goes=True),
    Row("asked", "half_open", "half_open"),
    Row("succeeded", "closed", "closed"),
    Row("succeeded", "open", "open"),
    Row("succeeded", "half_open", "closed"),
    Row("failed", "closed", "open", ("last straw",)),
    Row("failed", "closed", "closed"),
    Row("failed", "open", "open"),
    Row("failed", "half_open", "open"),
    Row("abandoned", "closed", "closed"),
    Row("abandoned", "open", "open"),
    Row("abandoned", "half_open", "half_open"),
)
"""All that a breaker does, as data: the first row of an event and a state whose conditions hold says what is next."""


class Snapshot(NamedTuple):
    """A breaker at one moment, for a dashboard.

    `failures` in a row so far; `retry_after`: seconds until it lets a probe through, 0 unless it is open.
    """

    name: str | None
    state: CircuitState
    failures: int
    retry_after: float


class CircuitBreaker:
    """Opens after `failures` failures in a row; after `pause` seconds it lets `probes` attempts at a time through.

    A probe that succeeds closes it, one that fails opens it for another `pause`. One that was abandoned gives its
    place back, and so do those that have said nothing for a `pause`. Attempts that began before the last change no
    longer count. One breaker stands for one other side: make it once, give it to every policy for that side.

    A call that meets it open raises `CircuitOpen`; `name` is for that error. A call under way gives up at the failure
    that opens it, unless its next wait lasts as long as the pause. It counts in this process only, and
    may be used from many threads and tasks. Raises InvalidPolicy for numbers that cannot mean anything.

    >>> breaker = CircuitBreaker(failures=2, pause=30)
    >>> breaker.failed(0.0, 1.0)
    >>> breaker.failed(1.0, 2.0)
    >>> breaker.state, breaker.admit(10.0), breaker.admit(32.0), breaker.state
    ('open', 22.0, 0.0, 'half_open')
    >>> breaker.succeeded(32.0, 33.0)
    >>> breaker.state
    'closed'
    """

    __slots__ = (
        *("_in_a_row", "_lock", "_out", "_probed", "_round", "_since", "_state"),
        *("failures", "name", "pause", "probes"),
    )

    def __init__(self, failures: int = 5, pause: Duration = 30.0, *, probes: int = 1, name: str | None = None) -> None:
        self.failures: Final = checked_count("failures", failures)
        self.pause: Final = checked_seconds("pause", pause)
        self.probes: Final = checked_count("probes", probes)
        self.name: Final = name
        self._lock = Lock()
        self._state: CircuitState = "closed"
        self._in_a_row = 0
        self._out = 0
        # When this state began, when this round of probes began, and when the last probe was let through.
        self._since = self._round = self._probed = float("-inf")

    @property
    def state(self) -> CircuitState:
        """`"closed"` (all may go), `"open"` (none) or `"half_open"` (probes only); open ends when somebody asks."""
        return self._state

    def admit(self, now: float, /) -> float:
        """0: go. Else seconds, above 0, after which to ask again."""
        if self._state == "closed":  # no lock for what is asked before every attempt
            return 0.0
        with self._lock:
            if self._move("asked", now).goes:
                return 0.0
            return (self._since if self._state == "open" else self._probed) + self.pause - now

    def succeeded(self, admitted: float, now: float, /) -> None:
        """The attempt returned: ends a row of failures, and closes a half-open breaker."""
        if self._state == "closed" and not self._in_a_row:  # as above
            return
        with self._lock:
            if admitted >= self._since:
                self._move("succeeded", now)

    def failed(self, admitted: float, now: float, /) -> None:
        """The attempt failed: counts in the row, and may open it."""
        with self._lock:
            if admitted >= self._since:
                self._move("failed", now)

    def abandoned(self, admitted: float, now: float, /) -> None:
        """The attempt said nothing about the other side: gives its place back."""
        if self._state == "closed":  # as above
            return
        with self._lock:
            if admitted >= self._round:
                self._move("abandoned", now)

    def snapshot(self, now: float) -> Snapshot:
        """What it is like at `now`, in monotonic seconds; changes nothing."""
        with self._lock:
            left = max(self._since + self.pause - now, 0.0) if self._state == "open" else 0.0
            return Snapshot(self.name, self._state, self._in_a_row, left)

    def _move(self, event: Event, now: float) -> Row:
        """Do what the table says. Under the lock."""
        row = next(row for row in _ROWS[event, self._state] if all(self._holds(each, now) for each in row.when))
        if row.to != self._state:
            self._enter(row.to, now)
        match event:
            case "asked" if row.goes and row.to == "half_open":
                self._let_through(now)
            case "succeeded":
                self._in_a_row = 0
            case "failed":
                self._in_a_row += 1
            case "abandoned":
                self._out = max(self._out - 1, 0)
            case _:
                pass
        return row

    def _holds(self, condition: Condition, now: float) -> bool:
        match condition:
            case "last straw":
                return self._in_a_row + 1 >= self.failures
            case "rested":
                return now >= self._since + self.pause
            case "place":
                return self._out < self.probes or now >= self._probed + self.pause

    def _enter(self, state: CircuitState, now: float) -> None:
        self._state = state
        self._since = self._round = self._probed = now
        self._out = 0

    def _let_through(self, now: float) -> None:
        if self._out >= self.probes:  # all silent for a pause: they may be lost, and must not keep it shut for ever
            self._round = now
            self._out = 0
        self._out += 1
        self._probed = now

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"CircuitBreaker(failures={self.failures}, pause={self.pause:g}, probes={self.probes}{name})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a CircuitBreaker counts for one process, and is never copied: make one in each process")


_ROWS: Final = {
    (event, state): tuple(row for row in TABLE if (row.event, row.state) == (event, state))
    for event, state in dict.fromkeys((row.event, row.state) for row in TABLE)
}
