"""Triggers as a store keeps them, and what of them a scheduler remembers: those it has read, and those it cannot."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from mainspring.codec import decode, encode
from mainspring.errors import EncodingError, InvalidTrigger
from mainspring.model.catch_up import Decision, decided
from mainspring.model.schedule import Definition, ScheduleRecord, readable
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.model.triggers import Trigger
from mainspring.store.base import DueSchedule

log = logging.getLogger("mainspring.engine")

KEPT: Final = 20_000
"""How many triggers are kept once they were read."""

ASIDE_FOR: Final = 60.0
"""Seconds after which a schedule that was set aside is looked at again, when nobody has changed it before."""


AGAIN_EVERY: Final = 1.0
"""Seconds between two times that changes of others let all of them be looked at again."""


def pack_trigger(trigger: Trigger, kinds: TriggerKinds) -> bytes:
    """A trigger as `Definition.trigger` holds it. Raises InvalidTrigger for a kind that `kinds` does not know.

    >>> from mainspring.model.every import Every
    >>> kinds = TriggerKinds()
    >>> pack_trigger(Every(60), kinds)
    b'{"trigger":"every","interval":60.0,"anchor":"grid","first":"now","start":null}'
    """
    return encode(kinds.to_plain(trigger), what="trigger")


def trigger_of(definition: Definition, kinds: TriggerKinds) -> Trigger:
    """The trigger of a stored schedule. Raises InvalidTrigger for an unknown kind, EncodingError for what is no JSON."""
    return kinds.from_plain(decode(definition.trigger, what="trigger"))


class Readings:
    """Reads each trigger once, and sets aside what it cannot read or what fails, so that this hurts no others.

    What is set aside is told of once for each revision, and looked at again after a minute, or after `again()`.
    """

    def __init__(self, kinds: TriggerKinds, now: Callable[[], float]) -> None:
        self._kinds = kinds
        self._now = now
        self._read: dict[str, tuple[bytes, float, Trigger]] = {}
        self._aside: dict[str, float] = {}
        self._told: dict[str, int] = {}
        self._freed = -math.inf

    def decided(self, seen: DueSchedule, now: float) -> Decision | None:
        """What is to be done with a schedule; None when that cannot be said, and it was set aside."""
        record = seen.schedule
        try:
            return decided(record, self._trigger_of(record), now, active=seen.active, ended=seen.ended)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # whatever a trigger of somebody else's raises; nothing is awaited
            self.set_aside(record, error)
            return None

    @property
    def aside(self) -> frozenset[str]:
        """The schedules that are not to be looked at now."""
        if not self._aside:
            return frozenset()
        now = self._now()
        self._aside = {each: until for each, until in self._aside.items() if until > now}
        return frozenset(self._aside)

    def set_aside(self, record: ScheduleRecord, error: BaseException) -> None:
        """This schedule fails: leave it alone for a while."""
        self._aside[record.id] = self._now() + ASIDE_FOR
        if self._told.get(record.id) == record.revision:
            return
        if len(self._told) >= KEPT:
            self._told.clear()
        self._told[record.id] = record.revision
        log.error(
            "schedule %r does not fire: %s; it is looked at again every minute, and when it is changed",
            record.id,
            _said(record, error) or repr(error),
            exc_info=None if _said(record, error) else error,
        )

    def again(self) -> None:
        """Somebody has changed schedules: perhaps those that were set aside. Believed once a second: reading costs."""
        if not self._aside:
            return
        self._freed = max(self._now(), self._freed + AGAIN_EVERY)
        self._aside = {each: min(until, self._freed) for each, until in self._aside.items()}

    def _trigger_of(self, record: ScheduleRecord) -> Trigger:
        """The trigger, with the beginning of the schedule as its origin."""
        data, begin = record.definition.trigger, record.begin
        read = self._read.get(record.id)
        if read is not None and read[0] == data and read[1] == begin:
            return read[2]
        trigger = trigger_of(readable(record).definition, self._kinds).starting(begin)
        if len(self._read) >= KEPT:
            self._read.clear()
        self._read[record.id] = (data, begin, trigger)
        return trigger


def _said(record: ScheduleRecord, error: BaseException) -> str:
    """What is wrong with what is stored, in words; "" when it is something else."""
    if record.unreadable:
        return f"its definition cannot be read ({record.unreadable}); put it again or remove it"
    return str(error) if isinstance(error, InvalidTrigger | EncodingError) else ""
