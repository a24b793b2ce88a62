"""The same input in a plain `multiprocessing.Pool`, with a worker killed after a third.

`python -m demo.pool [--files N] [--patience SECONDS]` prints a line of JSON now and then, the last one with what came
of it. It runs in a process group of its own, since such a pool cannot always be ended by its own means.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import time

from demo.source import examine, source_files

WORKERS = 2


def main() -> None:
    """Read results until nothing has come for `patience` seconds, which is for ever without it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int)
    parser.add_argument("--patience", type=float, default=2.0)
    asked = parser.parse_args()
    paths = source_files(asked.files)
    begin = time.monotonic()
    hung, done = False, 0
    pool = multiprocessing.Pool(WORKERS)
    results = pool.imap_unordered(examine, paths)
    while done < len(paths):
        try:
            results.next(timeout=asked.patience)
        except multiprocessing.TimeoutError:
            hung = True
            break
        done += 1
        if done == len(paths) // 3:
            kill_one()
        if done % 20 == 0:
            say(done=done)
    seconds = time.monotonic() - begin - (asked.patience if hung else 0)
    say(done=done, missing=len(paths) - done, hung=hung, seconds=seconds)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # `terminate` may wait for a lock that the killed one held


def kill_one() -> None:
    """SIGKILL for one of the pool's workers."""
    victim = multiprocessing.active_children()[0]
    if victim.pid is not None:
        os.kill(victim.pid, signal.SIGKILL)


def say(**what: float) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
