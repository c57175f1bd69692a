"""Load by wrk, h2load and ab, on the other core, and what they say of it.

wrk for most; h2load speaks HTTP/2; ab (by HTTP/1.0) makes a new connection for each request without
resuming a TLS session, which wrk does unasked wherever it is given a ticket: not the work that was meant."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peers import Peer
from settings import HERE, Failure, Settings
from works import Work, path_of

OPENSSL = """\
openssl_conf = settings
[settings]
ssl_conf = tls
[tls]
system_default = everywhere
[everywhere]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""
"""The load settles what is spoken, so that it is the same with every peer."""


@dataclass(frozen=True)
class Outcome:
    """One run of load."""

    requests: int
    seconds: float
    p50: float
    p99: float
    """Microseconds."""


@dataclass(frozen=True)
class Loader:
    """Puts load on peers."""

    settings: Settings
    directory: Path

    def prepare(self) -> None:
        """Writes what the load reads."""
        (self.directory / "openssl.cnf").write_text(OPENSSL)
        for count in (1, 100, 10_000):
            # One after the other would be kind to memory; spread out, but the same every time.
            step = 7919 if count > 1 else 1
            paths = (path_of((n * step) % count + 1) for n in range(count))
            (self.directory / f"routes-{count}.txt").write_text("".join(f"{path}\n" for path in paths))

    def url(self, peer: Peer, work: Work) -> str:
        """Where a work's request goes."""
        scheme = "https" if work.tls else "http"
        return f"{scheme}://127.0.0.1:{peer.port(work, self.settings)}{work.path}"

    def token(self, work: Work) -> str:
        """The first token of its algorithm."""
        with (self.settings.secrets / f"{work.algorithm}.txt").open() as file:
            return file.readline().strip()

    def put(self, peer: Peer, work: Work, seconds: int, *, warm_up: bool) -> Outcome:
        """Load for some seconds; fails if one request did."""
        url = self.url(peer, work)
        if work.load == "h2":
            return self._h2load(url, seconds)
        if work.load == "connections":
            return self._ab(url, seconds)
        outcome, again = self._wrk(url, work, seconds, warm_up)
        # Who looks at no token may have it twice.
        if again and work.load == "tokens" and not peer.bare:
            raise Failure("there were too few tokens to be always new; TOKENS= makes more")
        return outcome

    def _run(self, command: list[str], seconds: int, environment: dict[str, str]) -> str:
        words = ["taskset", "-c", str(self.settings.load_core), *command]
        environment = {"OPENSSL_CONF": str(self.directory / "openssl.cnf"), **environment}
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds + 60,
                env={**os.environ, **environment},
            )
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{command[0]} did not end") from error
        if done.returncode:
            raise Failure(f"{command[0]} failed ({done.returncode}): {done.stdout}{done.stderr}")
        return done.stdout

    def _wrk(self, url: str, work: Work, seconds: int, warm_up: bool) -> tuple[Outcome, bool]:
        settings = self.settings
        environment = {"LOAD": work.load, "FIRST": "1", "COUNT": str(work.routes)}
        command = ["wrk", "-t", "1", "-c", str(settings.connections), "-d", f"{seconds}s"]
        command += ["--timeout", "10s", "-s", str(HERE / "load.lua")]
        if work.load == "tokens":
            # The very first one was sent already, to see whether the peer is up; those that follow are for
            # warming up. None is used twice.
            total = settings.token_count
            share = total * settings.warm_up // (settings.seconds + settings.warm_up)
            first, count = (2, share - 1) if warm_up else (share + 1, total - share)
            environment |= {"FIRST": str(first), "COUNT": str(count)}
            environment["LINES"] = str(settings.secrets / f"{work.algorithm}.txt")
        elif work.load == "routes":
            environment["LINES"] = str(self.directory / f"routes-{work.routes}.txt")
        elif work.algorithm:
            command += ["-H", f"Authorization: Bearer {self.token(work)}"]
        said = self._run([*command, url], seconds, environment)
        found = re.search(r"^RESULT (.*)$", said, re.MULTILINE)
        if not found:
            raise Failure(f"wrk said nothing of use:\n{said}")
        result = json.loads(found[1])
        if any(result["errors"].values()) or not result["requests"]:
            raise Failure(f"requests failed: {found[1]}")
        outcome = Outcome(result["requests"], result["microseconds"] / 1e6, result["p50"], result["p99"])
        return outcome, result["again"] > 0

    def _ab(self, url: str, seconds: int) -> Outcome:
        table = self.directory / "ab.csv"
        # More than there is time for, so that time ends it.
        command = ["ab", "-q", "-c", str(self.settings.connections), "-t", str(seconds), "-n", "1000000"]
        said = self._run([*command, "-e", str(table), url], seconds, {})
        numbers = dict(re.findall(r"^([\w -]+): +([\d.]+)", said, re.MULTILINE))
        good = int(numbers.get("Complete requests", 0))
        if not good or int(numbers["Failed requests"]) or "Non-2xx responses" in numbers:
            raise Failure(f"requests failed:\n{said}")
        if "TLSv1.3,TLS_AES_128_GCM_SHA256" not in said:
            raise Failure(f"ab did not speak the TLS that was meant:\n{said}")
        # Milliseconds by percentage.
        times = dict(line.split(",") for line in table.read_text().splitlines()[1:])
        p50, p99 = (float(times[percentage]) * 1e3 for percentage in ("50", "99"))
        return Outcome(good, float(numbers["Time taken for tests"]), p50, p99)

    def _h2load(self, url: str, seconds: int) -> Outcome:
        # As many requests at once as with HTTP/1.1, eight on each connection.
        streams = 8
        clients = max(1, self.settings.connections // streams)
        log = self.directory / "h2load.log"
        # Each run starts its log at the beginning only if there is none.
        log.unlink(missing_ok=True)
        command = ["h2load", "-t", "1", "-c", str(clients), "-m", str(streams), "-D", str(seconds)]
        # It has ciphers of its own, whatever OpenSSL's configuration says.
        command.append("--tls13-ciphers=TLS_AES_128_GCM_SHA256")
        said = self._run([*command, f"--log-file={log}", url], seconds, {})
        statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
        failures = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", said)
        if not statuses or not failures or "Application protocol: h2" not in said:
            raise Failure(f"h2load did not speak HTTP/2:\n{said}")
        good, *bad = (int(count) for count in (*statuses.groups(), *failures.groups()))
        if any(bad) or not good:
            raise Failure(f"requests failed: {statuses[0]}; {failures[0]}")
        if "Cipher: TLS_AES_128_GCM_SHA256" not in said:
            raise Failure(f"h2load did not speak the TLS that was meant:\n{said}")
        times = sorted(_durations(log))
        if not times:
            raise Failure(f"h2load wrote no log:\n{said}")
        return Outcome(good, seconds, times[len(times) // 2], times[len(times) * 99 // 100])


def _durations(log: Path) -> Iterator[int]:
    """Microseconds of each request, from h2load's log: start, status, duration."""
    with log.open() as file:
        for line in file:
            _, status, duration = line.split("\t")[:3]
            if status == "200":
                yield int(duration)
