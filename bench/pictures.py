"""Keeps results (`bench/results/*.json`) and draws them as bars: SVG by hand, readable on light and dark pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.measurement import Row
from bench.peers import ROOT
from bench.report import as_json, number

RESULTS = ROOT / "bench" / "results"
QUICK = ROOT / ".cache" / "bench" / "quick.json"
PICTURES = ROOT / "docs" / "pictures"
WIDTH, LEFT, RIGHT = 720, 170, 130  # of the picture, of the names, of the numbers
BAR, GAP, TITLE = 18, 6, 34
OURS, BARE, PEER = "#0f766e", "#9ca3af", "#d97706"
TEXT = "#6b7280"  # between the two backgrounds
TITLES = {
    "drain.postgres": "Jobs run per second, one worker process, PostgreSQL (more is better)",
    "drain.2proc.postgres": "Jobs run per second, two worker processes, PostgreSQL (more is better)",
    "enqueue.one.postgres": "Jobs stored per second, each awaited, PostgreSQL (more is better)",
    "enqueue.concurrent.postgres": "Jobs stored per second by 100 callers, PostgreSQL (more is better)",
    "enqueue.bulk.postgres": "Jobs stored per second in bulk, PostgreSQL (more is better)",
    "latency.p50.postgres": "Milliseconds from enqueue to start, median, PostgreSQL (less is better)",
}


def save(rows: Sequence[Row], *, quick: bool) -> list[str]:
    """Keep these rows beside those of earlier runs, and draw all that are kept; which files were written.

    Quick rows are kept apart, outside the repository, and not drawn.
    """
    kept = QUICK if quick else RESULTS / "latest.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    before: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    measured: list[dict[str, Any]] = json.loads(as_json(rows))
    names = {row["name"] for row in measured}
    everything = [row for row in before if row["name"] not in names] + measured
    kept.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written = [kept]
    if not quick:
        PICTURES.mkdir(parents=True, exist_ok=True)
        for row in everything:
            if row["name"] in TITLES and row.get("ways"):
                file = PICTURES / f"bench-{row['name'].replace('.', '-')}.svg"
                file.write_text(bars(TITLES[row["name"]], row), encoding="utf-8")
                written.append(file)
    return [str(file.relative_to(ROOT)) for file in written]


def bars(title: str, row: Mapping[str, Any]) -> str:
    """One bar for each that took part, the best first; a thin line from the worst to the best round.

    >>> way = {"name": "mainspring", "value": 40000.0, "low": 39000.0, "high": 41000.0}
    >>> svg = bars("Jobs per second", {"unit": "jobs/s", "ways": [way]})
    >>> svg.count("<rect"), "40,000" in svg
    (1, True)
    """
    ways = sorted(row["ways"], key=lambda way: way["value"], reverse=row["unit"] == "jobs/s")
    most = max(way["high"] for way in ways)
    height = TITLE + len(ways) * (BAR + GAP) + GAP
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    said = escape(_read_aloud(title, ways, row["unit"]))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{said}">',
        f'<g font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}">',
        f'<text x="0" y="18" font-size="14" font-weight="600">{escape(title)}</text>',
    ]
    for place, way in enumerate(ways):
        lines += _bar(TITLE + place * (BAR + GAP), way, most)
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _bar(top: int, way: Mapping[str, Any], most: float) -> list[str]:
    def x(value: float) -> float:
        return round((WIDTH - LEFT - RIGHT) * value / most, 1)

    name, middle = way["name"], top + BAR / 2
    colour = OURS if name.startswith("mainspring") else BARE if name.startswith("bare") else PEER
    weight = ' font-weight="600"' if name.startswith("mainspring") else ""
    return [
        f'<text x="{LEFT - 8}" y="{middle + 4.5:g}" text-anchor="end"{weight}>{escape(name)}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{max(x(way["value"]), 1)}" height="{BAR}" rx="2" fill="{colour}"/>',
        f'<path d="M{LEFT + x(way["low"])} {middle:g}H{LEFT + x(way["high"])}" stroke="{TEXT}" stroke-width="2"/>',
        f'<text x="{LEFT + x(way["high"]) + 8}" y="{middle + 4.5:g}"{weight}>{number(way["value"])}</text>',
    ]


def _read_aloud(title: str, ways: Sequence[Mapping[str, Any]], unit: str) -> str:
    return f"{title}: " + ", ".join(f"{way['name']} {number(way['value'])} {unit}" for way in ways)
