"""Functions that the tests run in child processes; these find them here by name."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from mainspring.engine.context import Context
from mainspring.errors import GiveUp, RetryLater


class Refused(Exception):
    def __init__(self, status: int, *, wait: float) -> None:
        super().__init__(f"refused with {status}")
        self.status = status
        self.retry_after = wait


def square(n: int) -> int:
    return n * n


def pid() -> int:
    return os.getpid()


async def later(n: int) -> int:
    await asyncio.sleep(0.01)
    return n + 1


def nothing() -> None:
    return None


def unstorable() -> object:
    return object()


def refuse(status: int) -> None:
    raise Refused(status, wait=7.0)


def missing(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def leave() -> None:
    sys.exit(3)


def give_up() -> None:
    raise GiveUp("no use")


def try_later(seconds: float) -> None:
    raise RetryLater(seconds)


def drop_dead(how: str) -> None:
    if how == "exit":
        os._exit(9)
    if how == "segv":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds: float, mark: str = "") -> float:
    """Marks that it began, sleeps."""
    if mark:
        Path(mark).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(seconds)
    return seconds


def burn(mark: str) -> None:
    """Holds the GIL for minutes: one call of the regex engine."""
    Path(mark).write_text(str(os.getpid()), encoding="utf-8")
    re.match(r"(a+)+$", "a" * 40 + "b")


def start_another(mark: str) -> None:
    """Starts a program and waits for it, as tasks do that call ffmpeg and the like."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]) as other:
        Path(mark).write_text(str(other.pid), encoding="utf-8")
        other.wait()


def about(ctx: Context, word: str) -> list[object]:
    ctx.progress({"half": True})
    return [ctx.job_id, ctx.attempt, ctx.fence, Context.current().job_id, word]


def about_current() -> str:
    return Context.current().job_id


def ignores_signals() -> list[str]:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    started = subprocess.run(
        [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return ["alive", started.stdout.strip()]
