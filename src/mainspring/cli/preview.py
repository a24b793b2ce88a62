"""The next fires of a trigger: what is given on the command line, and what is printed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, tzinfo

import typer

from mainspring.cli.tables import print_json, print_table
from mainspring.cli.trigger_words import slot_json, slot_rows
from mainspring.errors import InvalidTrigger
from mainspring.model.cron import Cron, Daily
from mainspring.model.every import Every
from mainspring.model.triggers import Slot, Trigger, moment_of


def trigger_given(cron: str, daily: str, every: str, tz: str) -> Trigger:
    """The trigger of these options. Raises BadParameter unless there is exactly one, and for one that is none."""
    if sum(map(bool, (cron, daily, every))) != 1:
        raise typer.BadParameter("give one of them: an ID, --cron, --daily or --every", param_hint="ID")
    try:
        if every:
            return Every(_seconds(every))
        return Cron(cron, tz=tz or "UTC") if cron else Daily(_time(daily), tz=tz or "UTC")
    except InvalidTrigger as error:
        hint = "--cron" if cron else "--daily" if daily else "--every"
        raise typer.BadParameter(str(error), param_hint=hint) from None


def after_given(text: str, zone: tzinfo | None) -> float:
    """The time of `--after`, now when it is not given; one without a zone of its own is in `zone`, or in UTC.

    Raises BadParameter for what is no time.
    """
    if not text:
        return datetime.now(UTC).timestamp()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time such as 2026-03-28T12:00", param_hint="--after") from None
    try:
        return moment_of("after", found if found.tzinfo is not None else found.replace(tzinfo=zone or UTC))
    except InvalidTrigger as error:
        raise typer.BadParameter(str(error), param_hint="--after") from None


def print_slots(slots: Sequence[Slot], zone: tzinfo | None, *, as_json: bool) -> None:
    """A line for each, or an array; on the clock of `zone`, of the trigger's own without one."""
    if as_json:
        print_json([slot_json(each, zone) for each in slots])
    elif slots:
        print_table(("LOCAL", "UTC", "DST"), slot_rows(slots, zone))
    else:
        typer.echo("no fires", err=True)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidTrigger(f"an interval is a number of seconds such as 300, not {text!r}") from None


def _time(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise InvalidTrigger(f"{text!r} is no time of a day such as 02:30") from None
