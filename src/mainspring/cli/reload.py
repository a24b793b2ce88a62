"""For development: notices that Python files of the app have changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

EVERY: Final = 0.5
"""Seconds between two looks."""

LEFT_OUT: Final = {"__pycache__", "node_modules", "site-packages"}

Seen = dict[str, tuple[int, int]]


async def changes(folder: Path, since: float) -> AsyncIterator[str]:
    """The path of a .py file below the folder, each time that one has changed, come or gone.

    `since`: when the code was about to be imported, in seconds since 1970; what is newer has changed already.
    """
    found = await asyncio.to_thread(look, folder)
    before = {path: what for path, what in found.items() if what[0] <= since * 1e9}
    while True:
        now = await asyncio.to_thread(look, folder)
        if now != before:
            yield min(path for path, _ in set(now.items()) ^ set(before.items()))
        before = now
        await asyncio.sleep(EVERY)


def look(folder: Path) -> Seen:
    """Modification time and size of every .py file; hidden folders and those of others are left out."""
    seen: Seen = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in LEFT_OUT]
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        for name in files:
            if name.endswith(".py"):
                path = Path(place, name)
                try:
                    found = path.stat()
                except OSError:  # it went while we looked: it counts as gone
                    continue
                seen[str(path)] = (found.st_mtime_ns, found.st_size)
    return seen
