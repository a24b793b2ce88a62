"""The statements about schedules, with what several of them ask written out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from mainspring.store.serial.schedules import LOOKED_BACK

if TYPE_CHECKING:
    from mainspring.store.postgres.place import Place

WON = "(n.schedule IN (SELECT id FROM part0)) IS TRUE"
"""Of what a fire without locks writes: that its schedule was moved. Written so, the server asks a table of hashes: two
lists of a thousand are not compared each with each."""

_JOBS = {
    "standings": "n.id",
    "ends": "CASE WHEN r.ended IS NULL THEN r.job END",
    "look": "r.job",
    "runs": "CASE WHEN r.end_of_run IS NULL THEN r.job END",
}
"""Whose standing each of them asks for; of no id, nothing is looked up."""


def schedule_sql(place: Place) -> Mapping[str, str]:
    """The statements of `sql/schedules.sql` by name, for the schema of this place."""
    return _written_out(place)


def firing_sql(place: Place) -> Mapping[str, str]:
    """`look` of `sql/firing.sql`, and the parts of a fire without locks by name."""
    return _written_out_for_fires(place)


@cache
def _written_out(place: Place) -> Mapping[str, str]:
    texts = _with_standing(place.sql("schedules"), place)
    texts["due"] = texts["due"].replace("{ends}", texts.pop("ends").replace("{looked_back}", str(LOOKED_BACK)))
    return {name: text.replace("{won}", "true") for name, text in texts.items() if name != "standing"}


@cache
def _written_out_for_fires(place: Place) -> Mapping[str, str]:
    texts = _with_standing(place.sql("firing"), place)
    texts |= {name: place.sql("schedules")[name] for name in ("add_runs", "grow_runs")}
    texts["insert"] = place.sql("flush")["insert"] + "\nWHERE {won}"
    return {name: text.replace("{won}", WON) for name, text in texts.items()}


def _with_standing(texts: Mapping[str, str], place: Place) -> dict[str, str]:
    standing = place.sql("schedules")["standing"]
    return {
        name: text.replace("{standing}", standing.replace("{id}", _JOBS[name])) if name in _JOBS else text
        for name, text in texts.items()
    }
