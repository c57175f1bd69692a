"""From runs to medians, and to the section of docs/performance.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chart

BEGIN, END = "<!-- compare -->", "<!-- /compare -->"
BASE = "bare"
"""The peer that others are told in multiples of."""


@dataclass(frozen=True)
class Spread:
    """Several figures of the same thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: list[float]) -> Spread:
        """Of these."""
        return cls(statistics.median(figures), min(figures), max(figures))

    @property
    def half(self) -> float:
        """Half of what lies between the smallest and the largest."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Cell:
    """What one peer did at one work."""

    cpu: Spread
    p50: Spread
    p99: Spread
    per_second: Spread
    busy: Spread
    parts: dict[str, float]
    runs: int


Cells = dict[tuple[str, str], Cell]


def summarise(runs: list[dict[str, Any]]) -> Cells:
    """Medians by work and peer."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["work"], run["peer"]), []).append(run)
    return {key: _cell(group) for key, group in groups.items()}


def _cell(runs: list[dict[str, Any]]) -> Cell:
    def spread(name: str) -> Spread:
        return Spread.of([run[name] for run in runs])

    parts = {label: statistics.median(run["parts"][label] for run in runs) for label in runs[0]["parts"]}
    return Cell(
        spread("cpu"), spread("p50"), spread("p99"), spread("per_second"), spread("busy"), parts, len(runs)
    )


def write(data: dict[str, Any], docs: Path) -> None:
    """Figures, chart and table below this folder."""
    cells = summarise(data["runs"])
    folder = docs / "performance"
    folder.mkdir(exist_ok=True)
    data = {**data, "summary": _as_json(cells)}
    (folder / "compare.json").write_text(json.dumps(data, indent=1) + "\n")
    (folder / "compare.svg").write_text(draw(data, cells))
    page = docs / "performance.md"
    page.write_text(replace(page.read_text(), section(data, cells)))


def _as_json(cells: Cells) -> dict[str, dict[str, Any]]:
    summary: dict[str, dict[str, Any]] = {}
    for (work, peer), cell in cells.items():
        spreads = {
            name: {"median": spread.median, "low": spread.low, "high": spread.high}
            for name, spread in vars(cell).items()
            if isinstance(spread, Spread)
        }
        summary.setdefault(work, {})[peer] = {**spreads, "parts": cell.parts, "runs": cell.runs}
    return summary


def replace(page: str, text: str) -> str:
    """The page with this between its marks; a page without them gets a section of its own."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return f"{before}{BEGIN}\n{text}{END}{after}"
    return f"{page.rstrip()}\n\n## Against its peers\n\n{BEGIN}\n{text}{END}\n"


def section(data: dict[str, Any], cells: Cells) -> str:
    """What stands between the marks."""
    machine, asked = data["machine"], data["settings"]

    def cpu(cell: Cell, work: str) -> str:
        base = cells.get((work, BASE))
        ratio = f" ({cell.cpu.median / base.cpu.median:.2f} x)" if base else ""
        return f"{figure(cell.cpu.median)} ±{figure(cell.cpu.half)}{ratio}{_fewer(cell, asked)}"

    def speed(cell: Cell, _: str) -> str:
        times = f"{cell.p50.median / 1000:.2f} / {cell.p99.median / 1000:.2f} ms"
        return f"{times}, {cell.per_second.median:,.0f}/s, {cell.busy.median:.0%}"

    tables = [_table(data, cells, cell) for cell in (cpu, speed)]
    return f"""\
<!-- Written by `make compare`; what is changed by hand here is lost. -->

![CPU per request by work and peer](performance/compare.svg)

µs of CPU per request: median of {asked["repeats"]} runs of {asked["seconds"]} s, ± half of what lies between the
smallest and the largest, and in multiples of bare Pingora's in the same row:

{tables[0]}
p50 / p99, requests per second, and how much of its core the peer used. The load is closed
({asked["connections"]} requests at once) and shares the other core with the backend: where a peer did not use its
core whole, latency and throughput are those of the load, and only the CPU compares.

{tables[1]}
Measured on {data["time"][:10]}, {machine["cpu"]}, {machine["cores"]} cores, Linux {machine["kernel"]}; every run
stands in [compare.json](performance/compare.json). Each run starts its peer anew, with one thread that serves, on
a core of its own; peers take turns within each repeat. CPU is user and system time of all its processes, as the
operating system counts it. Each configuration is what the peer's own documentation advises, and stands in
[load-tests/compare/peers](../load-tests/compare/peers) with the reasons: object there. Before anything is
measured, each peer is shown to answer as the backend does, to refuse tokens that are forged, expired, another
issuer's or without the scope, to limit a rate, to answer hits without the backend, and to keep its connections.

- **Bare Pingora** (`load-tests/bench-peer.rs`, built with Tollgate's flags) has no policies, no log, no cache and
  no routes: in every row it passes that row's request on, as one call.
- **Access logs** are made by all others, and written to `/dev/null`.{_log_share(data, cells)}
- **TLS** is 1.3 with AES-128-GCM, X25519 and a P-256 certificate everywhere. Session tickets are given by all;
  the load resumes none, so each new connection is a full handshake.
- **Tokens**: where each is new, none is sent twice to the same process. Envoy's and Tollgate's caches of verified
  tokens are on in all rows; HAProxy has none. The rate is kept for each client.
- **Cache hits** are of one path, without a token; **routes** are all asked for alike.
- **Envoy's cache** is called a work in progress, not ready for deployment, by its documentation.
"""


def _fewer(cell: Cell, asked: dict[str, Any]) -> str:
    """Says so where runs failed."""
    return "" if cell.runs == asked["repeats"] else f" ({cell.runs} runs)"


def _table(data: dict[str, Any], cells: Cells, show: Callable[[Cell, str], str]) -> str:
    peers = data["peers"]
    lines = [
        "| work | " + " | ".join(f"{peer['title']} {peer['version']}" for peer in peers) + " |",
        "|---" * (len(peers) + 1) + "|",
    ]
    for work in data["works"]:
        row = []
        for peer in peers:
            cell = cells.get((work["name"], peer["name"]))
            row.append(show(cell, work["name"]) if cell else work["cannot"].get(peer["name"], ""))
        lines.append(f"| {work['title']} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _log_share(data: dict[str, Any], cells: Cells) -> str:
    """What the program that writes Varnish's log took."""
    shares = [
        f"{figure(cell.parts['varnishncsa'])} ({work['title']})"
        for work in data["works"]
        if (cell := cells.get((work["name"], "varnish"))) and "varnishncsa" in cell.parts
    ]
    if not shares:
        return ""
    return f" Varnish leaves its to\n  varnishncsa, whose µs are part of its figures: {', '.join(shares)}."


def figure(value: float) -> str:
    """Three digits are what the measuring can tell."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def draw(data: dict[str, Any], cells: Cells) -> str:
    """The chart of CPU per request."""
    titles = {peer["name"]: peer["title"] for peer in data["peers"]}
    colours = {peer["name"]: peer["colour"] for peer in data["peers"]}
    groups = []
    for work in data["works"]:
        bars = [
            chart.Bar(titles[name], colours[name], cell.cpu.median, cell.cpu.low, cell.cpu.high)
            for name in titles
            if (cell := cells.get((work["name"], name)))
        ]
        groups.append(chart.Group(work["title"], bars))
    return chart.draw(groups, [(title, colours[name]) for name, title in titles.items()])
