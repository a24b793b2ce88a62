"""Runs in the environment of a contestant: what a call decorated by it costs over the bare call.

`python -m bench.peers.retrying tenacity sync 2 0.5` prints {"over": microseconds, "verified": calls, "minor": 11 on
Python 3.11}, or null when it has no such form. Ours, and the loop that one writes by hand, are measured by it as well.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any

from bench.timing import Calls, over_await, over_call

Decorator = Callable[[Callable[[], Any]], Callable[[], Any]]


def main(contestant: str, kind: str, fails: int, seconds: float) -> dict[str, float] | None:
    if fails and contestant == "opnieuw":
        return None  # its waits cannot be 0
    decorator = DECORATORS[contestant]()
    verified = verify(decorator, kind, fails)
    calls = Calls(fails)
    if kind == "sync":
        over = over_call(decorator(calls.fail_first if fails else calls.succeed), calls.succeed, seconds)
    else:
        fn = calls.fail_first_async if fails else calls.succeed_async
        over = over_await(decorator(fn), calls.succeed_async, seconds)
    return {"over": over, "verified": verified, "minor": sys.version_info.minor}


def verify(decorator: Decorator, kind: str, fails: int, times: int = 1000) -> int:
    """Each of `times` calls makes one attempt and one for each failure, no more, and returns the value."""
    calls = Calls(fails)
    if kind == "sync":
        decorated = decorator(calls.fail_first)
        answers = [decorated() for _ in range(times)]
    else:
        decorated_async = decorator(calls.fail_first_async)

        async def all_answers() -> list[int]:
            return [await decorated_async() for _ in range(times)]

        answers = asyncio.run(all_answers())
    if answers != [1] * times or calls.made != times * (1 + fails):
        raise SystemExit(f"{calls.made} attempts instead of {times * (1 + fails)}")
    return times


def mainspring() -> Any:
    lib = import_module("mainspring")
    return lib.retry(lib.Retry(on=OSError, attempts=3, backoff=lib.constant(0)))


def by_hand() -> Any:
    """What one writes without any library: three attempts, no wait, no words."""

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            for last in (False, False, True):
                try:
                    return fn(*args, **kwargs)
                except OSError:
                    if last:
                        raise
            return None  # never

        @wraps(fn)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            for last in (False, False, True):
                try:
                    return await fn(*args, **kwargs)
                except OSError:
                    if last:
                        raise
            return None  # never

        return call_async if iscoroutinefunction(fn) else call

    return decorate


def tenacity() -> Any:
    lib = import_module("tenacity")
    on = lib.retry_if_exception_type(OSError)
    return lib.retry(retry=on, stop=lib.stop_after_attempt(3), wait=lib.wait_none(), reraise=True)


def stamina() -> Any:
    lib = import_module("stamina")
    lib.instrumentation.set_on_retry_hooks([])
    return lib.retry(on=OSError, attempts=3, timeout=None, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)


def backoff() -> Any:
    lib = import_module("backoff")
    return lib.on_exception(lib.constant, OSError, max_tries=3, interval=0, jitter=None, logger=None)


def opnieuw() -> Any:
    lib = import_module("opnieuw")
    return lib.retry(retry_on_exceptions=OSError, max_calls_total=3, retry_window_after_first_call_in_seconds=1)


DECORATORS: dict[str, Callable[[], Decorator]] = {
    "mainspring": mainspring,
    "bare-loop": by_hand,
    "tenacity": tenacity,
    "stamina": stamina,
    "backoff": backoff,
    "opnieuw": opnieuw,
}

if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
