"""The headline: cached reads a minute on the whole machine, and a cached read against a cold one."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

from clients import read_answer
from stand import REPOSITORY, Failure, Gateway, Settings, Stand, about, cpu, moved, write_section

READS_A_MINUTE = 4_000_000
RATIO = 1000
PORTS = {8080: "gateway", 9901: "admin", 7106: "identity", 7201: "backend"}


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


# ---- reads a minute


@dataclass(frozen=True)
class Layout:
    """Which cores do what, and how much is asked at once."""

    gateway: tuple[int, ...]
    load: tuple[int, ...]
    threads: int
    connections: int

    def __str__(self) -> str:
        """For people."""
        shared = set(self.gateway) & set(self.load)
        apart = f"gateway on {len(self.gateway)}, load on {len(self.load)} of the cores"
        threads = "a thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{'both on all cores' if shared else apart}, {self.connections} connections by {threads} of wrk"
        )


@dataclass(frozen=True)
class Load:
    """What a run of wrk came to."""

    requests: int
    seconds: float
    p50: float
    p99: float
    gateway_cpu: float
    load_cpu: float

    @property
    def a_minute(self) -> float:
        """Requests."""
        return self.requests * 60 / self.seconds


class Reads:
    """Cached account reads, everything on."""

    def __init__(self, settings: Settings, stand: Stand) -> None:
        self.settings, self.stand = settings, stand
        self.accounts = int(os.environ.get("ACCOUNTS") or 1000)
        self.probe = int(os.environ.get("PROBE_SECONDS") or 4)
        self.seconds = int(os.environ.get("SECONDS_EACH") or 60)
        made = subprocess.run(
            [str(REPOSITORY / "load-tests" / "bench" / "config.sh"), "1"],
            capture_output=True,
            text=True,
            check=True,
        )
        self.config = moved(made.stdout, {old: settings.port(new) for old, new in PORTS.items()})
        self.token = stand.token()

    def layouts(self) -> list[Layout]:
        """Those that are tried: all cores for both, or a part for each."""
        cores = sorted(os.sched_getaffinity(0))
        splits = [(cores, cores, threads) for threads in sorted({1, len(cores)})]
        for load in sorted({1, len(cores) // 4, len(cores) // 2}):
            if 0 < load < len(cores):
                splits.append((cores[:-load], cores[-load:], load))
        wanted = os.environ.get("CONNECTIONS") or "16,32,64,128,256"
        counts = [int(word) for word in wanted.split(",")]
        return [
            Layout(tuple(one), tuple(two), min(threads, count), count)
            for (one, two, threads), count in product(splits, counts)
        ]

    def run(self) -> tuple[Layout, Load, float]:
        """The best layout, what it came to in a minute, and lines of the access log that were dropped."""
        best: tuple[float, Layout] | None = None
        layouts = self.layouts()
        for number, layout in enumerate(layouts):
            with self._gateway(layout, f"probe-{number}"):
                load = self._load(layout, self.probe)
            print(f"{layout}: {load.a_minute:,.0f} a minute", file=sys.stderr, flush=True)
            if best is None or load.a_minute > best[0]:
                best = (load.a_minute, layout)
        assert best is not None
        layout = best[1]
        with self._gateway(layout, "reads") as gateway:
            before = gateway.metric("tollgate_cache_operations_total", 'operation="memory_hit"')
            load = self._load(layout, self.seconds, gateway)
            hits = gateway.metric("tollgate_cache_operations_total", 'operation="memory_hit"') - before
            dropped = gateway.metric("tollgate_access_log_dropped_total")
        # The last answers of each connection are counted here and not by wrk.
        if hits < load.requests:
            raise Failure(f"only {hits:,.0f} of {load.requests:,} answers came from memory")
        return layout, load, dropped

    def _gateway(self, layout: Layout, name: str) -> AbstractContextManager[Gateway]:
        return self.stand.gateway(self.config, name, cores=set(layout.gateway))

    def _load(self, layout: Layout, seconds: int, gateway: Gateway | None = None) -> Load:
        self._keep_all(layout)
        before = cpu(gateway.pid) if gateway else 0
        children = os.times()
        result = self._wrk(layout, seconds)
        now = os.times()
        load_cpu = now.children_user + now.children_system - children.children_user - children.children_system
        return Load(
            result["requests"],
            result["microseconds"] / 1e6,
            result["p50"] / 1e3,
            result["p99"] / 1e3,
            cpu(gateway.pid) - before if gateway else 0,
            load_cpu,
        )

    def _keep_all(self, layout: Layout) -> None:
        """Reads until each thread has been once and a half through the accounts: nothing counts before."""
        left = self.accounts * layout.threads * 1.5
        while left > 0:
            left -= self._wrk(layout, 1)["requests"]

    def _wrk(self, layout: Layout, seconds: int) -> dict[str, int]:
        environment = {"ACCOUNTS": str(self.accounts), "TOKEN": self.token, "READ_PATH": "/cached/account-%d"}
        result = self.stand.wrk(
            ["-t", str(layout.threads), "-c", str(layout.connections)],
            "reads.lua",
            seconds,
            environment,
            prefix=["taskset", "-c", ",".join(map(str, layout.load))],
        )
        if result["errors"] or result["refused"] or not result["requests"]:
            raise Failure(f"requests failed: {json.dumps(result)}")
        return result


# ---- cold and cached


@dataclass(frozen=True)
class Times:
    """Milliseconds of the gateway's, from a request's head to its answer's end."""

    cold: list[float]
    cached: list[float]
    stages: dict[str, float]
    """Microseconds, medians of the cached reads."""

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return statistics.median(self.cold) / statistics.median(self.cached)


