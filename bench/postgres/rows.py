"""drain.postgres, drain.2proc.postgres, enqueue.*.postgres, latency.*.postgres.

Everybody runs as programs of their own and is measured from outside: the server and its settings (durable, as they come),
the tables' state and the clock are the same for all. A peer's count of jobs is about two seconds' worth of its work.

`drain`: from the start of the first job until the tables say that all are done. `2proc`: with two worker processes.
`enqueue.one`: one after the other; `concurrent`: 100 callers; `bulk`: what there is for many. `latency`: a client
process and a worker process, one job every 20 ms, all samples of all rounds together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median, quantiles

from bench.measurement import OURS as NAME
from bench.measurement import Measurement, Row, Run, Samples, Way, interleaved
from bench.peers import Peer
from bench.peers.absurd import PEER as ABSURD
from bench.peers.awa import PEER as AWA
from bench.peers.dbos import PEER as DBOS
from bench.peers.oban import PEER as OBAN
from bench.peers.pgqueuer import PEER as PGQUEUER
from bench.peers.procrastinate import PEER as PROCRASTINATE
from bench.postgres import trial
from bench.postgres.lab import Lab, lab
from bench.postgres.trial import OURS, Contestant
from bench.postgres.usage import Usage
from bench.report import row_of
from bench.stores import fdatasync_ms
from bench.work import CONCURRENCY

PEERS: tuple[Peer, ...] = (PGQUEUER, AWA, OBAN, PROCRASTINATE, DBOS, ABSURD)
BARE = replace(OURS, name="bare loop", module="bench.postgres.bare", marks=False)
JOBS = {"drain": (60_000, 20_000), "one": (5_000, 1_500), "concurrent": (50_000, 15_000), "bulk": (100_000, 30_000)}
QUICK = 0.4  # of a peer's jobs
SAMPLES = (400, 80)  # of a round
WARM_UP = 5
LEVELS = {"p50": 49, "p99": 98}
GUARANTEE = "at least once, by lease and heartbeat; a crash runs again what was not settled yet; ended jobs are kept"
BARE_GUARANTEE = "none: claimed rows of a dead process stay so"

Measured = Callable[[], Usage]


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody in a row: how many jobs in these settings, and what measures it once."""

    jobs: int
    settings: str
    guarantee: str
    version: str
    once: Measured


def drain(processes: int, run: Run) -> Sequence[Row]:
    here, jobs = lab(), run.count(*JOBS["drain"])
    name = "drain.postgres" if processes == 1 else f"drain.{processes}proc.postgres"

    def once(who: Contestant, number: int, purpose: str = "drain") -> Measured:
        return partial(trial.drain, here, who, number, run.folder, processes=processes, purpose=purpose)

    entries = {NAME: Entry(jobs, f"concurrency={CONCURRENCY}", GUARANTEE, "", once(OURS, jobs))}
    if processes > 1:
        alone = partial(trial.drain, here, OURS, jobs, run.folder)
        entries[f"{NAME}, 1 process"] = Entry(jobs, f"concurrency={CONCURRENCY}", GUARANTEE, "", alone)
    for batch in ("1000",) if run.quick else ("100", "1000"):
        entries[f"bare loop by {batch}"] = Entry(jobs, f"batch={batch}", BARE_GUARANTEE, "", once(BARE, jobs, batch))
    for peer in taking_part(run, "drain", "drain" if processes == 1 else "2proc"):
        number = _number(run, peer, "drain")
        entries[peer.name] = _entry(peer, "drain", number, once(Contestant.of(peer), number))
    return [_row(run, here, name, entries)]


def enqueue(how: str, run: Run) -> Sequence[Row]:
    here, jobs = lab(), run.count(*JOBS[how])

    def once(who: Contestant, number: int, manner: str = how) -> Measured:
        return partial(trial.enqueue, here, who, manner, number)

    def ours() -> Usage:
        return trial.enqueue(here, OURS, how, jobs, run.folder)

    bare, said = {
        "one": ("one", "single INSERT"),
        "concurrent": ("bulk100", "INSERT of 100"),
        "bulk": ("bulk", "COPY of 10,000"),
    }[how]
    entries = {
        NAME: Entry(jobs, "", GUARANTEE, "", ours),
        "bare loop": Entry(jobs, said, BARE_GUARANTEE, "", once(BARE, jobs, bare)),
    }
    for peer in taking_part(run, how, how):
        number = _number(run, peer, how)
        entries[peer.name] = _entry(peer, how, number, once(Contestant.of(peer), number))
    return [_row(run, here, f"enqueue.{how}.postgres", entries)]


def latency(run: Run) -> Sequence[Row]:
    here, jobs = lab(), run.count(*SAMPLES)
    waits: dict[str, list[float]] = defaultdict(list)
    tails: dict[str, list[float]] = defaultdict(list)

    def once(who: Contestant, number: int) -> Callable[[], float]:
        def sample() -> float:
            found = trial.latency(here, who, number + WARM_UP, run.folder)[WARM_UP:]
            waits[who.name] += found
            tails[who.name].append(level(found, "p99"))
            return level(found, "p50")

        return sample

    peers = {peer.name: peer for peer in taking_part(run, "latency", "latency")}
    counts = {NAME: jobs} | {name: min(jobs, peer.jobs["latency"]) for name, peer in peers.items()}
    ways = {NAME: once(OURS, jobs)} | {name: once(Contestant.of(peer), counts[name]) for name, peer in peers.items()}
    halves = interleaved(run, "latency.postgres", ways)
    found = {"p50": halves, "p99": {who: Samples(tuple(tails[who])) for who in halves}}
    return [_latency_row(here, name, found[name], waits, peers) for name in LEVELS]


