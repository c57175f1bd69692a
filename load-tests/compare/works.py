"""What is measured: works, the same for every peer that can do them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Load = Literal["same", "tokens", "routes", "h2", "connections"]


@dataclass(frozen=True)
class Work:
    """One kind of request, under one kind of load."""

    name: str
    title: str
    path: str
    port: str = "plain"
    load: Load = "same"
    """`same`: one request again and again. `tokens`: each with a token of its own. `routes`: over all
    routes. `h2`: one request, by HTTP/2. `connections`: one request, each on a connection of its own."""
    algorithm: str | None = None
    """Of the token that requests bring."""
    routes: int = 1
    calls: int = 1
    """Calls of the backend for each request."""

    @property
    def tls(self) -> bool:
        """Whether it is over TLS."""
        return self.port == "tls"


def _tokens(algorithm: str) -> tuple[Work, Work]:
    name, title = f"jwt-{algorithm.lower()}", f"JWT ({algorithm}) + scope + rate"
    return (
        Work(name, f"{title}, one token", "/jwt/1", "jwt", algorithm=algorithm),
        Work(f"{name}-new", f"{title}, always a new token", "/jwt/1", "jwt", "tokens", algorithm),
    )


def _hit(kilobytes: int) -> Work:
    return Work(
        f"hit-{kilobytes}k", f"cache hit, {kilobytes} KB", f"/size/{kilobytes * 1024}/1", "cache", calls=0
    )


def _routes(count: int) -> Work:
    title = f"{count:,} route{'s' if count > 1 else ''}"
    return Work(f"routes-{count}", title, path_of(1), "routes", load="routes", routes=count)


def path_of(route: int) -> str:
    """A path that the n-th route takes."""
    return f"{prefix_of(route)}4711"


def prefix_of(route: int) -> str:
    """How its paths start."""
    return f"/api/v{route % 7}/items{route}/"


WORKS: tuple[Work, ...] = (
    Work("plain", "plain proxy", "/plain/1"),
    *_tokens("ES256"),
    *_tokens("RS256"),
    *(_hit(kilobytes) for kilobytes in (1, 16, 256)),
    Work("tls", "TLS, connections kept", "/plain/1", "tls"),
    Work("tls-new", "TLS, a new connection each", "/plain/1", "tls", load="connections"),
    Work("h2", "HTTP/2 over TLS", "/plain/1", "tls", load="h2"),
    *(_routes(count) for count in (1, 100, 10_000)),
    Work("composite", "composite of five calls", "/composite/1", calls=5),
)
