"""The two programs that all peers lean on: the backend, and the issuer's keys."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from peers import Command
from process import await_port, running
from settings import Failure, Settings


class Backend:
    """The backend's count of what it answered."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str) -> tuple[int, bytes]:
        """How many answers it had given with this one, and this one."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            served = response.headers["x-served"]
            if served is None:
                raise Failure("this bench-peer counts no answers: it is older than its source")
            return int(served), response.read()
        finally:
            connection.close()

    @contextmanager
    def calls(self) -> Iterator[list[int]]:
        """Counts the calls while the block lasts; they stand in the list afterwards."""
        counted: list[int] = []
        before, _ = self.get("/count")
        yield counted
        after, _ = self.get("/count")
        counted.append(after - before - 1)


@contextmanager
def backend(settings: Settings, directory: Path) -> Iterator[Backend]:
    """The backend, on the load's core."""
    port = settings.port("backend")
    program = settings.bin / "examples" / "bench-peer"
    if not program.exists():
        raise Failure(f"{program} is missing; cargo build --release --example bench-peer makes it")
    command = Command("backend", [str(program), "backend", f"127.0.0.1:{port}"])
    with running([command], settings.load_core, directory / "backend.log") as group:
        await_port(group, port)
        yield Backend(port)


@contextmanager
def issuer(settings: Settings) -> Iterator[None]:
    """Serves the keys to whoever fetches them."""
    keys = (settings.secrets / "jwks.json").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802, the library's name
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("cache-control", "max-age=3600")
            self.send_header("content-length", str(len(keys)))
            self.end_headers()
            self.wfile.write(keys)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", settings.port("issuer")), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
