"""Clients: many requests for unlike paths, and many connections that are kept open."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from itertools import islice

from stand import Failure

H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, DATA, GOAWAY = 4, 1, 0, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1


class Pool:
    """Connections that each have one request under way."""

    def __init__(self, address: tuple[str, int], size: int = 64) -> None:
        self._connections = [socket.create_connection(address, 30) for _ in range(size)]
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, paths: Iterable[str], *, host: str = "gateway") -> int:
        """Asks for each; fails if one answer is anything but a 200. How many there were."""
        asked, left = 0, iter(paths)
        while batch := list(islice(left, len(self._connections))):
            for connection, path in zip(self._connections, batch, strict=False):
                connection.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
            for connection, path in zip(self._connections, batch, strict=False):
                head = read_answer(connection)
                if not head.startswith(b"HTTP/1.1 200"):
                    raise Failure(f"{path}: {head.decode(errors='replace')}")
            asked += len(batch)
        return asked

    def close(self) -> None:
        """Closes all."""
        for connection in self._connections:
            connection.close()


def read_answer(connection: socket.socket) -> bytes:
    """Reads an answer of known length whole; gives its head."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = connection.recv(65536)
        if not more:
            raise Failure(f"the gateway closed a connection in an answer: {got!r}")
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    found = head.lower().partition(b"content-length:")[2]
    if not found:
        raise Failure(f"an answer has no length: {head!r}")
    left = int(found.split(b"\r\n", 1)[0]) - len(body)
    while left > 0:
        more = connection.recv(min(left, 65536))
        if not more:
            raise Failure("the gateway closed a connection in an answer")
        left -= len(more)
    return head


class Held:
    """Connections of one kind that have had one request each and are kept: `http1`, `tls` or `h2`."""

    def __init__(self, kind: str, port: int, path: str) -> None:
        self.kind, self._port, self._path = kind, port, path
        self._held: list[socket.socket] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.set_alpn_protocols(["h2" if kind == "h2" else "http/1.1"])

    def hold(self, count: int) -> None:
        """Opens as many as are missing. Each comes from an address of its own, as clients do."""
        while len(self._held) < count:
            number = len(self._held) + 1
            source = f"127.{1 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"
            plain = socket.create_connection(("127.0.0.1", self._port), 30, (source, 0))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = plain if self.kind == "http1" else self._context.wrap_socket(plain)
            if self.kind == "h2":
                _ask_h2(connection, self._path)
            else:
                connection.sendall(f"GET {self._path} HTTP/1.1\r\nhost: gateway\r\n\r\n".encode())
                head = read_answer(connection)
                if not head.startswith(b"HTTP/1.1 200"):
                    raise Failure(f"{self._path}: {head.decode(errors='replace')}")
            self._held.append(connection)

    def check(self) -> None:
        """Fails if the gateway has closed one: it would be measured as held."""
        for connection in self._held:
            connection.setblocking(False)
            try:
                # TLS may have tickets, and HTTP/2 frames, that nobody has read yet.
                while True:
                    if not connection.recv(65536):
                        raise Failure("the gateway closed a connection that was to be kept")
            except (BlockingIOError, ssl.SSLWantReadError):
                pass
            finally:
                connection.settimeout(30)

    def close(self) -> None:
        """Closes all."""
        for connection in self._held:
            connection.close()
        self._held.clear()


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _field(name: str, value: str) -> bytes:
    """A field as HPACK has it: literal, never indexed, not compressed."""
    return b"\x10" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


def _ask_h2(connection: socket.socket, path: str) -> None:
    """One request over a new HTTP/2 connection."""
    if not isinstance(connection, ssl.SSLSocket) or connection.selected_alpn_protocol() != "h2":
        raise Failure("the gateway did not choose HTTP/2")
    fields = {":method": "GET", ":scheme": "https", ":authority": "gateway", ":path": path}
    head = b"".join(_field(name, value) for name, value in fields.items())
    request = _frame(HEADERS, END_STREAM | END_HEADERS, 1, head)
    connection.sendall(H2_PREFACE + _frame(SETTINGS, 0, 0) + request)
    status = b""
    while True:
        kind, flags, stream, payload = _read_frame(connection)
        if kind == SETTINGS and not flags & ACK:
            connection.sendall(_frame(SETTINGS, ACK, 0))
        if kind == GOAWAY:
            raise Failure(f"the gateway closed an HTTP/2 connection: {payload!r}")
        if stream == 1 and kind == HEADERS:
            status = payload[:1]
        if stream == 1 and kind in (HEADERS, DATA) and flags & END_STREAM:
            break
    # `:status: 200` is entry 8 of HPACK's own table.
    if status != b"\x88":
        raise Failure(f"{path}: an HTTP/2 answer is no 200")


def _read_frame(connection: socket.socket) -> tuple[int, int, int, bytes]:
    head = _read(connection, 9)
    payload = _read(connection, int.from_bytes(head[:3]))
    return head[3], head[4], int.from_bytes(head[5:]) & 0x7FFFFFFF, payload


def _read(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        if not more:
            raise Failure("the gateway closed an HTTP/2 connection")
        got += more
    return got
