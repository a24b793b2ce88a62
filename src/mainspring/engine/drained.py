"""What a worker that has stopped says about its work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a worker has done, and how its stop went.

    `finished`: attempts whose settlement was written since the worker began. `handed_back`: jobs that the stop gave
    back to the store unburned, to run elsewhere. `lost`: settlements that could not be written; those jobs run again. `left_behind`:
    functions that did not end, in threads that nobody can stop.
    """

    finished: int = 0
    handed_back: int = 0
    lost: int = 0
    left_behind: int = 0

    def __str__(self) -> str:
        parts = [f"finished {self.finished}", f"handed back {self.handed_back}", f"lost settlements {self.lost}"]
        if self.left_behind:
            parts.append(f"left behind {self.left_behind}")
        return f"stopped: {', '.join(parts)}"
