"""What `make compare` was asked for, by environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


def _words(name: str) -> tuple[str, ...]:
    return tuple(word for word in os.environ.get(name, "").replace(" ", ",").split(",") if word)


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)


@dataclass(frozen=True)
class Settings:
    """See the top of compare.sh for what each is."""

    repeats: int = field(default_factory=lambda: _number("REPEATS", 5))
    seconds: int = field(default_factory=lambda: _number("SECONDS_EACH", 5))
    warm_up: int = field(default_factory=lambda: _number("WARM_UP", 1))
    connections: int = field(default_factory=lambda: _number("CONNECTIONS", 32))
    only: tuple[str, ...] = field(default_factory=lambda: _words("ONLY"))
    peers: tuple[str, ...] = field(default_factory=lambda: _words("PEERS"))
    peer_core: int = field(default_factory=lambda: _number("PEER_CORE", 0))
    load_core: int = field(default_factory=lambda: _number("LOAD_CORE", 1))
    first_port: int = field(default_factory=lambda: _number("FIRST_PORT", 18400))
    tokens: int = field(default_factory=lambda: _number("TOKENS", 0))
    bin: Path = field(default_factory=lambda: Path(os.environ.get("BIN") or "target/release").resolve())
    python: str = field(default_factory=lambda: os.environ.get("TOKENS_PYTHON") or "python3")
    envoy: str = field(default_factory=lambda: os.environ.get("ENVOY") or "envoy")
    output: Path = field(default_factory=lambda: Path(os.environ.get("OUTPUT") or "target/compare").resolve())
    docs: Path = field(default_factory=lambda: Path(os.environ.get("DOCS") or REPOSITORY / "docs"))

    @property
    def token_count(self) -> int:
        """Tokens of each algorithm: more than are verified in one run, so that each is new."""
        return self.tokens or (self.seconds + self.warm_up) * 25_000

    @property
    def secrets(self) -> Path:
        """Where tokens.py puts what it makes."""
        return self.output / "secrets"

    @property
    def issuer(self) -> str:
        """Who signs the tokens: this program, which serves the keys."""
        return f"http://127.0.0.1:{self.port('issuer')}"

    def port(self, name: str) -> int:
        """A port by its name. All peers use the same ones; only one runs at a time."""
        return self.first_port + PORTS.index(name)


PORTS = ("backend", "issuer", "admin", "plain", "jwt", "cache", "routes", "tls")


class Failure(Exception):
    """Something that makes figures worthless: told to the person who measures, with what is known."""
