"""`retry`: the decorator for sync and async functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast, overload

from mainspring.clock import Duration
from mainspring.errors import InvalidPolicy, RetryDefinitionError
from mainspring.retries import pace
from mainspring.retries.backoff import Backoff
from mainspring.retries.explain import explained
from mainspring.retries.failures import Failures, Terms
from mainspring.retries.hooks import Hooks, checked_hooks
from mainspring.retries.policy import Fallback, Retry
from mainspring.retries.rules import On

P = ParamSpec("P")
R = TypeVar("R")


class RetryDecorator(Protocol):
    """What `retry(…)` returns: takes a function, gives it back with attempts and the same signature."""

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]:
        """The function with attempts. Raises RetryDefinitionError for what cannot be retried, such as generators."""
        ...


@overload
def retry(policy: Retry, /, *, baseline: Fallback | None = None, hooks: Hooks | None = None) -> RetryDecorator: ...
@overload
def retry(
    *,
    on: On,
    attempts: int | None = 5,
    give_up_after: Duration | None = None,
    backoff: Backoff | None = None,
    baseline: Fallback | None = None,
    hooks: Hooks | None = None,
) -> RetryDecorator: ...
@explained("retry takes one policy, or says which errors by name, as in @retry(on=OSError, attempts=3)")
def retry(
    policy: Retry | None = None,
    /,
    *,
    on: On | None = None,
    attempts: int | None = 5,
    give_up_after: Duration | None = None,
    backoff: Backoff | None = None,
    baseline: Fallback | None = None,
    hooks: Hooks | None = None,
) -> RetryDecorator:
    """Run the function again when it fails with an error worth another attempt; the arguments are those of `Retry`.

    Giving up raises the last error itself, with a note of attempts and time; `attempts_of(error)` tells of every
    attempt. An error that is not to be retried is raised unchanged. Cancellation and other non-`Exception`s are
    never retried; an error that an attempt raised in place of its task's cancellation gives way to the cancellation.

    `give_up_after` bounds attempts and waits together. An async attempt under way when it ends is cancelled, and
    `RetryTimeout` raised from the last error; a sync one is left to end, and its value counts. Times run from the
    start of the first attempt with `give_up_after`, a budget, a breaker or a baseline, else from its failure.

    `baseline` is asked when no rule matches; its own `give_up_after` cuts no attempt short. `hooks` are told of waits and ends, beside those of `set_hooks`; the
    log `mainspring.retries` gets a line for each (INFO; for waits of degraded policies ERROR), never with arguments
    or results. With a `breaker` in the policy, a call whose first attempt it refuses raises `CircuitOpen`.

    Safe to call from any number of threads and tasks: calls share nothing but the policy, and of it only what is
    meant to be shared, budget and breaker. A wait of 0 does not yield to other tasks.

    Raises InvalidPolicy for a policy that cannot mean anything; RetryDefinitionError for generators and the like,
    for a baseline or hooks that are none, and for a keyword that does not exist. The call of a plain function raises
    RetryDefinitionError when it gives a coroutine or a generator, of which nothing has run: of a function without
    time limit, budget and breaker only its first value is looked at.

    >>> answers = iter([OSError("down"), OSError("still down"), "up"])
    >>> @retry(on=OSError, backoff=lambda index: 0)
    ... def ask() -> str:
    ...     answer = next(answers)
    ...     if isinstance(answer, OSError):
    ...         raise answer
    ...     return answer
    >>> ask()
    'up'
    """
    chosen = chosen_policy(policy, on, attempts, give_up_after, backoff)
    check_listeners(baseline, hooks)

    def decorate(fn: Callable[P, R], /) -> Callable[P, R]:
        refuse(fn)
        terms = Terms(chosen, name_of(fn), baseline, hooks)
        if not is_async(fn):
            return _retry_sync(fn, terms)
        from mainspring.retries.awaiting import retry_async  # noqa: PLC0415  # asyncio is slow to load; sync code needs none

        coroutine_fn = cast("Callable[P, Coroutine[Any, Any, object]]", fn)
        return cast("Callable[P, R]", retry_async(coroutine_fn, terms))

    return decorate


def chosen_policy(
    policy: Retry | None,
    on: On | None,
    attempts: int | None,
    give_up_after: Duration | None,
    backoff: Backoff | None,
) -> Retry:
    """The policy given, or the one that the keywords make. Raises InvalidPolicy for both, or for neither."""
    if policy is None:
        return Retry(on=on, attempts=attempts, give_up_after=give_up_after, backoff=backoff)
    if not isinstance(policy, Retry):
        raise RetryDefinitionError(
            f"retry takes a Retry or says which errors, as in @retry(on=OSError); got {policy!r}"
        )
    if on is not None or attempts != 5 or give_up_after is not None or backoff is not None:
        raise InvalidPolicy("give a Retry, or on, attempts, give_up_after and backoff; not both")
    return policy


def check_listeners(baseline: object, hooks: object) -> None:
    """Raise RetryDefinitionError unless these are what they should be, or None."""
    if hooks is not None:
        checked_hooks(hooks)
    if baseline is not None and not callable(getattr(baseline, "advise", None)):
        raise RetryDefinitionError(f"baseline must be a Baseline, or have an advise() as it has; got {baseline!r}")


def name_of(fn: object) -> str:
    """What logs and hooks call a function: its qualified name, or that of its class."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def _retry_sync(fn: Callable[P, R], terms: Terms) -> Callable[P, R]:
    if terms.watched:

        @functools.wraps(fn)
        def watched(*args: P.args, **kwargs: P.kwargs) -> R:
            result = attempts_sync(fn, Failures(terms, pace.monotonic()), 0.0, None, *args, **kwargs)
            refuse_unrun(result, terms.name)
            return result

        return watched

    run = fn

    def first(*args: P.args, **kwargs: P.kwargs) -> R:
        return looked_at(fn(*args, **kwargs))

    def looked_at(result: R) -> R:
        nonlocal run
        refuse_unrun(result, terms.name)
        run = fn  # what makes coroutines always does; a look at every value would cost a sixth of the call
        return result

    run = first

    # Nothing but the call itself until something fails: no clock, no object.
    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return run(*args, **kwargs)
        except NothingRan:
            raise  # whatever the policy is for
        except Exception as error:
            failures = Failures(terms)
            wait = failures.add(error, pace.monotonic())
            if wait is None:
                raise
        # Outside of the except: later errors are not "during handling of" the first.
        result = attempts_sync(fn, failures, wait, None, *args, **kwargs)
        return result if run is fn else looked_at(result)

    return call


