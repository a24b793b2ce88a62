"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from mainspring.errors import InvalidTrigger
from mainspring.model.zones import zone_of

Tz = Annotated[
    str,
    typer.Option(
        metavar="ZONE", help="On whose clock times are shown, such as Europe/Berlin. [default: UTC]", show_default=False
    ),
]

Json = Annotated[bool, typer.Option("--json", help="JSON for programs, with times in UTC.")]


def zone_given(name: str) -> ZoneInfo:
    """The zone of `--tz`, UTC when it is not given. Raises BadParameter for an unknown one."""
    try:
        return zone_of(name or "UTC")
    except InvalidTrigger as error:
        raise typer.BadParameter(str(error), param_hint="--tz") from None
