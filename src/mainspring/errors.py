"""Every exception of Mainspring, in one tree under `MainspringError`. Imports nothing.

A message says what happened and what to do next; data that a program may need are attributes.
"""

from __future__ import annotations

from collections.abc import Sequence


class MainspringError(Exception):
    """The root: `except MainspringError` catches everything that Mainspring itself raises."""


# --- bad input: found before anything is stored --------------------------------------------------


class InvalidPolicy(MainspringError, ValueError):
    """A retry policy, rule or backoff that cannot mean anything; the message names the field."""


class InvalidOption(MainspringError, ValueError):
    """An option of a task, job, service or app that is out of range, or contradicts another one."""


class InvalidTrigger(InvalidOption):
    """A trigger that cannot mean anything or would never fire: a bad cron expression, an unknown time zone."""


class TaskDefinitionError(MainspringError, TypeError):
    """A function or object that cannot be a task; the message says how to change it."""


class TaskNotFound(MainspringError, LookupError):
    """No task of that name is registered in this app."""


class EncodingError(MainspringError, ValueError):
    """A value that the stores cannot hold: not JSON, a NUL character, an integer over 64 bits."""


class PayloadTooLarge(EncodingError):
    """An encoded value above the size limit; put the data elsewhere and pass a reference to it."""


class ResultNotEncodable(EncodingError):
    """A task returned what cannot be stored. Not retried: the effect has already happened."""


class ArgumentsInvalid(MainspringError, ValueError):
    """A stored payload does not fit the task's parameters; the message names the parameter."""


# --- retries -------------------------------------------------------------------------------------


class RetryDefinitionError(MainspringError, TypeError):
    """What cannot be retried, or not in this way: a generator, a loop without `with attempt:`."""


class RetryTimeout(MainspringError, TimeoutError):
    """`give_up_after` passed while an attempt was running (async code only)."""


class RetriesExhausted(MainspringError, ExceptionGroup[Exception]):
    """Every error of a call that gave up, in order; raised for `Retry(raise_group=True)` only."""

    def derive(self, excs: Sequence[Exception], /) -> RetriesExhausted:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # it holds Exceptions only
        """Keep this class in `split()` and `except*`, and with it the record of the whole call for `attempts_of`."""
        part = RetriesExhausted(self.message, excs)
        part.__dict__.update((name, value) for name, value in self.__dict__.items() if name != "__notes__")
        return part


class CircuitOpen(MainspringError):
    """No attempt was made: the policy's circuit breaker is open. Ask again after `retry_after` seconds."""

    def __init__(self, retry_after: float, name: str | None = None) -> None:
        which = "the circuit breaker" if name is None else f"the circuit breaker {name!r}"
        super().__init__(f"{which} is open after too many failures in a row; ask again in {retry_after:.3g} s")
        self.retry_after = retry_after
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return CircuitOpen, (self.retry_after, self.name), self.__dict__


class AttemptTimeout(MainspringError, TimeoutError):
    """One attempt ran longer than its `timeout`."""


# --- told to the engine by a task, by raising ----------------------------------------------------


class AttemptEnd(MainspringError):
    """Base of the four ways in which a task ends an attempt that is not a success."""


class RetryLater(AttemptEnd):
    """Run again after `after` seconds; counts as an attempt, and ends the job when none is left."""

    def __init__(self, after: float | None = None, reason: str = "") -> None:
        super().__init__(reason or "retry later")
        self.after = after
        self.reason = reason


class Snooze(AttemptEnd):
    """Run again after `after` seconds; the attempt is given back."""

    def __init__(self, after: float, reason: str = "") -> None:
        super().__init__(reason or f"snoozed for {after} s")
        self.after = after
        self.reason = reason


class GiveUp(AttemptEnd):
    """End the job `dead` now, whatever its policy says. It can be replayed."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "gave up")
        self.reason = reason


class CancelJob(AttemptEnd):
    """End the job `cancelled` now."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "cancelled by its task")
        self.reason = reason


# --- how a job ended, for whoever waits for its result -------------------------------------------


class JobError(MainspringError):
    """Base of the errors about one job; `job_id` says which."""

    def __init__(self, job_id: str, message: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobNotFound(JobError, LookupError):
    """No such job: never committed, deleted, or pruned."""


class JobFailed(JobError):
    """The job is `dead`. The original error as text: its class may not exist in this process."""

    def __init__(self, job_id: str, error_type: str, error: str, attempts: int) -> None:
        super().__init__(job_id, f"job {job_id} is dead after {attempts} attempt(s): {error_type}: {error}")
        self.error_type = error_type
        self.error = error
        self.attempts = attempts


class JobExpired(JobError):
    """The job was not started before its `expires`."""


class JobCancelled(JobError):
    """The job was cancelled."""


# --- schedules -----------------------------------------------------------------------------------


class ScheduleError(MainspringError):
    """Base of the errors about one schedule; `schedule` is its id."""

    def __init__(self, schedule: str, message: str) -> None:
        super().__init__(message)
        self.schedule = schedule


class ScheduleNotFound(ScheduleError, LookupError):
    """No such schedule: never put, or removed."""


class ScheduleExists(ScheduleError):
    """A schedule of this id is there already; `put` changes it."""


class ScheduleUnreadable(ScheduleError):
    """What is stored of it cannot be read here: a newer version has written it. Put it again, or remove it."""


class ScheduleBusy(ScheduleError):
    """Others changed or fired it each time this call was about to write; nothing was changed: repeat it later."""


# --- stores --------------------------------------------------------------------------------------


class StoreError(MainspringError):
    """Base of what can go wrong with a store; nothing was half written."""


class StoreUrlError(StoreError, ValueError):
    """The URL names no store, or one whose driver is not installed; the message names the extra."""


class StoreClosed(StoreError):
    """The store is closed, or was never opened."""


class StoreUnavailable(StoreError, ConnectionError):
    """The store cannot be reached now. Every verb may be repeated."""


class KeyBusy(StoreError):
    """An open transaction of somebody else holds these unique keys; nothing was added: repeat it when that has ended."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"{len(keys)} unique key(s) are in the hands of an open transaction; repeat when it has ended")
        self.keys = tuple(keys)


class JobBusy(StoreError):
    """An open transaction of somebody else holds rows that this call changes; nothing was changed: repeat it later."""


class StoreUnsuitable(StoreError):
    """The store refuses this place: not our file, a newer schema, read-only, no working locks."""


class StoreFull(StoreError):
    """The disk of the store is full; the batch was refused whole."""


class LeaseLost(StoreError):
    """This attempt's lease has gone to somebody else: stop, the result will not be taken."""


class Unsupported(StoreError):
    """This store cannot do that; `Features` says so in advance."""


class WrongTransaction(StoreError, TypeError):
    """What was given as `tx=` cannot take these jobs: another kind of connection, another database, no transaction."""


# --- the app -------------------------------------------------------------------------------------


class AppError(MainspringError, RuntimeError):
    """The app is used in a way that cannot work."""


class WrongLoop(AppError):
    """An App or a background task belongs to one event loop; from elsewhere use the app's `.sync` face."""


class AppClosed(AppError):
    """The app was closed; open it again with `async with app:`."""


class ProcessCrashed(MainspringError):
    """The child process of a `process=True` task died while it ran the job."""


# --- services ------------------------------------------------------------------------------------


class SupervisorError(MainspringError, RuntimeError):
    """A Supervisor is used outside its `async with` block, entered twice, or asked for signals in a thread."""