class NothingRan(RetryDefinitionError):
    """A function has returned what has yet to run."""


_UNRUN: Final = frozenset({AsyncGeneratorType, CoroutineType, GeneratorType})


def refuse_unrun(result: object, name: str) -> None:
    """Raise RetryDefinitionError for a value that has yet to run: its errors come when no attempt is under way."""
    if type(result) not in _UNRUN:
        return
    if isinstance(result, CoroutineType | GeneratorType):
        result.close()
    if isinstance(result, CoroutineType):
        raise NothingRan(
            f"{name} returned a coroutine, of which nothing has run, so that nothing is tried again: give retry the "
            "async function itself, its arguments by functools.partial, or write `async def` and `await` in it"
        )
    raise NothingRan(
        f"{name} returned a generator, of which nothing has run, so that nothing is tried again: "
        "retry the function that makes one item, or return a list"
    )


def attempts_sync(
    fn: Callable[P, R],
    failures: Failures,
    wait: float,
    sleep: Callable[[float], object] | None,
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """The loop of every sync retry: wait, attempt, and again until it succeeds or `failures` says no more.

    `sleep` is called before each attempt, also to wait for 0 seconds, and may end the loop by raising; None: the
    thread sleeps.
    """
    guarded = failures.terms.guarded
    try:
        while True:
            if sleep is not None:
                sleep(wait)
            elif wait > 0:
                pace.sleep(wait)
            if guarded:
                failures.admit(pace.monotonic())
            try:
                result = fn(*args, **kwargs)
            except Exception as error:
                again = failures.add(error, pace.monotonic())
                if again is None:
                    raise
                wait = again
            else:
                if guarded or failures.heard:
                    failures.succeeded(pace.monotonic)
                return result
    finally:
        failures.close(pace.monotonic)


def is_async(fn: Callable[..., object]) -> bool:
    """Whether calling it gives a coroutine."""
    import inspect  # noqa: PLC0415  # slow to load, and most programs have done so by now

    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(_call_of(fn))


def _call_of(fn: object) -> object:
    """What runs when an object that is no function is called."""
    return getattr(type(fn), "__call__", None)  # noqa: B004  # not whether, but what


def refuse(fn: object) -> None:
    """Raise RetryDefinitionError for what another attempt cannot repeat."""
    if isinstance(fn, staticmethod | classmethod):
        kind = "staticmethod" if isinstance(fn, staticmethod) else "classmethod"
        raise RetryDefinitionError(f"@retry goes under @{kind}, directly on the function")
    if not callable(fn):
        raise RetryDefinitionError(f"{fn!r} cannot be retried: it is not callable")
    import inspect  # noqa: PLC0415  # as above

    called = (fn, _call_of(fn))
    if any(map(inspect.isgeneratorfunction, called)) or any(map(inspect.isasyncgenfunction, called)):
        name = getattr(fn, "__qualname__", repr(fn))
        raise RetryDefinitionError(
            f"{name} is a generator: calling it runs nothing yet, and what it has yielded cannot be taken back; "
            "retry the function that makes one item, or use retrying(…) inside it"
        )