class Ratio:
    """The demo's summary of five services that take 100 ms each."""

    KINDS = {
        "busy": "quota fast, without a pause",
        "fast": "quota fast",
        "strict": "quota strict, as it stands: each use is on disk first",
        "present": "the customer is there: not counted",
    }

    def __init__(self, settings: Settings, stand: Stand) -> None:
        self.settings, self.stand = settings, stand
        self.accounts = int(os.environ.get("COLD_READS") or 100)
        self.pause = float(os.environ.get("PAUSE") or 0.01)
        self.demo = (REPOSITORY / "conf" / "demo.yaml").read_text()
        ports = {old: settings.port(new) for old, new in PORTS.items()}
        ports |= {7101 + number: settings.port("bank") + number for number in range(7)}
        self.demo = moved(self.demo, ports)

    def take(self, kind: str) -> Times:
        """One cold read and three cached ones of each account, one after the other."""
        config, pause = self.demo, self.pause
        if kind in ("busy", "fast"):
            config = self._replaced(config, "accuracy: strict", "accuracy: { fast: 4 }")
        if kind == "busy":
            config = self._replaced(config, "rate: 100/s, burst: 200", "rate: 1000000/s, burst: 1000000")
            pause = 0
        fields = f"authorization: Bearer {self.stand.token()}\r\n"
        if kind == "present":
            fields += "x-fapi-customer-ip-address: 203.0.113.7\r\n"
        with self.stand.gateway(config, f"demo-{kind}") as gateway:
            self._read(fields, pause)
            lines = self._lines(gateway)
        told: dict[str, list[dict[str, Any]]] = {"backends": [], "cache": []}
        for line in lines:
            told.setdefault(str(line["tollgate"]["source"]), []).append(line)
        expected = (self.accounts, 3 * self.accounts)
        if (len(told["backends"]), len(told["cache"])) != expected or len(lines) != sum(expected):
            counts = {source: len(some) for source, some in told.items()}
            raise Failure(f"{kind}: the access log has {counts}, not {expected} cold and cached reads")
        durations = {
            source: [line["event"]["duration"] / 1e6 for line in some] for source, some in told.items()
        }
        stages: dict[str, list[float]] = {}
        for line in told["cache"]:
            for stage, spent in line["tollgate"]["stage_us"].items():
                stages.setdefault(stage, []).append(spent)
        medians = {stage: statistics.median(spent) for stage, spent in stages.items()}
        return Times(durations["backends"], durations["cache"], medians)

    @staticmethod
    def _replaced(config: str, old: str, new: str) -> str:
        if old not in config:
            raise Failure(f"conf/demo.yaml has no `{old}`")
        return config.replace(old, new)

    def _read(self, fields: str, pause: float) -> None:
        """All cold reads, then three rounds of cached ones."""
        with socket.create_connection(("127.0.0.1", self.settings.port("gateway")), 30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _, account in product(range(4), range(self.accounts)):
                path = f"/accounts/account-{account}/summary"
                connection.sendall(f"GET {path} HTTP/1.1\r\nhost: gateway\r\n{fields}\r\n".encode())
                head = read_answer(connection)
                if not head.startswith(b"HTTP/1.1 200"):
                    raise Failure(f"{path}: {head.decode(errors='replace')}")
                time.sleep(pause)

    def _lines(self, gateway: Gateway) -> list[dict[str, Any]]:
        time.sleep(0.5)
        lines = []
        for line in gateway.lines.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
        return lines


def main() -> int:
    """What the command line asks for."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = Settings()
    only = os.environ.get("ONLY", "")
    if only not in ("", "reads", "ratio"):
        print("ONLY: reads or ratio", file=sys.stderr)
        return 2
    try:
        sections = []
        if only != "ratio":
            sections.append(_reads(settings))
        if only != "reads":
            sections.append(_ratio(settings))
        note = "<!-- Written by `make headline`; what is changed by hand here is lost. -->\n"
        text = "\n".join([note, *sections, f"On {about()}.\n"])
        print(text)
        if settings.write and not only:
            write_section(settings, "headline", text, "The headline")
        elif settings.write:
            print("The docs are left as they are: this was a part.", file=sys.stderr)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _reads(settings: Settings) -> str:
    with Stand(settings) as stand:
        stand.bank("0ms")
        stand.backend()
        reads = Reads(settings, stand)
        layout, load, dropped = reads.run()
    met = load.a_minute >= READS_A_MINUTE
    share = load.load_cpu / (load.load_cpu + load.gateway_cpu)
    each = load.gateway_cpu * 1e6 / load.requests
    figures = f"{load.p50:.2f} / {load.p99:.2f} ms | {each:.1f} µs | {share:.0%}"
    return f"""\
Cached account reads with everything on (JWT, scope, rate, fast quota, metrics, access log), of {reads.accounts:,}
accounts in turn, on the whole machine with the load generator (wrk); counted for {load.seconds:.0f} s:

| reads a minute | budget | | p50 / p99 | CPU of the gateway for each | the load's share of the CPU |
|---|---|---|---|---|---|
| {load.a_minute:,.0f} | {READS_A_MINUTE:,} | {_verdict(met)} | {figures} |

{str(layout).capitalize()}: the best of {len(reads.layouts())} layouts that were tried for {reads.probe} s each. All answers came from
memory; of the access log (written to `/dev/null`) {f"{dropped:,.0f} lines were" if dropped else "no line was"} dropped.
"""


def _ratio(settings: Settings) -> str:
    lines, stages = [], []
    with Stand(settings) as stand:
        stand.bank("100ms")
        ratio = Ratio(settings, stand)
        for kind, title in ratio.KINDS.items():
            times = ratio.take(kind)
            cold, cached = statistics.median(times.cold), statistics.median(times.cached)
            p99 = sorted(times.cached)[len(times.cached) * 99 // 100]
            verdict = f"{RATIO:,} x: {_verdict(times.ratio >= RATIO)}" if "fast" in title else ""
            row = [
                title,
                f"{cold:.1f} ms",
                f"{cached:.3f} ms",
                f"{p99:.3f} ms",
                f"{times.ratio:,.0f} x",
                verdict,
            ]
            lines.append(f"| {' | '.join(row)} |")
            if "fast" in title:
                spent = ", ".join(f"{stage} {spent:.0f}" for stage, spent in times.stages.items() if spent)
                stages.append(f"{title}: {spent or 'none above 0'}")
            print(f"{kind}: {times.ratio:,.0f} x", file=sys.stderr, flush=True)
    return f"""\
A cold read of five services of 100 ms each, by the composed route of `conf/demo.yaml`, against a cached one: in
the gateway's own time (`event.duration` of the access log: from a request's head to its answer's end), not the
client's. Medians of {ratio.accounts} cold and {3 * ratio.accounts} cached reads over one connection, one after the other. Between
two of them are {ratio.pause * 1000:.0f} ms, in which everything falls asleep; in the first row none:

| | cold | cached | cached, p99 | ratio | budget |
|---|---|---|---|---|---|
{chr(10).join(lines)}

Only the first two rows' configuration differs from the demo's, in `accuracy`; the first one's in `rate` too. Stages of
their cached reads in µs, medians: {"; ".join(stages)}.
"""


if __name__ == "__main__":
    sys.exit(main())
