"""schedule.*: adding schedules, beginning to fire among many, and firing densely. Everybody runs in a process of its own.

`add`: put one after the other, in µs each; `add.concurrent`: by 100 callers; `add.bulk`: `put_many`. The peer has no
counterpart of these two, and adds them one after the other there as well. `start`: many are stored and one of them is due; from `app.running` to the start of
its function, in ms. On SQLite and PostgreSQL the store is opened on the way. `memory`: bytes that the process has grown by
then, for each schedule. `late`: 1,000 schedules fire every second for 10 s (quick 4), phases spread; from the slot until the
commit of the fire has been answered, in ms. `cpu`: processor time for each of these slots until all have run, the
server's included, in µs. That each slot was fired once, and its function ran once, is verified; ours also has a
record of each. APScheduler, the peer, keeps none; `late` counts until it hands the run over.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measurement import OURS, Absent, Measurement, Row, Run, Samples, Unit, Unverified, interleaved
from bench.peers import SCHEDULERS, PeerFailed, run_with
from bench.postgres.lab import lab
from bench.report import row_of
from bench.stores import fdatasync_ms

STORES = ("memory", "sqlite", "postgres")
PEER = "apscheduler"
PEER_STORES = ("memory", "sqlite")
ADDED = {"add": (10_000, 2_000), "add.concurrent": (10_000, 5_000), "add.bulk": (10_000, 10_000)}
PEER_ADDED = (2_000, 1_000)
STORED = (100_000, 10_000)
PEER_STORED = 10_000
DENSE = 1_000
SLOTS = (10, 4)

Found = Mapping[str, float]
Trial = Callable[[], Found]


def add(how: str, store: str, run: Run) -> Sequence[Row]:
    def trial(who: str) -> Trial:
        number = run.count(*(ADDED[how] if who == OURS else PEER_ADDED))
        what = how.rpartition(".")[2] if who == OURS else "add"
        return lambda: _on_a_new_place(store, run, lambda url: _asked(who, what, url, number))

    return _rows(run, store, trial, {f"schedule.{how}.{store}": ("us", "µs")})


def start(store: str, run: Run) -> Sequence[Row]:
    files: dict[str, Path] = {}

    def trial(who: str) -> Trial:
        number = run.count(*STORED) if who == OURS else PEER_STORED
        return lambda: _on_a_filled_place(store, run, who, number, files)

    names: dict[str, tuple[str, Unit]] = {
        f"schedule.start.{store}": ("ms", "ms"),
        f"schedule.memory.{store}": ("bytes", "B"),
    }
    return _rows(run, store, trial, names)


def late(store: str, run: Run) -> Sequence[Row]:
    def trial(who: str) -> Trial:
        server = lab().pid if store == "postgres" else 0
        words = ("late", DENSE, run.count(*SLOTS), server)
        return lambda: _on_a_new_place(store, run, lambda url: _asked(who, words[0], url, *words[1:]))

    names: dict[str, tuple[str, Unit]] = {
        f"schedule.late.p50.{store}": ("p50", "ms"),
        f"schedule.late.p99.{store}": ("p99", "ms"),
        f"schedule.cpu.{store}": ("cpu", "µs"),
    }
    return _rows(run, store, trial, names)


def _rows(run: Run, store: str, trial: Callable[[str], Trial], names: Mapping[str, tuple[str, Unit]]) -> list[Row]:
    """Everybody in the same rounds; what a trial found goes to the rows of these names, by its key there."""
    found: dict[str, list[Found]] = {OURS: []}
    first = next(iter(names.values()))[0]

    def once(who: str, measured: Trial) -> float:
        answer = measured()
        found.setdefault(who, []).append(answer)
        return answer[first]

    ways = {OURS: partial(once, OURS, trial(OURS))}
    if _has_peer(run, store, next(iter(names))):
        ways[PEER] = partial(once, PEER, trial(PEER))
    taking_part = interleaved(run, next(iter(names)), ways)
    synced = fdatasync_ms(lab().folder if store == "postgres" else run.folder) if store != "memory" else None
    verified = int(sum(answer["verified"] for answer in found[OURS]))
    return [
        row_of(
            name,
            unit,
            {who: Samples(tuple(answer[key] for answer in found[who])) for who in taking_part},
            verified=verified,
            fdatasync=synced,
        )
        for name, (key, unit) in names.items()
    ]


def _has_peer(run: Run, store: str, name: str) -> bool:
    if not run.peers or store not in PEER_STORES:
        return False
    if not SCHEDULERS.installed():
        run.notes.append(f"{name}: {PEER} is not installed (python -m bench --peers)")
        return False
    return True


def _asked(who: str, what: str, url: str, number: int, slots: int = 0, server: int = 0) -> Found:
    """What a contestant finds in a process of its own. Raises Unverified, and Absent when a peer has failed."""
    python = sys.executable if who == OURS else SCHEDULERS.program
    try:
        found = run_with(python, "scheduling", who, what, url, str(number), str(slots), str(server))
    except PeerFailed as error:
        raise (Unverified if who == OURS else Absent)(str(error)) from error
    assert found is not None
    return found


def _on_a_new_place(store: str, run: Run, measured: Callable[[str], Found]) -> Found:
    """Measured on an empty store; on PostgreSQL it has its tables."""
    if store == "memory":
        return measured("memory://")
    if store == "sqlite":
        with _file(run) as file:
            return measured(f"sqlite:///{file}")
    return _on_a_copy(0, measured)


def _on_a_filled_place(store: str, run: Run, who: str, number: int, files: dict[str, Path]) -> Found:
    """How `start` fares; what is filled once is copied for each trial, since one schedule is due only once."""
    if store == "memory":
        return _asked(who, "start", "memory://", number)
    if store == "postgres":
        return _on_a_copy(number, lambda url: _asked(who, "start", url, number))
    if who not in files:
        files[who] = run.folder / f"{who}-filled.db"
        _asked(who, "fill", f"sqlite:///{files[who]}", number)
    with _file(run) as file:
        shutil.copyfile(files[who], file)
        return _asked(who, "start", f"sqlite:///{file}", number)


def _on_a_copy(number: int, measured: Callable[[str], Found]) -> Found:
    here = lab()
    template = here.template((OURS, "schedules", number), lambda url: _filled(url, number))
    with here.copy(template) as database:
        return measured(here.url(database))


def _filled(url: str, number: int) -> None:
    _asked(OURS, "fill", url, number)


@contextmanager
def _file(run: Run) -> Iterator[Path]:
    """A file that is not there yet, and goes with all that is made beside it."""
    with TemporaryDirectory(dir=run.folder) as folder:
        yield Path(folder) / "schedules.db"


MEASUREMENTS = (
    *(Measurement((f"schedule.{how}.{store}",), partial(add, how, store)) for how in ADDED for store in STORES),
    *(Measurement((f"schedule.start.{store}", f"schedule.memory.{store}"), partial(start, store)) for store in STORES),
    *(
        Measurement(
            (f"schedule.late.p50.{store}", f"schedule.late.p99.{store}", f"schedule.cpu.{store}"), partial(late, store)
        )
        for store in STORES
    ),
)
