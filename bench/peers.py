"""The peers: other libraries, in an environment of their own, so that they need nothing of ours nor we of theirs.

`python -m bench --peers` installs them in `.cache/peers`. Where they are absent their columns stay empty.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.measurement import Run

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".cache" / "peers"
PYTHON = HOME / "bin" / "python"
PACKAGES = ("huey==3.5.4", "tenacity==9.2.1", "stamina==26.1.0", "backoff==2.2.1", "opnieuw==4.0.0")
RETRY_PEERS = ("tenacity", "stamina", "backoff", "opnieuw")
TIMEOUT = 120.0


class PeerFailed(RuntimeError):
    """A peer is there and did not do its work; its number would be missing from the comparison without a word."""


def installed() -> bool:
    return PYTHON.is_file() and (HOME / ".ready").is_file()


def install() -> None:
    """Make the environment. Raises CalledProcessError, with pip's own words above it."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
    asked = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    subprocess.run(asked, check=True)
    (HOME / ".ready").write_text("\n".join(PACKAGES) + "\n", encoding="utf-8")


def run_peer(program: str, /, *arguments: str) -> dict[str, float] | None:
    """What `bench/PROGRAM.py` answers in the peers' environment; None when it is absent or cannot do this.

    Raises PeerFailed.
    """
    if not installed():
        return None
    asked = [str(PYTHON), "-m", f"bench.{program}", *arguments]
    answer = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if answer.returncode != 0:
        raise PeerFailed(f"{program} {' '.join(arguments)}: {answer.stderr.strip()[-400:]}")
    found: dict[str, float] | None = json.loads(answer.stdout)
    return found


def no_peers(_program: str, /, *_arguments: str) -> dict[str, float] | None:
    """For runs without comparison."""
    return None


def peer_rate(run: Run, program: str, what: str, synchronous: str, jobs: int) -> Callable[[], float] | None:
    """A way to measure what the peer does per second on the disk of this run; None where the peer is absent."""
    arguments = (what, synchronous, str(jobs), str(run.folder))
    if run.peer(program, what, synchronous, "10", str(run.folder)) is None:
        return None

    def rate() -> float:
        found = run.peer(program, *arguments)
        if found is None:
            raise PeerFailed(f"{program} answered once and then no more")
        return found["rate"]

    return rate
