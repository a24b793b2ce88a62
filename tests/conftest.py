"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# No time limit for one example: the machine may be busy. In CI the same examples each time: red stays red.
settings.register_profile(
    "house", parent=settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None
)
settings.load_profile("house")