def level(waits: Sequence[float], name: str) -> float:
    """A quantile by its name.

    >>> level([float(n) for n in range(101)], "p99")
    99.0
    """
    return quantiles(waits, n=100, method="inclusive")[LEVELS[name]]


def taking_part(run: Run, what: str, row: str) -> list[Peer]:
    """The peers that can do this and are installed; in a quick run only the fastest. Those left out are noted."""
    if not run.peers:
        return []
    able = [peer for peer in PEERS if what in peer.jobs and (not run.quick or row in peer.quick)]
    missing = [peer.name for peer in able if not peer.environment.installed()]
    if missing:
        _note(run, f"not installed, so not compared with: {', '.join(missing)} (python -m bench --peers)")
    if run.quick and len(PEERS) > len(able):
        _note(run, "a quick run compares with the fastest peers only")
    return [peer for peer in able if peer.name not in missing]


def _row(run: Run, here: Lab, name: str, entries: Mapping[str, Entry]) -> Row:
    """Measure these in the same rounds; ours over the best bare loop, and over the best peer."""
    usages: dict[str, list[Usage]] = defaultdict(list)

    def rate(who: str, entry: Entry) -> float:
        usage = entry.once()
        usages[who].append(usage)
        return usage.rate

    ways = {who: partial(rate, who, entry) for who, entry in entries.items()}
    samples = interleaved(run, name, ways)
    bare = max(
        (who for who in samples if who.startswith("bare loop")), key=lambda who: samples[who].median, default=None
    )
    compared = {who: found for who, found in samples.items() if who == NAME or who in {peer.name for peer in PEERS}}
    if bare is not None:
        compared["bare loop"] = samples[bare]
    verified = entries[NAME].jobs * len(samples[NAME].values)
    row = row_of(name, "jobs/s", compared, verified=verified, fdatasync=fdatasync_ms(here.folder))
    shown = tuple(_way(who, found, entries[who], usages[who]) for who, found in samples.items())
    mine = shown[0]
    return replace(
        row,
        worker_us=mine.worker_us,
        server_us=mine.server_us,
        wal_bytes=mine.wal_bytes,
        commits=mine.commits,
        ways=shown,
    )


def _latency_row(
    here: Lab,
    name: str,
    samples: Mapping[str, Samples],
    waits: Mapping[str, Sequence[float]],
    peers: Mapping[str, Peer],
) -> Row:
    """The value is that of all samples together; the range is that of the rounds."""
    row = row_of(
        f"latency.{name}.postgres", "ms", samples, verified=len(waits[NAME]), fdatasync=fdatasync_ms(here.folder)
    )
    pooled = {who: level(waits[who], name) for who in samples}
    best = min((who for who in pooled if who != NAME), key=lambda who: pooled[who], default=None)
    return replace(
        row,
        value=pooled[NAME],
        peer=best,
        peer_value=pooled[best] if best else None,
        peer_ratio=pooled[best] / pooled[NAME] if best else None,
        ways=tuple(
            Way(
                name=who,
                value=pooled[who],
                low=min(found.values),
                high=max(found.values),
                jobs=len(waits[who]),
                settings=peers[who].settings.get("latency", "") if who in peers else f"concurrency={CONCURRENCY}",
                guarantee=peers[who].guarantee if who in peers else GUARANTEE,
                version=_version(peers[who]) if who in peers else "",
            )
            for who, found in samples.items()
        ),
    )


def _way(who: str, found: Samples, entry: Entry, usages: Sequence[Usage]) -> Way:
    return Way(
        name=who,
        value=found.median,
        low=min(found.values),
        high=max(found.values),
        jobs=entry.jobs,
        settings=entry.settings,
        guarantee=entry.guarantee,
        version=entry.version,
        worker_us=median(usage.worker_us for usage in usages),
        server_us=median(usage.server_us for usage in usages),
        cores=median(usage.cores for usage in usages),
        wal_bytes=median(usage.wal_bytes for usage in usages),
        commits=median(usage.commits for usage in usages),
    )


def _entry(peer: Peer, what: str, number: int, once: Measured) -> Entry:
    return Entry(number, peer.settings.get(what, ""), peer.guarantee, _version(peer), once)


def _version(peer: Peer) -> str:
    return peer.environment.packages[0].rpartition("=")[2]


def _number(run: Run, peer: Peer, what: str) -> int:
    return run.count(peer.jobs[what], int(peer.jobs[what] * QUICK))


def _note(run: Run, text: str) -> None:
    if text not in run.notes:
        run.notes.append(text)


MEASUREMENTS = (
    Measurement(("drain.postgres",), partial(drain, 1)),
    Measurement(("drain.2proc.postgres",), partial(drain, 2)),
    *(Measurement((f"enqueue.{how}.postgres",), partial(enqueue, how)) for how in ("one", "concurrent", "bulk")),
    Measurement(tuple(f"latency.{name}.postgres" for name in LEVELS), latency),
)
