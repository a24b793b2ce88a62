"""retry.*: what a decorated call costs over the bare call, in microseconds, on success and with two failures.

The policy has no time limit and waits for 0 seconds. `value` of `retry.fails2.*` is a call that fails twice and then
succeeds, over a bare call that succeeds: raising and catching the two errors is in it. The bare loop is the one that one
writes by hand. `retry.py313.*` are the same rows on Python 3.13, where there is one, beside peers on 3.13.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from bench.measurement import OURS, Absent, Measurement, Row, Run, Unverified, interleaved
from bench.peers import RETRY_PEERS, SMALL, SMALL_313, Environment, PeerFailed, interpreter, run_with
from bench.report import row_of

Kind = Literal["sync", "async"]
Version = tuple[int, int]
HERE: Version = (sys.version_info.major, sys.version_info.minor)


def measure(version: Version | None, fails: int, kind: Kind, run: Run) -> Sequence[Row]:
    """One row: ours, a loop by hand and the peers in the same rounds, each over the bare call in its own process."""
    name = name_of(version, fails, kind)
    seconds = 0.2 if run.quick else 0.5
    python = Path(sys.executable) if version is None else _python(version)
    verified: list[float] = []

    def over(program: Path, contestant: str) -> float:
        try:
            found = run_with(program, "retrying", contestant, kind, str(fails), str(seconds))
        except PeerFailed as error:
            raise Unverified(str(error)) from error
        if found is None:
            raise Absent(f"{contestant} cannot do this")
        if found["minor"] != (version or HERE)[1]:
            raise Absent(f"{contestant} is installed for Python 3.{found['minor']} (.cache/peers)")
        if contestant == OURS:
            verified.append(found["verified"])
        return found["over"]

    ways = {OURS: partial(over, python, OURS), "bare loop": partial(over, python, "bare-loop")}
    environment = _peers(version, name, run)
    if environment is not None:
        ways |= {peer: partial(over, environment.program, peer) for peer in RETRY_PEERS}
    samples = interleaved(run, name, ways)
    return [row_of(name, "µs", samples, verified=int(sum(verified)))]


def name_of(version: Version | None, fails: int, kind: Kind) -> str:
    """`retry.sync`, `retry.fails2.async`; of another Python than the one that runs this, `retry.py313.sync`.

    >>> name_of((3, 13), 2, "sync")
    'retry.py313.fails2.sync'
    """
    parts = ("retry", f"py{version[0]}{version[1]}" if version else "", f"fails{fails}" if fails else "", kind)
    return ".".join(filter(None, parts))


def _python(version: Version) -> Path:
    found = interpreter(version, exact=True)
    if found is None:
        raise Absent(f"there is no Python {version[0]}.{version[1]}")
    return Path(found)


def _peers(version: Version | None, name: str, run: Run) -> Environment | None:
    """Where the peers of this Python are; None when there are none, which is noted, or none are wanted."""
    environment = SMALL if version is None else SMALL_313
    if not run.peers:
        return None
    if environment.installed():
        return environment
    run.notes.append(f"{name}: its peers are not installed (python -m bench --peers)")
    return None


KINDS: tuple[Kind, ...] = ("sync", "async")
VERSIONS: tuple[Version | None, ...] = (None, (3, 13))
MEASUREMENTS = tuple(
    Measurement((name_of(version, fails, kind),), partial(measure, version, fails, kind))
    for version in VERSIONS
    for fails in (0, 2)
    for kind in KINDS
)
