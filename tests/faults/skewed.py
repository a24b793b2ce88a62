"""A process of the crew whose clock is wrong: `python -m tests.faults.skewed SECONDS SETTINGS`."""

from __future__ import annotations

import sys
import time


def skew(seconds: float) -> None:
    """From now on the time of day is wrong in this process; intervals are not."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + round(seconds * 1e9)


if __name__ == "__main__":
    skew(float(sys.argv[1]))
    from tests.faults.crew import main  # nothing of Mainspring has seen the right clock

    main(sys.argv[2])
