"""What an assertion about enqueued jobs looks for, and what it says when it does not find it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import cast

from msgspec import to_builtins

from mainspring.codec import decode, encode
from mainspring.engine.annotations import signature_of
from mainspring.engine.arguments import Parameters
from mainspring.engine.options import unpack
from mainspring.engine.registry import Registered
from mainspring.errors import MainspringError
from mainspring.model.record import JobRecord

LISTED = 20
"""How many jobs a failure text shows."""

SAME_TIME = 1e-3
"""Seconds within which two times count as the same."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job that is looked for: its task, some of its arguments by name, some of its options as they are stored."""

    task: str
    arguments: Mapping[str, object]
    options: Mapping[str, object]
    parameters: Parameters | None = None

    def differences(self, job: JobRecord) -> list[str]:
        """What is not as wanted, in words; empty when the job fits."""
        if job.task != self.task:
            return [f"task is {job.task}"]
        said = arguments_of(job, self.parameters)
        found: list[str] = []
        for name, value in self.arguments.items():
            if name not in said:
                found.append(f"{name} is not given")
            elif not same(value, said[name]):
                found.append(f"{name} is {said[name]!r}")
        for name, value in self.options.items():
            text = option_differs(job, name, value)
            if text:
                found.append(text)
        return found

    def __str__(self) -> str:
        parts = [f"{name}={value!r}" for name, value in self.arguments.items()]
        options = [f"{name}={readable(value)}" for name, value in self.options.items() if value is not None]
        return f"{self.task}({', '.join(parts)})" + (f" with {', '.join(options)}" if options else "")


def wanted(
    task: str,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    options: Mapping[str, object],
    registered: Registered | None,
) -> Wanted:
    """What a call of an assertion looks for. Raises TypeError for arguments that the task does not take."""
    if registered is None:
        if args:
            raise TypeError(f"{task!r} is a remote task: name its arguments")
        return Wanted(task, kwargs, options)
    parameters = list(signature_of(registered.fn).parameters.values())[1 if registered.takes_context else 0 :]
    try:
        given = Signature(parameters).bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        raise TypeError(f"task {task!r}: {error}") from None
    rest = next((each.name for each in parameters if each.kind is Parameter.VAR_KEYWORD), None)
    others: Mapping[str, object] = given.pop(rest, {}) if rest is not None else {}
    return Wanted(task, {**given, **others}, options, registered.parameters)


def arguments_of(job: JobRecord, parameters: Parameters | None) -> dict[str, object]:
    """The stored arguments by name: as the annotations want them, or as plain JSON where they do not say."""
    raw: dict[str, object] = decode(job.payload, dict[str, object])
    if parameters is None:
        return raw
    try:
        args, kwargs = parameters.decode(job.payload)
    except MainspringError:
        return raw  # a later step of a chain: its first argument is not there yet
    return {**raw, **dict(zip(parameters.names, args, strict=False)), **kwargs}


def same(expected: object, found: object) -> bool:
    """Whether a value is the one expected; `mock.ANY`, `pytest.approx` and the like compare as they do."""
    if bool(expected == found):
        return True
    try:
        return bool(decode(encode(expected)) == to_builtins(found))
    except (MainspringError, TypeError, ValueError):
        return False  # no JSON: what is stored cannot be it


def option_differs(job: JobRecord, name: str, value: object) -> str:
    """What is different about one option, given as it is stored; empty when it is as wanted."""
    match name:
        case "delay" | "run_at" | "expires_in" | "expires_at" | "unique_for":
            assert isinstance(value, float | None)
            return time_differs(job, name, value)
        case "tags":
            missing = sorted(set(cast("tuple[str, ...]", value)) - set(job.tags))
            return f"tag {missing[0]!r} is not there" if missing else ""
        case "metadata":
            assert isinstance(value, bytes)
            return metadata_differs(job, value)
        case "options":
            assert isinstance(value, bytes)
            return policy_differs(job, value)
        case _:
            found_value = getattr(job, name)
            return "" if found_value == value else f"{name} is {found_value!r}"


def metadata_differs(job: JobRecord, value: bytes) -> str:
    """Compare the keys of the metadata that were given."""
    found: dict[str, object] = decode(job.metadata, dict[str, object]) if job.metadata else {}
    expected: dict[str, object] = decode(value, dict[str, object])
    for key, each in expected.items():
        if found.get(key) != each:
            return f"metadata has {key}={found.get(key)!r}"
    return ""


def time_differs(job: JobRecord, name: str, value: float | None) -> str:
    """Compare an option that is a time or a duration. The first due time is gone once a job has run again."""
    if value is None or (name == "delay" and value == 0):
        return ""  # the other form of the option was given
    match name:
        case "delay":
            return number(name, job.due - job.created, value)
        case "run_at":
            return number(name, job.due, value)
        case "unique_for":
            held = None if job.unique_until is None else job.unique_until - job.created
            return number(name, held, value)
        case "expires_in":
            return number("expires", None if job.expires is None else job.expires - job.created, value)
        case _:
            return number("expires", job.expires, value)


def number(name: str, found: float | None, expected: float | None) -> str:
    """Compare two times or durations in seconds."""
    if found is None or expected is None:
        return "" if found is expected else f"{name} is {found}"
    return "" if found == expected or abs(found - expected) <= SAME_TIME else f"{name} is {found:g}"


def policy_differs(job: JobRecord, value: bytes) -> str:
    """Compare the policy and the timeout that were given for one job."""
    expected, found = unpack(value), unpack(job.options)
    if expected.retry is not None and expected.retry != found.retry:
        return "retry is another policy" if found.retry is not None else "retry is the task's own"
    if expected.timeout is not None and expected.timeout != found.timeout:
        return f"timeout is {found.timeout!r}"
    return ""


def listing(jobs: Sequence[JobRecord], looked_for: Wanted, now: float) -> str:
    """The jobs as lines, those of the same task first, with what is different about each."""
    ordered = sorted(jobs, key=lambda job: job.task != looked_for.task)
    lines = [described(job, looked_for, now) for job in ordered[:LISTED]]
    if len(jobs) > LISTED:
        lines.append(f"  and {len(jobs) - LISTED} more")
    return "\n".join(lines)


def described(job: JobRecord, looked_for: Wanted, now: float) -> str:
    """One job as a line."""
    mine = job.task == looked_for.task
    arguments = arguments_of(job, looked_for.parameters if mine else None)
    call = f"{job.task}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
    parts = [job.state if job.state != "scheduled" else f"scheduled in {job.due - now:g} s"]
    if job.queue != "default":
        parts.append(f"queue {job.queue!r}")
    if job.priority:
        parts.append(f"priority {job.priority}")
    if job.unique is not None:
        parts.append(f"unique {job.unique!r}")
    if job.tags:
        parts.append(f"tags {list(job.tags)}")
    if job.attempt:
        parts.append(f"attempt {job.attempt}")
    if job.error is not None:
        parts.append(f"{job.error.type}: {job.error.message.splitlines()[0] if job.error.message else ''}")
    found = looked_for.differences(job) if mine else []
    return f"  {call}  {', '.join(parts)}" + (f"    <- {', '.join(found)}" if found else "")


def readable(value: object) -> object:
    """An option as stored, for people."""
    if isinstance(value, bytes):
        return decode(value)
    return "'ever'" if value == math.inf else repr(value)
