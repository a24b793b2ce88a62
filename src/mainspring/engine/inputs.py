"""What a job gets of the job or group that it waited on, and how its arguments come together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mainspring.codec import decode, encode
from mainspring.engine.arguments import Parameters
from mainspring.engine.options import Input
from mainspring.errors import ArgumentsInvalid, JobNotFound
from mainspring.model.record import JobRecord
from mainspring.store.base import Filter, Reads

Arguments = tuple[tuple[object, ...], dict[str, object]]

_PAGE = 1000


async def load_input(store: Reads, job: JobRecord, kind: Input) -> bytes | None:
    """The input of a job as JSON; None when it takes none.

    `value`: the result of the job it waited on. `list`: the results of the group's members, in the order in which
    they were added. `merge`: one object, of all these results, a later member overrules an earlier one. A member that did not
    complete, or stores no result, counts as null. Raises JobNotFound when there is nothing any more to read.
    """
    if kind == "none" or job.waits_on is None:
        return None
    parent = (await store.get([job.waits_on]))[0]
    results = [parent.result] if parent is not None else await _members(store, job.waits_on)
    if parent is None and not results:
        raise JobNotFound(job.waits_on, f"the results of {job.waits_on}, which this job waited on, were deleted")
    if kind == "merge":
        return _merged(results)
    if kind == "value" and parent is not None:
        return parent.result or b"null"
    return b"[" + b",".join(each or b"null" for each in results) + b"]"


def arguments_of(parameters: Parameters, payload: bytes, kind: Input, input: bytes | None) -> Arguments:  # noqa: A002
    """The arguments to call the function with, its Context left out. Raises ArgumentsInvalid.

    `input` is what `load_input` gave: the first argument, or with `merge` keywords that those of the payload overrule.
    """
    if kind == "none" or input is None:
        return parameters.decode(payload)
    if kind == "merge":
        merged: dict[str, object] = {**_object(input), **_object(payload)}
        return parameters.decode(encode(merged, what="merged arguments"))
    return parameters.decode(payload, leading=input)


async def _members(store: Reads, group: str) -> list[bytes | None]:
    results: list[bytes | None] = []
    cursor: str | None = None
    while True:
        page = await store.find(Filter(group=group), cursor=cursor, limit=_PAGE)
        results += [member.result for member in page.jobs]
        cursor = page.cursor
        if cursor is None:
            return results


def _merged(results: Iterable[bytes | None]) -> bytes:
    merged: dict[str, object] = {}
    for result in results:
        merged.update(_object(result or b"{}"))
    return encode(merged, what="merged results")


def _object(data: bytes) -> Mapping[str, object]:
    value: object = decode(data, what="a result to be merged")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ArgumentsInvalid(f"only objects can be merged into arguments, and a result is a {type(value).__name__}")
    return value
