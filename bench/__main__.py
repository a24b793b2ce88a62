"""`python -m bench [ROW…] [--quick] [--json FILE]`: measure rows by name or prefix, all when none is named."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import peers
from bench.measurement import PeerRunner, Row, Run, Unverified
from bench.pictures import save
from bench.postgres.rows import PEERS
from bench.report import Bar, parts, table, write_json
from bench.rows import NAMES, UnknownRow, measure, select


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every row was measured and verified."""
    asked = _parser().parse_args(arguments)
    if asked.list:
        print("\n".join(NAMES))
        return 0
    if asked.peers:
        for said in peers.install(
            [peers.SMALL, peers.SMALL_313, peers.SCHEDULERS, *(peer.environment for peer in PEERS)]
        ):
            print(said)
        if not asked.rows and not asked.save:
            return 0
    try:
        names = select(asked.rows)
    except UnknownRow as error:
        print(error, file=sys.stderr)
        return 2
    return _measure(names, asked)


def _measure(names: Sequence[str], asked: argparse.Namespace) -> int:
    place = Path(asked.dir) if asked.dir else peers.ROOT / ".cache" / "bench"
    place.mkdir(parents=True, exist_ok=True)
    print(_where(asked.quick, place))
    bar = Bar()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=place, prefix="run-") as folder:
        rounds = asked.rounds or (3 if asked.quick else 5)
        run = Run(
            Path(folder),
            quick=asked.quick,
            rounds=rounds,
            peer=_peers(asked),
            progress=bar,
            peers=not asked.no_peers,
        )
        try:
            for found in measure(names, run):
                rows += found
                bar.clear()
                print(*(f"{row.name}: {row.value:,.4g} {row.unit}" for row in found), sep="\n", file=sys.stderr)
        except Unverified as error:
            bar.clear()
            print(f"not verified: {error}", file=sys.stderr)
            return 1
    bar.clear()
    return _tell(rows, run, asked)


def _tell(rows: Sequence[Row], run: Run, asked: argparse.Namespace) -> int:
    """Print and write; 1 when nothing at all could be measured."""
    if rows:
        print(table(rows))
        print(f"every job ran exactly once; median of {run.rounds} interleaved rounds, min-max beside it")
    for row in rows:
        if row.ways:
            print(f"\n{parts(row)}")
    for note in run.notes:
        print(f"note: {note}")
    if asked.json:
        write_json(rows, Path(asked.json))
    if asked.save:
        print(f"written: {', '.join(save(rows, quick=asked.quick))}")
    return 0 if rows else 1


def _peers(asked: argparse.Namespace) -> PeerRunner:
    if asked.no_peers:
        return peers.no_peers
    if not peers.installed():
        print("peers: skipped, they are not installed (python -m bench --peers)", file=sys.stderr)
        return peers.no_peers
    return peers.run_peer


def _where(quick: bool, place: Path) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    system = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}"
    shown = place.relative_to(peers.ROOT) if place.is_relative_to(peers.ROOT) else place
    return f"{system}, {cores} cores{load}, files in {shown}{', quick' if quick else ''}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="a row, or how rows begin: drain, latency.cross")
    parser.add_argument("--quick", action="store_true", help="under 40 s for any one row, less exact")
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--save", action="store_true", help="keep the rows in bench/results and draw the pictures")
    parser.add_argument("--rounds", type=int, help="how many rounds (5; quick 3)")
    parser.add_argument(
        "--dir",
        metavar="FOLDER",
        help="measure the disk that this is on (default: .cache/bench); a server has its own folder",
    )
    parser.add_argument(
        "--peers", action="store_true", help="install the peers that are missing first, in .cache/peers"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    return parser


if __name__ == "__main__":
    sys.exit(main())
