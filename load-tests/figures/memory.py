"""Bytes of memory for each connection, kept answer, account and route. memory.sh starts this.

Each figure is a slope: the same gateway with few and with many, and the difference in what the kernel says
divided by the difference in number, so that whatever is there once counts for nothing. The allocator is told
to give back at once what is free, so that what is there is what is in use.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clients import Held, Pool
from stand import REPOSITORY, Failure, Gateway, Settings, Stand, about, moved, open_files, write_section

MIB = 1 << 20
BODY = 1024
UNIT_FIGURE = 137
"""Bytes of an account in the ledger alone (docs/performance.md)."""
IN_USE = {"MIMALLOC_PURGE_DELAY": "0", "MIMALLOC_ALLOW_THP": "0"}
"""Nothing that is free is kept, and no small thing takes a page of 2 MiB."""
ROUNDS, ROUND = 10, 40_000
"""Uses by which the journal's store is brought to what it always has at work, and looks meanwhile."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    figures: list[float]
    unit: str
    how: str

    @property
    def middle(self) -> float:
        """The median."""
        return statistics.median(self.figures)

    def line(self) -> str:
        """In Markdown."""
        low, high = min(self.figures), max(self.figures)
        spread = f" ({_number(low)} to {_number(high)})" if len(self.figures) > 1 else ""
        return f"| {self.what} | {_number(self.middle)} {self.unit}{spread} | {self.how} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _counts(name: str, default: str) -> tuple[int, int]:
    few, many = (int(word) for word in (os.environ.get(name) or default).split(","))
    if not 0 < few < many:
        raise Failure(f"{name}={few},{many}: the second must be more than the first")
    return few, many


