"""Whether memory stays flat under a steady load with reloads, purges and changed endpoints."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from stand import HERE, Failure, Gateway, Memory, Settings, Stand, about, moved, write_section

MIB = 1 << 20
ALLOWED_SHARE, ALLOWED_MORE = 0.05, 4 * MIB
"""What the last quarter may have above the second one."""
LOOK_EVERY, RELOAD_EVERY, PURGE_EVERY = 5, 10, 10
PORTS = {8080: "gateway", 9901: "admin"}

ENDPOINTS = (
    "[{one}, {two}]",
    "[{one}]",
    "[{two}]",
    '[{{ address: "{one}", weight: 9 }}, {{ address: "{two}", weight: 1 }}]',
)
"""What a cluster's endpoints are in turn."""


@dataclass(frozen=True)
class Sample:
    """Memory at a time since the start."""

    seconds: float
    memory: Memory


@dataclass
class Load:
    """wrk, a minute at a time: with new connections, a new token and some new accounts each."""

    settings: Settings
    stand: Stand
    seconds: float
    rate: int = field(default_factory=lambda: int(os.environ.get("RATE") or 500))
    accounts: int = field(default_factory=lambda: int(os.environ.get("ACCOUNTS") or 500))
    connections: int = field(default_factory=lambda: int(os.environ.get("CONNECTIONS") or 32))
    counts: dict[str, int] = field(default_factory=dict)
    failure: str = ""

    def run(self) -> None:
        """Until the time is over; never fails but notes why."""
        end, number = time.monotonic() + self.seconds, 0
        try:
            while (left := end - time.monotonic()) >= 1:
                self._once(min(60, round(left)), number)
                number += 1
        except (Failure, OSError, subprocess.SubprocessError) as error:
            self.failure = str(error)

    def warm_up(self, seconds: int) -> None:
        """As fast as it goes, uncounted: the stores gather records in memory and sort them out to disk when
        they have enough. At the steady rate the first time comes only after a quarter of an hour."""
        if seconds:
            self._wrk(seconds, 0, rate=1_000_000)

    def _once(self, seconds: int, number: int) -> None:
        result = self._wrk(seconds, number, self.rate)
        self.counts["p99"] = max(self.counts.get("p99", 0), result.pop("p99"))
        for name, count in result.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def _wrk(self, seconds: int, number: int, rate: int) -> dict[str, int]:
        environment = {
            "RATE": str(rate),
            "CONNECTIONS": str(self.connections),
            "ACCOUNTS": str(self.accounts),
            "FIRST": str(number * self.accounts // 5),
            "TOKEN": self.stand.token(f"client-{number % 5}", f"secret-{number % 5}"),
        }
        options = ["-t", "1", "-c", str(self.connections), "--latency"]
        return self.stand.wrk(options, "soak.lua", seconds, environment, prefix=[])


class Soak:
    """The run."""

    def __init__(self, settings: Settings, stand: Stand, minutes: float) -> None:
        self.settings, self.stand, self.seconds = settings, stand, minutes * 60
        ports = {old: settings.port(new) for old, new in PORTS.items()}
        ports |= {7101 + number: settings.port("bank") + number for number in range(7)}
        ports |= {7111 + number: settings.port("second-bank") + number for number in range(7)}
        self.config = moved((HERE / "soak.yaml").read_text(), ports)
        self.load = Load(settings, stand, self.seconds)
        self.warm_up = int(os.environ.get("WARM_UP") or 300)
        self.samples: list[Sample] = []
        self.reloads = self.purges = 0
        self.panics = 0.0

    def run(self) -> None:
        """Loads, changes and looks until the time is over."""
        with self.stand.gateway(self._variant(0), "soak") as gateway:
            self.load.warm_up(self.warm_up)
            load = threading.Thread(target=self.load.run, daemon=True)
            started = time.monotonic()
            load.start()
            for tick in range(1, int(self.seconds // LOOK_EVERY) + 1):
                time.sleep(max(0.0, started + tick * LOOK_EVERY - time.monotonic()))
                if self.load.failure:
                    raise Failure(self.load.failure)
                now = tick * LOOK_EVERY
                self.samples.append(Sample(time.monotonic() - started, gateway.memory()))
                # Looks come first, and purges between reloads.
                if now % RELOAD_EVERY == 0:
                    self._reload(gateway)
                if (now + LOOK_EVERY) % PURGE_EVERY == 0:
                    self._purge(gateway)
                if now % 60 == 0:
                    memory = self.samples[-1].memory
                    print(f"{now // 60:3} min: {memory.rss / MIB:.1f} MiB", file=sys.stderr, flush=True)
            load.join(120)
            if self.load.failure:
                raise Failure(self.load.failure)
            self.panics = gateway.metric("tollgate_panics_total")
            failed = gateway.metric("tollgate_reloads_total", 'ok="false"')
            if failed:
                raise Failure(f"{failed:.0f} reloads were refused; the log ends with:\n{gateway.tail()}")

    def _variant(self, number: int) -> str:
        shape = ENDPOINTS[number % len(ENDPOINTS)]

        def endpoints(found: re.Match[str]) -> str:
            return "endpoints: " + shape.format(one=found[1], two=found[2])

        return re.sub(r"endpoints: \[([\d.:]+), ([\d.:]+)\]", endpoints, self.config)

    def _reload(self, gateway: Gateway) -> None:
        self.reloads += 1
        gateway.config.write_text(self._variant(self.reloads))
        gateway.call("/reload", {})

    def _purge(self, gateway: Gateway) -> None:
        what = ({"account": "account-7"}, {"route": "balance"}, {"route": "summary"}, {"all": True})
        gateway.call("/cache/purge", what[self.purges % len(what)])
        self.purges += 1

    def quarter(self, number: int) -> list[int]:
        """Resident bytes in the first (0) to last (3) quarter."""
        quarter = self.seconds / 4
        return [
            one.memory.rss
            for one in self.samples
            if number * quarter < one.seconds <= (number + 1) * quarter + 1
        ]

    def mean(self, number: int) -> float:
        """Of a quarter."""
        values = self.quarter(number)
        return sum(values) / len(values)

    @property
    def bound(self) -> float:
        """What the last quarter may have."""
        return self.mean(1) * (1 + ALLOWED_SHARE) + ALLOWED_MORE

    def faults(self) -> list[str]:
        """What is not as it must be."""
        faults = []
        if self.mean(3) > self.bound:
            faults.append(
                f"memory grew: {self.mean(3) / MIB:.1f} MiB where {self.bound / MIB:.1f} are allowed"
            )
        counts = self.load.counts
        if counts["other"] or counts["broken"]:
            faults.append(
                f"{counts['other']} answers had a status that nothing explains, {counts['broken']} broke off"
            )
        sent = sum(counts[name] for name in ("200", "401", "404"))
        if sent < self.load.rate * self.seconds * 0.7:
            faults.append(f"only {sent / self.seconds:.0f} requests a second were sent, not {self.load.rate}")
        if self.panics:
            faults.append(f"{self.panics:.0f} panics")
        return faults

    def section(self, faults: list[str]) -> str:
        """What stands in the docs."""
        minutes = self.seconds / 240
        rows = []
        for number in range(4):
            values = self.quarter(number)
            span = f"{number * minutes:g} to {(number + 1) * minutes:g}"
            rows.append(
                f"| {span} | {self.mean(number) / MIB:.1f} | {min(values) / MIB:.1f} | {max(values) / MIB:.1f} |"
            )
        counts = self.load.counts
        answers = counts["200"] + counts["401"] + counts["404"]
        verdict = f"**Failed**: {'; '.join(faults)}" if faults else "Passed"
        return f"""\
<!-- Written by `make soak`; what is changed by hand here is lost. -->

![Resident memory over {minutes * 4:g} minutes](performance/soak.svg)

| minutes | RSS, mean (MiB) | least | most |
|---|---|---|---|
{chr(10).join(rows)}

{verdict}. Allowed in the last quarter: the second one's mean, 5 % and 4 MiB, which is {self.bound / MIB:.1f} MiB.
It began after {self.warm_up} s of load as fast as it went. Meanwhile {self.reloads} reloads, each with other endpoints; {self.purges} purges (an account, a route, all); and {answers:,}
answers ({answers / self.seconds:.0f} a second), of which {counts["401"]:,} refused a forged token and {counts["404"]:,} an
unknown path; {counts["other"] + counts["broken"]} went wrong. RSS is what the kernel says in `smaps_rollup` every {LOOK_EVERY} s. On
{about()}.
"""

    def chart(self) -> str:
        """Resident memory over time, as SVG."""
        width, height, left, right, top, bottom = 860, 280, 56, 16, 48, 36
        most = max(one.memory.rss for one in self.samples) / MIB * 1.15
        step = next(step for step in (5, 10, 20, 25, 50, 100, 200, 500, 1000, 5000) if most / step <= 6)

        def x(seconds: float) -> float:
            return left + (width - left - right) * seconds / self.seconds

        def y(mib: float) -> float:
            return height - bottom - (height - top - bottom) * mib / most

        font = "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\""
        title = f"Resident memory in MiB: {self.seconds / 60:g} minutes, {self.reloads} reloads, {self.purges} purges"
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{escape(title)}" {font}>',
            # A ground of its own, so that it can be read on light and dark pages.
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            f'<text x="16" y="26" font-size="15" font-weight="600" fill="#1f2328">{escape(title)}</text>',
        ]
        for mark in range(0, int(most) + 1, step):
            parts.append(
                f'<line x1="{left}" y1="{y(mark):.1f}" x2="{width - right}" y2="{y(mark):.1f}" stroke="#d1d9e0"/>'
                f'<text x="{left - 8}" y="{y(mark) + 4:.1f}" font-size="11" fill="#59636e" text-anchor="end">{mark}</text>'
            )
        for quarter in range(5):
            seconds = self.seconds * quarter / 4
            parts.append(
                f'<text x="{x(seconds):.1f}" y="{height - 14}" font-size="11" fill="#59636e" '
                f'text-anchor="{"end" if quarter == 4 else "middle"}">{seconds / 60:g} min</text>'
            )
        for quarter, colour in ((1, "#0072b2"), (3, "#009e73")):
            start, end, mean = (
                self.seconds * quarter / 4,
                self.seconds * (quarter + 1) / 4,
                self.mean(quarter) / MIB,
            )
            parts.append(
                f'<line x1="{x(start):.1f}" y1="{y(mean):.1f}" x2="{x(end):.1f}" y2="{y(mean):.1f}" '
                f'stroke="{colour}" stroke-width="6" stroke-opacity="0.35"/>'
                f'<text x="{x((start + end) / 2):.1f}" y="{y(mean) - 10:.1f}" font-size="12" fill="{colour}" '
                f'text-anchor="middle">mean {mean:.1f}</text>'
            )
        points = " ".join(f"{x(one.seconds):.1f},{y(one.memory.rss / MIB):.1f}" for one in self.samples)
        parts.append(f'<polyline points="{points}" fill="none" stroke="#d55e00" stroke-width="1.5"/>')
        return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    """What the command line asks for."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = Settings()
    minutes = float(os.environ.get("MINUTES") or 20)
    try:
        with Stand(settings) as stand:
            stand.bank("5ms")
            stand.bank("5ms", name="second-bank")
            soak = Soak(settings, stand, minutes)
            soak.run()
        faults = soak.faults()
        text, chart = soak.section(faults), soak.chart()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    samples = [{"seconds": one.seconds, **vars(one.memory)} for one in soak.samples]
    (settings.output / "soak.json").write_text(json.dumps(samples, indent=1) + "\n")
    picture: Path = settings.output / "soak.svg"
    if settings.write:
        picture = settings.docs / "performance" / "soak.svg"
        write_section(settings, "soak", text, "Memory over time")
    picture.write_text(chart)
    print(text)
    print(f"The chart: {picture}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
