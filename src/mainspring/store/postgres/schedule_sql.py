"""The statements about schedules, with what several of them ask written out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from mainspring.store.serial.schedules import LOOKED_BACK

if TYPE_CHECKING:
    from mainspring.store.postgres.place import Place

_JOBS = {
    "standings": "n.id",
    "ends": "CASE WHEN r.ended IS NULL THEN r.job END",
    "runs": "CASE WHEN r.end_of_run IS NULL THEN r.job END",
}
"""Whose standing each of them asks for; of no id, nothing is looked up."""


def schedule_sql(place: Place) -> Mapping[str, str]:
    """The statements of `sql/schedules.sql` by name, for the schema of this place."""
    return _written_out(place)


@cache
def _written_out(place: Place) -> Mapping[str, str]:
    texts = dict(place.sql("schedules"))
    standing = texts.pop("standing")
    for name, job in _JOBS.items():
        texts[name] = texts[name].replace("{standing}", standing.replace("{id}", job))
    texts["due"] = texts["due"].replace("{ends}", texts.pop("ends").replace("{looked_back}", str(LOOKED_BACK)))
    return texts
