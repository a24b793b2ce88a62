"""The options of one job that only the engine reads, as they are stored with it (`NewJob.options`)."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from mainspring.codec import decode, encode
from mainspring.retries.policy import Retry
from mainspring.retries.stored import policy_from_data, policy_to_data

Input = Literal["none", "value", "list", "merge"]
"""What a job gets of what it waited on: nothing, the job's result as first argument, the list of the group's results
in the order in which its members were added, or merged dicts as keywords."""


OPTION_NAMES: Final = frozenset(
    {
        *("delay", "run_at", "unique", "unique_for", "priority", "queue", "expires"),
        *("retry", "timeout", "tags", "correlation", "metadata", "tx"),
    }
)
"""What `task.options(…)` takes, and the function does not."""


class JobOptions(Struct, frozen=True, omit_defaults=True):
    """What was given for this job in place of its task's own: None means the task's."""

    retry: dict[str, object] | None = None
    timeout: float | None = None
    input: Input = "none"


NO_OPTIONS = JobOptions()


def pack(*, retry: Retry | None = None, timeout: float | None = None, input: Input = "none") -> bytes:  # noqa: A002
    """The options as bytes; empty when nothing is given.

    Raises InvalidPolicy for a policy that cannot be stored (a lambda, say): put that one on the task.
    """
    data = None if retry is None else policy_to_data(retry)
    options = JobOptions(retry=data, timeout=timeout, input=input)
    return b"" if options == NO_OPTIONS else encode(options, what="options")


def unpack(data: bytes) -> JobOptions:
    """The options of a stored job."""
    return decode(data, JobOptions, what="options") if data else NO_OPTIONS


def stored_policy(options: JobOptions) -> Retry | None:
    """The policy given for this job, if one was."""
    return None if options.retry is None else policy_from_data(options.retry)
