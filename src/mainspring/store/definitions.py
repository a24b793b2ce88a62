"""What people declared of a schedule, as the JSON that stores keep in one column."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from mainspring.model.record import FOREVER
from mainspring.model.schedule import Definition, unreadable

_FOREVER: Final = -1.0
"""Stands for an endless `unique_for`: JSON has no infinity."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Definition).decode


def definition_text(definition: Definition) -> str:
    """The definition as JSON.

    >>> from mainspring.model.record import NewJob
    >>> definition_text(Definition(trigger=b"{}", template=NewJob(id="", task="tick"), keep=5))
    '{"trigger":"e30=","template":{"id":"","task":"tick"},"keep":5}'
    """
    template = definition.template
    if template.unique_for == FOREVER:
        definition = replace(definition, template=replace(template, unique_for=_FOREVER))
    return _encode(definition).decode()


def definition_of(text: str | bytes) -> Definition:
    """The definition from JSON. Raises what `msgspec` raises when it is none."""
    definition = _decode(text)
    template = definition.template
    if template.unique_for == _FOREVER:
        return replace(definition, template=replace(template, unique_for=FOREVER))
    return definition


def read_definition(text: str | bytes) -> tuple[Definition, str]:
    """The definition from JSON, and "", or an empty one and the reason when it cannot be read.

    A newer version may have written a word that this one does not know: that one row must not take the others with it
    (RULES C10). Fields that are not known are passed over.

    >>> read_definition('{"trigger":"","template":{"id":"","task":"tick"},"overlap":"shuffle"}')[1]
    "Invalid enum value 'shuffle' - at `$.overlap`"
    """
    try:
        return definition_of(text), ""
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return unreadable(error)
