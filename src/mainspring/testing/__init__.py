"""What users need to test their tasks, and third parties to test their stores.

Everything here is loaded when it is first used: every pytest run loads this room, for its plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.clock import FakeClock
    from mainspring.testing.durations import days, hours, minutes
    from mainspring.testing.harness import Harness, drain
    from mainspring.testing.virtual import VirtualDeadlock, VirtualLoop, run_virtual

__all__ = [
    "FakeClock",
    "Harness",
    "VirtualDeadlock",
    "VirtualLoop",
    "days",
    "drain",
    "hours",
    "minutes",
    "run_virtual",
]

_HOME = {
    "FakeClock": "mainspring.clock",
    "Harness": "mainspring.testing.harness",
    "VirtualDeadlock": "mainspring.testing.virtual",
    "VirtualLoop": "mainspring.testing.virtual",
    "days": "mainspring.testing.durations",
    "drain": "mainspring.testing.harness",
    "hours": "mainspring.testing.durations",
    "minutes": "mainspring.testing.durations",
    "run_virtual": "mainspring.testing.virtual",
}

if not TYPE_CHECKING:  # hidden from type checkers: with it they would accept any misspelt name

    def __getattr__(name: str) -> object:
        """Load a public name at its first use, and keep it."""
        module = _HOME.get(name)
        if module is None:
            raise AttributeError(f"mainspring.testing has no {name!r}")
        value = globals()[name] = getattr(import_module(module), name)
        return value

    def __dir__() -> list[str]:
        return sorted([*globals(), *__all__])
