"""Who is measured: how each is configured and started, and what it can't do."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import routes
from settings import HERE, REPOSITORY, Settings
from works import Work

GENEROUS = 1_000_000
"""Requests a second that the rate limit lets through while figures are taken."""


@dataclass(frozen=True)
class Command:
    """A program to start. What it is for stands in the figures if a peer needs more than one."""

    label: str
    words: list[str]
    discard_output: bool = False
    """Whether its standard output is an access log, and goes where all access logs go."""


@dataclass(frozen=True)
class Place:
    """What a peer is started for and where its files are."""

    settings: Settings
    directory: Path
    routes: int = 1
    rate: int = GENEROUS

    def render(self, name: str, table: str = "") -> Path:
        """Writes a configuration of peers/ with its @NAMES@ replaced, and says where."""
        names = {
            "DIRECTORY": str(self.directory),
            "SECRETS": str(self.settings.secrets),
            "ISSUER": self.settings.issuer,
            "RATE": str(self.rate),
            "TABLE": table,
        }
        for port in ("backend", "admin", "plain", "jwt", "cache", "routes", "tls"):
            names[port.upper()] = str(self.settings.port(port))
        source = (HERE / "peers" / name).read_text()
        # Comments speak of @NAMES@ too, which is none.
        text = re.sub(r"@([A-Z]+)@", lambda found: names.get(found[1], found[0]), source)
        return self.write(name, text)

    def write(self, name: str, text: str) -> Path:
        """Writes a file of the peer's."""
        path = self.directory / name
        path.write_text(text)
        return path


@dataclass(frozen=True)
class Peer:
    """A program that is measured."""

    name: str
    title: str
    colour: str
    commands: Callable[[Place], list[Command]]
    version: Callable[[Settings], str]
    cannot: dict[str, str] = field(default_factory=dict)
    """Why a work is not done, by the start of its name."""
    bare: bool = False
    """Whether it has no policies at all, and only passes every work's request on."""
    one_port: bool = False
    """Whether paths alone tell works apart, so that all that isn't TLS is at one port."""

    def why_not(self, work: Work) -> str | None:
        """Why it doesn't do this, or `None` if it does."""
        return next((why for start, why in self.cannot.items() if work.name.startswith(start)), None)

    def calls(self, work: Work) -> int:
        """Calls of the backend for one request."""
        return 1 if self.bare else work.calls

    def port(self, work: Work, settings: Settings) -> int:
        """Where it takes this work's requests."""
        return settings.port("plain" if self.one_port and not work.tls else work.port)


def _printed(*command: str) -> str:
    """A version number, from whatever a program prints about itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "?"


def _pingora(_: Settings) -> str:
    found = re.search(r'name = "pingora"\nversion = "([^"]+)"', (REPOSITORY / "Cargo.lock").read_text())
    return found[1] if found else "?"


def _envoy_version(settings: Settings) -> str:
    done = subprocess.run([settings.envoy, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"/(\d+\.\d+\.\d+)/", done.stdout)
    return found[1] if found else "?"


def _nginx(place: Place) -> list[Command]:
    place.write("routes.conf", routes.nginx(place.routes))
    file = place.render("nginx.conf")
    return [Command("nginx", ["nginx", "-e", "stderr", "-c", str(file)])]


def _haproxy(place: Place) -> list[Command]:
    place.write("routes.map", routes.haproxy(place.routes))
    file = place.render("haproxy.cfg")
    return [Command("haproxy", ["haproxy", "-db", "-f", str(file)], discard_output=True)]


def _varnish(place: Place) -> list[Command]:
    place.write("routes.vcl", routes.varnish(place.routes))
    file = place.render("varnish.vcl")
    memory = Path("/dev/shm")
    name = str(memory / f"compare-varnish-{os.getpid()}" if memory.is_dir() else place.directory / "varnish")
    ports = [
        word
        for port in ("plain", "cache", "routes")
        for word in ("-a", f"{port}=127.0.0.1:{place.settings.port(port)}")
    ]
    options = ["-f", str(file), "-s", "malloc,256m", "-p", "thread_pools=1"]
    return [
        Command("varnishd", ["varnishd", "-F", "-n", name, *ports, *options]),
        Command("varnishncsa", ["varnishncsa", "-n", name, "-t", "off", "-w", "/dev/null"]),
    ]


def _envoy(place: Place) -> list[Command]:
    file = place.render("envoy.yaml", routes.envoy(place.routes))
    # Nobody takes this process over while it runs.
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    return [Command("envoy", [place.settings.envoy, "-c", str(file), *options])]


def _bare(place: Place) -> list[Command]:
    settings = place.settings
    plain, backend, tls = (f"127.0.0.1:{settings.port(name)}" for name in ("plain", "backend", "tls"))
    program = str(settings.bin / "examples" / "bench-peer")
    certificate = [str(settings.secrets / "server.pem"), str(settings.secrets / "server.key")]
    return [Command("bench-peer", [program, "proxy", plain, backend, tls, *certificate])]


def _tollgate(place: Place) -> list[Command]:
    file = place.render("tollgate.yaml", routes.tollgate(place.routes))
    return [Command("tollgate", [str(place.settings.bin / "tollgate"), "run", "--config", str(file)])]


_ALONE = {"composite": "no composition"}

PEERS: tuple[Peer, ...] = (
    Peer(
        "nginx",
        "nginx",
        "#009e73",
        _nginx,
        lambda _: _printed("nginx", "-v"),
        {"jwt": "NGINX Plus only", **_ALONE},
    ),
    Peer("haproxy", "HAProxy", "#0072b2", _haproxy, lambda _: _printed("haproxy", "-v"), _ALONE),
    Peer(
        "varnish",
        "Varnish",
        "#e69f00",
        _varnish,
        lambda _: _printed("varnishd", "-V"),
        {
            "jwt": "no JWT in Debian",
            "tls": "no TLS of its own",
            "h2": "no TLS of its own",
            # A comparison each in VCL, which the C compiler takes minutes for at every start.
            "routes-10000": "no table in VCL",
            **_ALONE,
        },
    ),
    Peer("envoy", "Envoy", "#cc79a7", _envoy, _envoy_version, _ALONE),
    Peer("bare", "bare Pingora", "#999999", _bare, _pingora, bare=True, one_port=True),
    Peer(
        "tollgate",
        "Tollgate",
        "#d55e00",
        _tollgate,
        lambda settings: _printed(str(settings.bin / "tollgate"), "--version"),
        one_port=True,
    ),
)
