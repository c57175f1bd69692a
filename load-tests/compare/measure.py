"""Runs: every peer, every work, again and again, each on a peer that was just started."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from backend import Backend
from check import Checker, started
from load import Loader
from peers import Peer, Place
from settings import Failure, Settings
from works import Work


@dataclass(frozen=True)
class Run:
    """One run. Times in microseconds; CPU for each request."""

    repeat: int
    peer: str
    work: str
    requests: int
    seconds: float
    per_second: float
    p50: float
    p99: float
    cpu: float
    parts: dict[str, float]
    """The CPU of each program, where a peer has more than one."""
    busy: float
    """The share of its core that the peer used."""


@dataclass
class Bench:
    """All that runs need, and what they gave."""

    settings: Settings
    loader: Loader
    checker: Checker
    backend: Backend
    directory: Path
    about: dict[str, object]
    """What is told beside the runs."""
    runs: list[Run] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """Where everything is saved, after each run."""
        return self.settings.output / "result.json"

    def measure(self, peers: list[Peer], works: list[Work]) -> None:
        """All runs. One that fails is told of, and counts for nothing."""
        for repeat in range(self.settings.repeats):
            for work in works:
                # Peers take turns, so that noise of the machine falls on all; who begins changes, too.
                for place in range(len(peers)):
                    peer = peers[(place + repeat) % len(peers)]
                    if not peer.why_not(work):
                        self._take(peer, work, repeat)

    def save(self) -> dict[str, Any]:
        """Writes what is known so far."""
        data: dict[str, Any] = {
            **self.about,
            "runs": [asdict(run) for run in self.runs],
            "failures": self.failures,
        }
        self.file.write_text(json.dumps(data, indent=1) + "\n")
        return data

    def _take(self, peer: Peer, work: Work, repeat: int) -> None:
        try:
            run = self._run(peer, work, repeat)
        except Failure as failure:
            self.failures.append(f"repeat {repeat + 1}, {peer.name}, {work.name}: {failure}")
            print(f"FAILED: {self.failures[-1]}", file=sys.stderr, flush=True)
        else:
            self.runs.append(run)
            self._tell(run)
        self.save()

    def _run(self, peer: Peer, work: Work, repeat: int) -> Run:
        settings, mine = self.settings, self.directory / f"{peer.name}-{work.name}-{repeat}"
        mine.mkdir()
        with started(settings, peer, mine, Place(settings, mine, work.routes)) as group:
            try:
                self.checker.await_good(peer, work, group)
                self.loader.put(peer, work, settings.warm_up, warm_up=True)
                with self.backend.calls() as calls:
                    before, begin = group.cpu(), time.monotonic()
                    outcome = self.loader.put(peer, work, settings.seconds, warm_up=False)
                    after, end = group.cpu(), time.monotonic()
                group.check()
                _expect_calls(peer, work, calls[0], outcome.requests)
            except Failure as failure:
                raise Failure(f"{failure}\n{group.tail()}") from failure
        used = {label: after[label] - before[label] for label in after}
        parts = {label: round(seconds * 1e6 / outcome.requests, 2) for label, seconds in used.items()}
        return Run(
            repeat=repeat,
            peer=peer.name,
            work=work.name,
            requests=outcome.requests,
            seconds=round(outcome.seconds, 3),
            per_second=round(outcome.requests / outcome.seconds, 1),
            p50=outcome.p50,
            p99=outcome.p99,
            cpu=round(sum(parts.values()), 2),
            parts=parts,
            busy=round(sum(used.values()) / (end - begin), 3),
        )

    def _tell(self, run: Run) -> None:
        print(
            f"{run.repeat + 1}/{self.settings.repeats} {run.work:14} {run.peer:9} {run.cpu:8.1f} us of CPU, "
            f"p50 {run.p50 / 1000:.2f} ms, p99 {run.p99 / 1000:.2f} ms, {run.per_second:,.0f}/s, "
            f"core {run.busy:.0%}",
            file=sys.stderr,
            flush=True,
        )


def _expect_calls(peer: Peer, work: Work, calls: int, requests: int) -> None:
    """Every answer came from where it should."""
    if peer.calls(work) == 0 and calls > 10:
        raise Failure(f"{calls} of {requests} answers came from the backend, not from the cache")
    if calls < requests * peer.calls(work):
        raise Failure(f"{requests} requests, but only {calls} calls of the backend")
