"""retry.*: what a decorated call costs over the bare call, in microseconds, on success and with two failures.

The policy has no time limit and waits for 0 seconds. `value` of `retry.fails2.*` is a call that fails twice and then
succeeds, over a bare call that succeeds: raising and catching the two errors is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from bench.measurement import Measurement, Row, Run, Unverified, interleaved
from bench.peers import RETRY_PEERS
from bench.report import row_of
from bench.timing import Calls, per_await, per_call
from mainspring import Retry, constant, retry

Kind = Literal["sync", "async"]
POLICY = Retry(on=OSError, attempts=3, backoff=constant(0))


def measure(fails: int, kind: Kind, run: Run) -> Sequence[Row]:
    """One row: ours and the peers in the same rounds, each over the bare call of its own Python."""
    seconds = 0.2 if run.quick else 0.5
    ways = {"mainspring": partial(ours, fails, kind, seconds)}
    for peer in RETRY_PEERS:
        # A first short call says whether the peer is there and can do this at all.
        if run.peer("retrying", peer, kind, str(fails), "0.02") is not None:
            ways[peer] = partial(_theirs, run, peer, kind, fails, seconds)
    samples = interleaved(run, name_of(fails, kind), ways)
    return [row_of(name_of(fails, kind), "µs", samples, verified=verify(fails, kind))]


def name_of(fails: int, kind: Kind) -> str:
    return f"retry.fails{fails}.{kind}" if fails else f"retry.{kind}"


def ours(fails: int, kind: Kind, seconds: float) -> float:
    """Microseconds over the bare call."""
    calls = Calls(fails)
    if kind == "sync":
        decorated = retry(POLICY)(calls.fail_first if fails else calls.succeed)
        return per_call(decorated, seconds) - per_call(calls.succeed, seconds / 4)
    decorated_async = retry(POLICY)(calls.fail_first_async if fails else calls.succeed_async)
    return per_await(decorated_async, seconds) - per_await(calls.succeed_async, seconds / 4)


def verify(fails: int, kind: Kind, times: int = 1000) -> int:
    """Each of `times` calls makes one attempt and one for each failure, no more, and returns the value."""
    calls = Calls(fails)
    if kind == "sync":
        decorated = retry(POLICY)(calls.fail_first)
        answers = [decorated() for _ in range(times)]
    else:
        import asyncio

        decorated_async = retry(POLICY)(calls.fail_first_async)

        async def all_answers() -> list[int]:
            return [await decorated_async() for _ in range(times)]

        answers = asyncio.run(all_answers())
    if answers != [1] * times or calls.made != times * (1 + fails):
        raise Unverified(f"{calls.made} attempts instead of {times * (1 + fails)}")
    return times


def _theirs(run: Run, peer: str, kind: Kind, fails: int, seconds: float) -> float:
    found = run.peer("retrying", peer, kind, str(fails), str(seconds))
    if found is None:
        raise Unverified(f"{peer} answered once and then no more")
    return found["over"]


KINDS: tuple[Kind, ...] = ("sync", "async")
MEASUREMENTS = tuple(
    Measurement((name_of(fails, kind),), partial(measure, fails, kind)) for fails in (0, 2) for kind in KINDS
)
