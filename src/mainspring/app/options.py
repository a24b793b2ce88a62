"""Options: what is said about a job beside its arguments, checked before anything is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final, Literal, TypedDict, cast

from msgspec import Struct

from mainspring.clock import Duration, seconds, timestamp
from mainspring.codec import check_key, encode
from mainspring.engine.options import Input, pack
from mainspring.errors import EncodingError, InvalidOption, InvalidPolicy
from mainspring.model.record import FOREVER
from mainspring.retries.policy import Retry

LOWEST, HIGHEST = -32768, 32767
LONGEST: Final = 100 * 366 * 86400.0
"""Seconds: a hundred years, beyond which a duration is a mistake rather than a wish."""


class TaskOptions(TypedDict, total=False):
    """What `task.options(…)` takes. Durations are seconds or a timedelta; times are aware datetimes.

    `delay` or `run_at`: not before. `expires`: latest start of every attempt, from now or absolute; later the job
    ends `expired`. `unique`: a key that one job holds until it ends; enqueueing another one returns the holder.
    `unique_for`: how long the key is held at least, `"ever"`: until the job is pruned. `priority`: higher first,
    default 0. `queue`: where workers look for it. `retry`, `timeout`: in place of the task's own. `tags`: at most 255
    bytes each. `correlation`: an id that follow-ups inherit. `metadata`: JSON for people and for `ctx.metadata`.
    `tx`: an open connection or session of yours: the job is stored in its transaction; for `enqueue` alone.
    """

    delay: Duration
    run_at: datetime
    unique: str
    unique_for: Duration | Literal["ever"]
    priority: int
    queue: str
    expires: Duration | datetime
    retry: Retry
    timeout: Duration
    tags: Sequence[str]
    correlation: str
    metadata: Mapping[str, object]
    tx: object


class TaskDefaults(TypedDict, total=False):
    """What a task says about all its jobs: the keywords of `@app.task(…)`, and the `options` of a task object.

    `process`: run in a child process. `concurrency`: how many of them one process runs at once. `store_result`:
    False keeps none. `transaction`: run inside a transaction of the store, `ctx.connection`, that the worker commits
    together with the completion. The others are as in `TaskOptions`.
    """

    queue: str
    priority: int
    retry: Retry | None
    timeout: Duration | None
    expires: Duration | None
    tags: Sequence[str]
    process: bool
    concurrency: int | None
    store_result: bool
    transaction: bool


class Settings(Struct, frozen=True):
    """Checked options, ready to be written on a job: `job` holds keywords of NewJob, `given` what was said.

    `tx`: whose transaction the job is stored in, when not in one of the store's own.
    """

    job: dict[str, Any] = {}
    given: dict[str, Any] = {}
    retry: Retry | None = None
    timeout: float | None = None
    tx: object = None

    def changed(self, options: Mapping[str, object]) -> Settings:
        """These with others on top. Raises InvalidOption that names the option and says what it takes."""
        job = dict(self.job)
        retry, timeout, tx = self.retry, self.timeout, self.tx
        for name, value in options.items():
            if name == "retry":
                retry = checked_retry(value)
            elif name == "timeout":
                timeout = duration("timeout", value, above_zero=True)
            elif name == "tx":
                tx = value
            else:
                job.update(_reader(name)(value))
        if "delay" in options and "run_at" in options:
            raise InvalidOption("give delay (from now) or run_at (a moment), not both")
        if "unique_for" in job and "unique" not in job:
            raise InvalidOption('unique_for says how long a key is held; give the key, too: unique="…"')
        if "retry" in options or "timeout" in options:
            job["options"] = pack(retry=retry, timeout=timeout)
        return Settings(job, {**self.given, **options}, retry, timeout, tx)

    def without_tx(self, task: str) -> dict[str, Any]:
        """`job`, for a template that is stored later. Raises InvalidOption when a transaction was given."""
        if self.tx is not None:
            raise InvalidOption(f"a bound {task} has no transaction of its own; give it to app.enqueue(…, tx=…)")
        return self.job

    def taking(self, input: Input) -> bytes:  # noqa: A002  # the engine's word
        """The stored options of a job that takes the result of what it waits on."""
        return pack(retry=self.retry, timeout=self.timeout, input=input)


def duration(name: str, value: object, *, above_zero: bool = False) -> float:
    """A duration in seconds. Raises InvalidOption that names the option."""
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise InvalidOption(f"{name} is seconds or a timedelta, not {value!r}")
    number = seconds(value)
    too_small = number <= 0 if above_zero else number < 0
    if too_small or not number <= LONGEST:
        bounds = f"{'more than 0' if above_zero else '0 or more'} seconds, and at most {LONGEST:,.0f} (a hundred years)"
        raise InvalidOption(f"{name} must be {bounds}, not {value!r}")
    return number


def checked_retry(value: object) -> Retry:
    """A policy. Raises InvalidOption for anything else, and InvalidPolicy for one with parts that no job can have."""
    if not isinstance(value, Retry):
        raise InvalidOption(f"retry takes a policy such as Retry(on=OSError, attempts=5), not {value!r}")
    for name, live in (("budget", value.budget), ("breaker", value.breaker)):
        if live is not None:
            raise InvalidPolicy(
                f"retry: a job cannot have a {name}, which counts in one process only. Put @retry with it on a function "
                f"that the task calls, and give the task a policy without {name}"
            )
    return value


def key(name: str, value: object) -> str:
    """A text that every store takes as a key. Raises InvalidOption that names the option."""
    try:
        return check_key(value, name)
    except EncodingError as error:
        raise InvalidOption(str(error)) from error


def moment_of(name: str, value: object) -> float:
    """An aware datetime in seconds since 1970. Raises InvalidOption that names the option."""
    if not isinstance(value, datetime):
        raise InvalidOption(f"{name} is a datetime with a time zone, not {value!r}")
    try:
        return timestamp(value)
    except ValueError as error:
        raise InvalidOption(f"{name}: {error}") from error


def _delay(value: object) -> dict[str, object]:
    return {"delay": duration("delay", value), "run_at": None}


def _run_at(value: object) -> dict[str, object]:
    return {"run_at": moment_of("run_at", value), "delay": 0.0}


def _expires(value: object) -> dict[str, object]:
    if isinstance(value, datetime):
        return {"expires_at": moment_of("expires", value), "expires_in": None}
    return {"expires_in": duration("expires", value, above_zero=True), "expires_at": None}


def _unique_for(value: object) -> dict[str, object]:
    if isinstance(value, str) and value != "ever":
        raise InvalidOption(f'unique_for is seconds, a timedelta or "ever", not {value!r}')
    return {"unique_for": FOREVER if value == "ever" else duration("unique_for", value, above_zero=True)}


def _priority(value: object) -> dict[str, object]:
    if isinstance(value, bool) or not isinstance(value, int) or not LOWEST <= value <= HIGHEST:
        raise InvalidOption(f"priority is a whole number from {LOWEST} to {HIGHEST}, higher first, not {value!r}")
    return {"priority": value}


def _tags(value: object) -> dict[str, object]:
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise InvalidOption(f"tags is a list of texts, not {value!r}")
    return {"tags": tuple(dict.fromkeys(key("a tag", each) for each in cast("Sequence[object]", value)))}


def _metadata(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidOption(f"metadata is a dict with texts as keys, not {value!r}")
    try:
        return {"metadata": encode(dict(cast("Mapping[object, object]", value)), what="metadata")}
    except EncodingError as error:
        raise InvalidOption(str(error)) from error


_READERS: Final[dict[str, Callable[[object], dict[str, object]]]] = {
    "delay": _delay,
    "run_at": _run_at,
    "expires": _expires,
    "unique": lambda value: {"unique": key("unique", value)},
    "unique_for": _unique_for,
    "priority": _priority,
    "queue": lambda value: {"queue": key("queue", value)},
    "tags": _tags,
    "correlation": lambda value: {"correlation": key("correlation", value)},
    "metadata": _metadata,
}


def _reader(name: str) -> Callable[[object], dict[str, object]]:
    reader = _READERS.get(name)
    if reader is None:
        known = [*_READERS, "retry", "timeout", "tx"]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known))}"
        raise InvalidOption(f"there is no option {name!r}; {hint}")
    return reader


def positive(name: str, value: object) -> int | None:
    """A whole number above 0, or None. Raises InvalidOption that names the option."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidOption(f"{name} is a whole number from 1, or None, not {value!r}")
    return value


def optional_duration(name: str, value: object) -> float | None:
    """A duration above 0 in seconds, or None. Raises InvalidOption that names the option."""
    return None if value is None else duration(name, value, above_zero=True)
