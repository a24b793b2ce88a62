"""The peers: other libraries, each in an environment of its own, so that they need nothing of ours nor we of theirs.

`python -m bench --peers` installs them in `.cache/peers/`. Where one is absent its numbers are, and the result says so.
A peer's program runs in its environment, with this folder's parent as its working directory; it may import what needs
the standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.measurement import Run

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".cache" / "peers"
RETRY_PEERS = ("tenacity", "stamina", "backoff", "opnieuw")
TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with pinned packages; `python` is the oldest version that they run on (`exact`: the only)."""

    name: str
    packages: tuple[str, ...]
    python: tuple[int, int] = (3, 11)
    exact: bool = False

    @property
    def home(self) -> Path:
        return HOME / self.name

    @property
    def program(self) -> Path:
        return self.home / "bin" / "python"

    @property
    def pins(self) -> str:
        return "\n".join(self.packages) + "\n"

    def installed(self) -> bool:
        ready = self.home / ".ready"
        return self.program.is_file() and ready.is_file() and ready.read_text(encoding="utf-8") == self.pins


RETRYING = ("tenacity==9.2.1", "stamina==26.1.0", "backoff==2.2.1", "opnieuw==4.0.0")
SMALL = Environment("small", ("huey==3.5.4", *RETRYING))
SCHEDULERS = Environment("apscheduler", ("apscheduler==3.11.3", "sqlalchemy==2.1.9"))
SMALL_313 = Environment("small-py313", RETRYING, python=(3, 13), exact=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A job queue on PostgreSQL that we compare ourselves with.

    `module` is its program (see bench.frame). `unfinished` and `finished` are SQL that counts jobs in its tables.
    `jobs`: how many a full round of a measurement has, about two seconds' worth; without an entry it takes no part.
    `quick`: it also takes part in the quick rows of these names, as one of the fastest there.
    `settings` and `guarantee` are said in the result.
    """

    environment: Environment
    module: str
    unfinished: str
    finished: str
    jobs: Mapping[str, int]
    settings: Mapping[str, str]
    guarantee: str
    quick: frozenset[str] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        return self.environment.name


class PeerFailed(RuntimeError):
    """A peer is there and did not do its work; its number would be missing from the comparison without a word."""


def installed() -> bool:
    """Are the peers of the rows without a server there?"""
    return SMALL.installed()


def install(environments: Iterable[Environment] = (SMALL,)) -> Iterator[str]:
    """Make the environments that are not there yet; what happened to each.

    One whose Python is not on this machine is left out. Raises CalledProcessError, with the installer's own words
    above it.
    """
    for environment in environments:
        if environment.installed():
            yield f"{environment.name}: there already"
        elif (python := interpreter(environment.python, exact=environment.exact)) is None:
            yield f"{environment.name}: left out, it needs Python {'.'.join(map(str, environment.python))}"
        else:
            _make(environment, python)
            yield f"{environment.name}: installed {', '.join(environment.packages)}"


def interpreter(oldest: tuple[int, int], *, exact: bool = False) -> str | None:
    """A Python on this machine that is at least so new (`exact`: this one): ours, one on the PATH, or one of pyenv's."""
    ours = sys.version_info[:2]
    if ours == oldest or (ours > oldest and not exact):
        return sys.executable
    names = [f"python3.{minor}" for minor in range(oldest[1], oldest[1] + (1 if exact else 4))]
    found = [path for name in names if (path := shutil.which(name))]
    found += [str(path) for name in names for path in (Path.home() / ".pyenv" / "versions").glob(f"*/bin/{name}")]
    for path in found:
        if subprocess.run([path, "-c", "import ssl, venv"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def run_peer(program: str, /, *arguments: str) -> dict[str, float] | None:
    """What `bench/peers/PROGRAM.py` answers in its environment; None when it is absent or cannot do this.

    Raises PeerFailed.
    """
    return run_with(SMALL.program, program, *arguments) if installed() else None


def run_with(python: str | Path, program: str, /, *arguments: str) -> dict[str, float] | None:
    """What `bench/peers/PROGRAM.py` answers under this Python, which also finds our own sources. Raises PeerFailed."""
    asked = [str(python), "-m", f"bench.peers.{program}", *arguments]
    ours = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    answer = subprocess.run(asked, cwd=ROOT, env=ours, capture_output=True, text=True, timeout=TIMEOUT, check=False)
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


def _make(environment: Environment, python: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    home = str(environment.home)
    if uv.is_file():
        subprocess.run([str(uv), "venv", "--quiet", "--clear", "--python", python, home], check=True)
        asked = [str(uv), "pip", "install", "--quiet", "--python", str(environment.program), *environment.packages]
    else:
        subprocess.run([python, "-m", "venv", "--clear", home], check=True)
        asked = [str(environment.program), "-m", "pip", "install", "--quiet", *environment.packages]
    subprocess.run(asked, check=True)
    (environment.home / ".ready").write_text(environment.pins, encoding="utf-8")
