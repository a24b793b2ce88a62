"""`background`: start a function and go on, while it runs and is retried in a thread or a task of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

from mainspring.clock import Duration
from mainspring.errors import RetryDefinitionError
from mainspring.retries.background_calls import OnError, Work
from mainspring.retries.background_thread import BackgroundThread, start_thread
from mainspring.retries.backoff import checked_seconds
from mainspring.retries.decorate import check_listeners, is_async, name_of, refuse
from mainspring.retries.explain import explained
from mainspring.retries.failures import Terms
from mainspring.retries.hooks import Hooks
from mainspring.retries.policy import Fallback, Retry

if TYPE_CHECKING:
    from mainspring.retries.background_task import BackgroundTask  # asyncio is slow to load; threads need none

R = TypeVar("R")


@overload
def background(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # the first that fits
    fn: Callable[[], Coroutine[Any, Any, R]],
    policy: Retry | None = None,
    /,
    *,
    on_error: OnError | None = None,
    name: str | None = None,
    hooks: Hooks | None = None,
    baseline: Fallback | None = None,
) -> BackgroundTask[R]: ...
@overload
def background(
    fn: Callable[[], R],
    policy: Retry | None = None,
    /,
    *,
    on_error: OnError | None = None,
    name: str | None = None,
    hooks: Hooks | None = None,
    baseline: Fallback | None = None,
    wait_at_exit: Duration | None = None,
) -> BackgroundThread[R]: ...
@explained("background calls the function without arguments: background(functools.partial(fn, …), policy)")
def background(
    fn: Callable[[], object],
    policy: Retry | None = None,
    /,
    *,
    on_error: OnError | None = None,
    name: str | None = None,
    hooks: Hooks | None = None,
    baseline: Fallback | None = None,
    wait_at_exit: Duration | None = None,
) -> BackgroundTask[object] | BackgroundThread[object]:
    """Start `fn`, which takes no arguments (use `functools.partial`), and return its handle before it has ended.

    An async function runs as a task of the running loop, any other in a daemon thread of its own; both with the
    context variables of the caller. `policy`, `hooks` and `baseline` are those of `retry`; without a policy nothing
    is tried again, unless the baseline says so. `on_error` is called, where `fn` runs, with the error of every
    failed attempt, the last included; when it fails itself, that is logged. `name` is for logs and hooks; else it is
    the name of the function.

    The handle gives the result or the error, whatever it is: `SystemExit` in a thread, too. Nobody has to wait for
    it or to keep it. A failure that nobody has read when the handle is gone, or the program ends, is logged once.

    What is pending when the program ends is lost, with a warning. To finish it, end an async program with
    `await background_done()`; for a thread give `wait_at_exit`, how many seconds the end of the program waits for it
    at most, beside the others. It does not wait when a signal or `os._exit` ends the program, nor in a child of
    `multiprocessing`; Ctrl-C ends the wait, and Python 3.12 and later start no other threads during it. In a process
    that is forked later there are no copies of the threads: there they count as cancelled.

    Every call is a new run, independent of its caller, whose cancellation does not reach it. Raises
    RetryDefinitionError for what cannot be retried or needs arguments, for an async function without a running
    loop, and for a keyword that does not exist; InvalidPolicy for a `wait_at_exit` that is not above 0.

    >>> from mainspring.retries import Retry, constant
    >>> errors = []
    >>> def save() -> str:
    ...     if not errors:
    ...         raise OSError("down")
    ...     return "saved"
    >>> handle = background(save, Retry(on=OSError, backoff=constant(0.001)), on_error=errors.append)
    >>> handle.result(timeout=10), handle.attempts, errors
    ('saved', 2, [OSError('down')])
    """
    _refuse_function(fn)
    _refuse_options(policy, on_error)
    check_listeners(baseline, hooks)
    work = Work(name or name_of(fn), on_error)
    terms = Terms(_ONCE if policy is None else policy, work.name, baseline, hooks, on_failure=work.failed)
    if not is_async(fn):
        limit = None if wait_at_exit is None else checked_seconds("wait_at_exit", wait_at_exit)
        return start_thread(fn, work, terms, limit)
    if wait_at_exit is not None:
        raise RetryDefinitionError(
            f"{work.name} is async: its loop has ended before the program ends; leave out wait_at_exit, and end the "
            "main coroutine with `await background_done(timeout=…)`"
        )
    from mainspring.retries.background_task import start_task  # noqa: PLC0415  # as above

    return start_task(cast("Callable[[], Coroutine[Any, Any, object]]", fn), work, terms)


def _refuse_function(fn: object) -> None:
    if inspect.iscoroutine(fn):
        fn.close()
        raise RetryDefinitionError(
            "background takes the function itself, not a coroutine, which could run only once: "
            "background(fetch), or background(functools.partial(fetch, url))"
        )
    refuse(fn)
    assert callable(fn)
    try:
        inspect.signature(fn).bind()
    except ValueError:  # a built-in that does not tell
        return
    except TypeError as error:
        raise RetryDefinitionError(
            f"background calls {name_of(fn)} without arguments ({error}): give them with functools.partial"
        ) from None


def _refuse_options(policy: object, on_error: object) -> None:
    if policy is not None and not isinstance(policy, Retry):
        raise RetryDefinitionError(
            f"background takes a Retry after the function, or nothing; got {policy!r}. Arguments of the function go "
            "with it: background(functools.partial(fn, …))"
        )
    if on_error is not None and (not callable(on_error) or is_async(on_error)):
        raise RetryDefinitionError(f"on_error must be a plain function that takes the error, not {on_error!r}")


def _no_error(error: BaseException) -> bool:  # noqa: ARG001  # as every predicate
    return False


_ONCE: Final = Retry(on=_no_error)
"""No retries: what a call without a policy gets. Its error is let out as it is, without a note."""