class Figures:
    """Takes them."""

    def __init__(self, settings: Settings, stand: Stand) -> None:
        self.settings, self.stand = settings, stand
        self.repeats = int(os.environ.get("REPEATS") or 3)
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def _slope(
        self,
        config: str,
        counts: tuple[int, int],
        fill: Callable[[Gateway, int], None],
        name: str,
        look: Callable[[Gateway, int], float] = lambda gateway, _: gateway.settle().anonymous,
    ) -> list[float]:
        """Bytes for one more, of a new gateway each time. `fill` brings it to a count."""
        few, many = counts
        figures = []
        for repeat in range(self.repeats):
            with self.stand.gateway(config, f"{name}-{repeat}", variables=IN_USE) as gateway:
                fill(gateway, few)
                before = look(gateway, few)
                fill(gateway, many)
                after = look(gateway, many)
            figures.append((after - before) / (many - few))
            print(f"{name} {repeat + 1} of {self.repeats}: {figures[-1]:,.0f}", file=sys.stderr, flush=True)
        return figures

    def head(self, *, limits: str = "", cache: str = "") -> str:
        """What all configurations begin with."""
        at = self.settings.at
        return f"""\
listen:
  - {{ address: {at("gateway")}, limits: {{ {limits} }} }}
admin: {{ address: {at("admin")}, token: "${{env:TOLLGATE_ADMIN_TOKEN}}" }}
state: {{ directory: "${{env:TOLLGATE_STATE}}" }}
observe: {{ access_log: {{ file: /dev/null }}, log: warn }}
clusters:
  backend: {{ endpoints: [{at("backend")}] }}
{f"cache: {{ {cache} }}" if cache else ""}
"""

    # ---- at rest

    def base(self) -> None:
        """The example configuration, started and left alone."""
        example = (REPOSITORY / "conf" / "example.yaml").read_text()
        config = re.sub(r"0\.0\.0\.0:8080\b", self.settings.at("gateway"), example)
        config = moved(config, {9901: self.settings.port("admin")})
        config = config.replace("directory: /var/lib/tollgate", 'directory: "${env:TOLLGATE_STATE}"')
        rss, anonymous, in_use = [], [], []
        for repeat in range(self.repeats):
            # Its identity providers don't exist here, so it isn't ready; it serves all the same.
            with self.stand.gateway(config, f"base-{repeat}", ready="/health") as gateway:
                memory = gateway.settle(30)
                rss.append(memory.rss / MIB)
                anonymous.append(memory.anonymous / MIB)
            with self.stand.gateway(
                config, f"base-in-use-{repeat}", ready="/health", variables=IN_USE
            ) as gateway:
                in_use.append(gateway.settle(30).anonymous / MIB)
        what = "idle gateway, `conf/example.yaml`"
        self.rows.append(Row(f"{what}: RSS", rss, "MiB", "program text and mapped files included"))
        self.rows.append(Row(f"{what}: its own memory", anonymous, "MiB", "anonymous pages"))
        self.rows.append(Row(f"{what}: in use", in_use, "MiB", "without what the allocator keeps"))

    # ---- connections

    def connections(self) -> None:
        """Idle ones, each of which has had one request."""
        counts = _counts("CONNECTIONS", "2000,10000")
        granted = open_files(counts[1] + 1000)
        if granted < counts[1] + 1000:
            counts = (counts[0], granted - 1000)
            if counts[1] <= counts[0]:
                raise Failure(f"only {granted} open files are granted (ulimit -n); CONNECTIONS asks for more")
            self.notes.append(
                f"connections: {counts[1]:,} at most, as only {granted:,} open files were granted"
            )
        certificate, key = self.stand.directory / "tls.pem", self.stand.directory / "tls.key"
        made = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-days", "2", "-subj", "/CN=gateway", "-addext", "subjectAltName=DNS:gateway"]
            + ["-keyout", str(key), "-out", str(certificate)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise Failure(f"openssl: {made.stderr}")
        limits = "max_connections: 100000, max_connections_per_address: 100000, idle_timeout: 1h"
        tls = f"""\
  - address: {self.settings.at("tls")}
    limits: {{ {limits} }}
    tls: {{ certificates: [{{ certificate: {certificate}, key: {key} }}] }}
"""
        config = self.head(limits=limits).replace("admin:", f"{tls}admin:", 1)
        config += """\
routes: [{ id: plain, match: { path: "/{*any}" }, authenticate: none, cluster: backend }]
"""
        kinds = {"http1": "HTTP/1.1, plain", "tls": "HTTP/1.1 over TLS 1.3", "h2": "HTTP/2 over TLS 1.3"}
        for kind, title in kinds.items():
            held: list[Held] = []

            def fill(gateway: Gateway, count: int, kind: str = kind, held: list[Held] = held) -> None:
                if count == counts[0]:
                    for old in held:
                        old.close()
                    port = self.settings.port("gateway" if kind == "http1" else "tls")
                    held[:] = [Held(kind, port, "/size/1024/held")]
                held[0].hold(count)
                held[0].check()
                open_now = int(gateway.metric("tollgate_open_connections"))
                if open_now < count:
                    raise Failure(f"{open_now} connections are open, not {count}")

            figures = self._slope(config, counts, fill, f"connections-{kind}")
            held[0].close()
            how = f"{counts[0]:,} to {counts[1]:,} connections, idle after one request each"
            self.rows.append(Row(f"idle connection, {title}", figures, "bytes", how))

    # ---- kept answers

    def cache(self) -> None:
        """Answers of 1 KiB, each of another account."""
        counts = _counts("ENTRIES", "25000,100000")
        route = """\
routes:
  - id: cached
    match: { path: "/size/{bytes}/{account}" }
    authenticate: none
    account: path.account
    cache: { fresh: 24h, visible_to: everyone }
    cluster: backend
"""
        weights: list[float] = []

        def fill(gateway: Gateway, count: int) -> None:
            there = int(gateway.metric("tollgate_cache_entries", 'tier="memory"'))
            self._ask(_paths(there, count))
            entries = int(gateway.metric("tollgate_cache_entries", 'tier="memory"'))
            if entries != count:
                raise Failure(f"{entries} answers are in memory, not {count}")
            weights.append(gateway.metric("tollgate_cache_bytes", 'tier="memory"') / entries)

        # The disk as small as may be: what its store holds in memory is the same at both counts.
        config = self.head(cache="memory: 4GiB, disk: 16MiB, max_entry: 64KiB") + route
        figures = self._slope(config, counts, fill, "cache")
        how = f"{counts[0]:,} to {counts[1]:,} answers of {BODY:,} bytes in memory, each of another account"
        self.rows.append(Row("kept answer, beyond its body", [one - BODY for one in figures], "bytes", how))
        counted = statistics.median(weights) - BODY
        self.rows.append(
            Row(
                "the same as `cache.memory` counts it", [counted], "bytes", "`tollgate_cache_bytes` / entries"
            )
        )

        bounds = _counts("BOUNDS", "32,256")
        many = int(bounds[1] * MIB / (BODY + 400))
        taken = []
        for repeat in range(self.repeats):
            full = []
            for bound in bounds:
                config = self.head(cache=f"memory: {bound}MiB, disk: 16MiB, max_entry: 64KiB") + route
                with self.stand.gateway(config, f"bound-{bound}-{repeat}", variables=IN_USE) as gateway:
                    self._ask(_paths(0, many))
                    if gateway.metric("tollgate_cache_operations_total", 'operation="evicted"') == 0:
                        raise Failure(f"{many} answers did not fill {bound} MiB")
                    full.append(gateway.settle().anonymous)
            taken.append((full[1] - full[0]) / ((bounds[1] - bounds[0]) * MIB))
            print(f"bound {repeat + 1} of {self.repeats}: {taken[-1]:.2f}", file=sys.stderr, flush=True)
        how = f"full with answers of {BODY:,} bytes, at {bounds[0]} and at {bounds[1]} MiB"
        self.rows.append(Row("memory for each MiB of `cache.memory`", taken, "MiB", how))

    def _ask(self, paths: Iterator[str]) -> None:
        pool = Pool(("127.0.0.1", self.settings.port("gateway")))
        try:
            pool.ask(paths)
        finally:
            pool.close()

    # ---- the ledger

    def ledger(self) -> None:
        """Accounts under one rule, each used once by a request."""
        counts = _counts("ACCOUNTS", "125000,1000000")
        config = (
            self.head()
            + """\
quotas:
  generous: { per: [account], limit: 1000000, window: 400d, accuracy: { fast: 1000000 } }
routes:
  - id: counted
    match: { path: "/counted/{account}" }
    authenticate: none
    account: path.account
    quotas: [generous]
    answer: { body: "ok" }
"""
        )

        def fill(gateway: Gateway, count: int) -> None:
            there = _accounts(gateway)
            self._ask(f"/counted/account-{number}" for number in range(there, count))
            end = time.monotonic() + 30
            # Uses of a fast rule reach the ledger a moment after their answers.
            while (known := _accounts(gateway)) != count:
                if time.monotonic() > end:
                    raise Failure(f"the ledger knows {known} accounts, not {count}")
                time.sleep(0.1)

        at_work: list[float] = []

        def look(gateway: Gateway, count: int) -> float:
            # The journal's store gathers records in memory and writes them out, again and again, whatever
            # the number of accounts: so its mean, over uses of accounts that are known already.
            seen = []
            for turn in range(ROUNDS):
                numbers = range(turn * ROUND, (turn + 1) * ROUND)
                self._ask(f"/counted/account-{number % count}" for number in numbers)
                time.sleep(1)
                seen.append(gateway.memory().anonymous)
            mean = statistics.mean(seen[2:])
            if count == counts[0]:
                at_work.append((mean - count * UNIT_FIGURE) / MIB)
            return mean

        figures = self._slope(config, counts, fill, "ledger", look)
        how = f"{counts[0]:,} to {counts[1]:,} accounts, at work; the ledger alone: {UNIT_FIGURE}"
        self.rows.append(Row("account under one fixed window", figures, "bytes", how))
        how = "the same gateway, less its accounts: mostly the journal's store"
        self.rows.append(Row("gateway that counts as fast as it can", at_work, "MiB", how))

    # ---- routes

    def routes(self) -> None:
        """From the start on, after each was asked for, and after reloads."""
        few, many = _counts("ROUTES", "1000,10000")
        kinds = {
            "plain": ("route without policies", '{{ id: r{n}, match: {{ path: "/r{n}/{{any}}" }}, authenticate: none, '
                      'cluster: backend }}'),
            "full": ("route with everything", '{{ id: r{n}, match: {{ path: "/r{n}/{{account}}", methods: [GET] }}, '
                     "authenticate: bank, scopes: [accounts:read], rates: [generous], account: path.account, "
                     "quotas: [generous], cache: {{ fresh: 1h, visible_to: client }}, cluster: backend }}"),
        }  # fmt: skip
        policies = f"""\
identity:
  bank: {{ issuer: "http://{self.settings.at("identity")}", audience: accounts, algorithms: [ES256] }}
rates: {{ generous: {{ per: [client], rate: 1000000/s }} }}
quotas: {{ generous: {{ per: [account, client], limit: 1000000000, window: 24h, accuracy: {{ fast: 1000000 }} }} }}
routes:
"""
        for kind, (title, line) in kinds.items():
            differences: list[list[int]] = []
            for repeat in range(self.repeats):
                taken = []
                for count in (few, many):
                    config = self.head() + policies
                    config += "".join(f"  - {line.format(n=number)}\n" for number in range(count))
                    name = f"routes-{kind}-{count}-{repeat}"
                    with self.stand.gateway(config, name, variables=IN_USE) as gateway:
                        steps = [gateway.settle().anonymous]
                        if kind == "plain":
                            self._ask(f"/r{number}/x" for number in range(count))
                            steps.append(gateway.settle().anonymous)
                        steps.append(self._reloaded(gateway, config))
                        taken.append(steps)
                differences.append([after - before for before, after in zip(*taken, strict=True)])
                print(f"routes-{kind} {repeat + 1}: {differences[-1]}", file=sys.stderr, flush=True)
            whens = [f"{few:,} to {many:,} routes, from the start on"]
            if kind == "plain":
                whens.append("after one request to each, which begins its metrics")
            whens.append("after five reloads that changed each")
            for place, how in enumerate(whens):
                figures = [one[place] / (many - few) for one in differences]
                self.rows.append(Row(title, figures, "bytes", how))
        # As it is deployed. The last configuration is that of many routes with everything.
        kept = []
        for repeat in range(self.repeats):
            with self.stand.gateway(config, f"routes-kept-{repeat}") as gateway:
                kept.append(self._reloaded(gateway, config) / MIB)
        how = "what the allocator keeps included"
        self.rows.append(Row(f"gateway with {many:,} such routes, after five reloads", kept, "MiB", how))

    def _reloaded(self, gateway: Gateway, config: str) -> int:
        """Its memory after five reloads, each of which leaves no route as it was."""
        for number in range(5):
            # Longer paths of the same length each time.
            gateway.config.write_text(re.sub(r'path: "/r', f'path: "/v{number}/r', config))
            gateway.call("/reload", {})
        return gateway.settle().anonymous

    def section(self) -> str:
        """What stands in the docs."""
        lines = ["| | memory | |", "|---|---|---|", *(row.line() for row in self.rows)]
        notes = "".join(f"\n- {note}." for note in self.notes)
        return f"""\
<!-- Written by `make memory`; what is changed by hand here is lost. -->

{chr(10).join(lines)}

Medians of {self.repeats} gateways (smallest to largest), on {about()}.
Bytes are slopes between few and many of what the kernel counts as the process's own (`Anonymous` in
`/proc/PID/smaps_rollup`), with an allocator that gives back at once what is free (`MIMALLOC_PURGE_DELAY=0`) and takes
no huge pages (`MIMALLOC_ALLOW_THP=0`): what is in use, then. As it is deployed, it keeps some of what was free, for a
second or until somebody asks for something. What the kernel keeps for a connection is not in it.{notes}
"""


def _paths(first: int, end: int) -> Iterator[str]:
    return (f"/size/{BODY}/account-{number}" for number in range(first, end))


def _accounts(gateway: Gateway) -> int:
    fleet = json.loads(gateway.call("/fleet"))
    return sum(partition["accounts"] for partition in fleet["partitions"])


def main() -> int:
    """What the command line asks for."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = Settings()
    known = ("base", "connections", "cache", "ledger", "routes")
    only = tuple(word for word in os.environ.get("ONLY", "").split(",") if word) or known
    if unknown := set(only) - set(known):
        print(
            f"ONLY: there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr
        )
        return 2
    try:
        with Stand(settings) as stand:
            stand.backend()
            stand.bank("0ms")
            figures = Figures(settings, stand)
            for name in known:
                if name in only:
                    getattr(figures, name)()
            text = figures.section()
        print(text)
        if settings.write and only == known:
            write_section(settings, "memory", text, "Memory")
        elif settings.write:
            print("The docs are left as they are: this was a part.", file=sys.stderr)
        rows = [vars(row) for row in figures.rows]
        (settings.output / "memory.json").write_text(json.dumps(rows, indent=1) + "\n")
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
