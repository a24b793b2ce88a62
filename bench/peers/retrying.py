"""Runs in the peers' environment: what a call decorated by one of them costs over the bare call.

`python -m bench.peers.retrying tenacity sync 2 0.5` prints {"over": microseconds}, or null when it has no such form.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from bench.timing import Calls, per_await, per_call

Decorator = Callable[[Callable[[], Any]], Callable[[], Any]]


def main(peer: str, kind: str, fails: int, seconds: float) -> dict[str, float] | None:
    if fails and peer == "opnieuw":
        return None  # its waits cannot be 0
    decorator = DECORATORS[peer]()
    calls = Calls(fails)
    if kind == "sync":
        over = per_call(decorator(calls.fail_first if fails else calls.succeed), seconds)
        return {"over": over - per_call(calls.succeed, seconds / 4)}
    over = per_await(decorator(calls.fail_first_async if fails else calls.succeed_async), seconds)
    return {"over": over - per_await(calls.succeed_async, seconds / 4)}


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
    "tenacity": tenacity,
    "stamina": stamina,
    "backoff": backoff,
    "opnieuw": opnieuw,
}

if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
