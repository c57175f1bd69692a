"""Tollgate and its peers, side by side. compare.sh starts this; what it can be asked for stands there."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import report
from backend import backend, issuer
from check import Checker, chosen
from load import Loader
from measure import Bench
from peers import PEERS, Peer
from process import refuse_busy
from settings import HERE, PORTS, Failure, Settings
from works import Work


def main() -> int:
    """What the command line asks for."""
    words = sys.argv[1:]
    if words not in ([], ["check"], ["report"]):
        print("usage: compare.sh [check|report]", file=sys.stderr)
        return 2
    # Whoever ends this program ends what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = Settings()
    settings.output.mkdir(parents=True, exist_ok=True)
    try:
        if words == ["report"]:
            report.write(json.loads((settings.output / "result.json").read_text()), settings.docs)
            return 0
        return _measure(settings, only_check=words == ["check"])
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _measure(settings: Settings, *, only_check: bool) -> int:
    works, peers = chosen(settings), _chosen_peers(settings)
    refuse_busy([settings.port(name) for name in PORTS])
    _make_tokens(settings)
    # This program keeps off the peers' core, too.
    os.sched_setaffinity(0, {settings.load_core})
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=settings.output))
    # Peers that give up root must get in.
    directory.chmod(0o755)
    try:
        with issuer(settings), backend(settings, directory) as source:
            loader = Loader(settings, directory)
            loader.prepare()
            checker = Checker(settings, loader, source)
            for peer in peers:
                began = time.monotonic()
                checker.check(peer, works, directory)
                print(
                    f"checked {peer.title} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
                )
            if only_check:
                return 0
            bench = Bench(settings, loader, checker, source, directory, _about(settings, peers, works))
            bench.measure(peers, works)
            data = bench.save()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if bench.failures:
        print(
            f"{len(bench.failures)} runs failed, so the docs are left as they are; all figures are in "
            f"{bench.file}, and `compare.sh report` writes the docs from it all the same",
            file=sys.stderr,
        )
        return 1
    print(report.section(data, report.summarise(data["runs"])))
    if settings.only or settings.peers:
        print("The docs are left as they are: this was a part. `compare.sh report` writes them from it.")
    else:
        report.write(data, settings.docs)
    return 0


def _chosen_peers(settings: Settings) -> list[Peer]:
    known = {peer.name for peer in PEERS}
    if unknown := set(settings.peers) - known:
        raise Failure(
            f"PEERS: there is no {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )
    return [peer for peer in PEERS if not settings.peers or peer.name in settings.peers]


def _make_tokens(settings: Settings) -> None:
    command = [settings.python, str(HERE / "tokens.py"), str(settings.secrets), str(settings.token_count)]
    if subprocess.run([*command, settings.issuer], check=False).returncode:
        raise Failure("no tokens were made; compare.sh sets up a Python that can (TOKENS_PYTHON)")


def _about(settings: Settings, peers: list[Peer], works: list[Work]) -> dict[str, object]:
    """What figures are worth nothing without."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    asked = {name: getattr(settings, name) for name in ("repeats", "seconds", "warm_up", "connections")}
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": processor, "cores": os.cpu_count(), "kernel": platform.release()},
        "settings": asked,
        "peers": [
            {"name": peer.name, "title": peer.title, "version": peer.version(settings), "colour": peer.colour}
            for peer in peers
        ],
        "works": [
            {
                **{name: value for name, value in asdict(work).items() if name in ("name", "title", "path")},
                "cannot": {peer.name: why for peer in peers if (why := peer.why_not(work))},
            }
            for work in works
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
