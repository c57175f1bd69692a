"""Proves, before anything is measured, that every peer does what its figures will be said to be of."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend import Backend
from load import Loader
from peers import Peer, Place
from process import Group, await_port, running
from settings import Failure, Settings
from works import WORKS, Work, path_of

REPEATS = 20
"""Requests by which calls of the backend are counted."""

TINY = 5
"""A rate that a few requests exceed."""

OWN = ""
"""Stands for the token that a work's requests bring."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@contextmanager
def started(settings: Settings, peer: Peer, directory: Path, place: Place) -> Iterator[Group]:
    """A peer that listens."""
    log = directory / f"{peer.name}.log"
    with running(peer.commands(place), settings.peer_core, log) as group:
        await_port(group, settings.port("plain"))
        yield group


class Checker:
    """Asks peers, one request at a time."""

    def __init__(self, settings: Settings, loader: Loader, backend: Backend) -> None:
        self._settings = settings
        self._loader = loader
        self._backend = backend
        self._bad = json.loads((settings.secrets / "bad.json").read_text())

    def ask(self, peer: Peer, work: Work, *, token: str | None = OWN, path: str | None = None) -> Answer:
        """One request on a connection of its own, with the work's token, another one or none."""
        path = path or work.path
        if token == OWN and work.algorithm:
            token = self._loader.token(work)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if work.load == "h2":
            return self._ask_http2(f"https://127.0.0.1:{peer.port(work, self._settings)}{path}")
        connection = self._connect(peer, work)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()

    def _connect(self, peer: Peer, work: Work) -> http.client.HTTPConnection:
        port = peer.port(work, self._settings)
        if not work.tls:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)

    def _ask_http2(self, url: str) -> Answer:
        body = self._loader.directory / "body"
        command = ["curl", "-sk", "--http2", "-o", str(body), "-w", "%{http_version} %{http_code}", url]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        if said[1:] == ["000"]:
            raise ConnectionError(f"{url} does not answer yet")
        if said[:1] != ["2"]:
            raise Failure(f"{url} speaks no HTTP/2: {said}")
        return Answer(int(said[1]), body.read_bytes())

    def await_good(self, peer: Peer, work: Work, group: Group, seconds: float = 30) -> None:
        """Waits until it answers: keys are fetched and routes are laid out by then."""
        end = time.monotonic() + seconds
        while True:
            group.check()
            try:
                answer: Answer | None = self.ask(peer, work)
            except (OSError, http.client.HTTPException):
                answer = None
            if answer and answer.status == 200:
                return
            if time.monotonic() > end:
                raise Failure(f"{peer.name} does not answer {work.name}: {answer}\n{group.tail()}")
            time.sleep(0.1)

    def check(self, peer: Peer, works: list[Work], directory: Path) -> None:
        """All that is to be shown of a peer."""
        works = [work for work in works if not peer.why_not(work)]
        for count in sorted({work.routes for work in works}):
            mine = [work for work in works if work.routes == count]
            with self._started(peer, directory / f"{peer.name}-{count}", routes=count) as group:
                for work in mine:
                    self._check_work(peer, work, group)
        limited = [work for work in works if work.algorithm] if not peer.bare else []
        if limited:
            with self._started(peer, directory / f"{peer.name}-rate", rate=TINY) as group:
                self._check_rate(peer, limited[0], group)

    @contextmanager
    def _started(self, peer: Peer, directory: Path, **asked: int) -> Iterator[Group]:
        directory.mkdir()
        with started(self._settings, peer, directory, Place(self._settings, directory, **asked)) as group:
            yield group

    def _check_work(self, peer: Peer, work: Work, group: Group) -> None:
        def expect(shown: object, what: str) -> None:
            if not shown:
                raise Failure(f"{peer.name}, {work.name}: {what}\n{group.tail()}")

        self.await_good(peer, work, group)
        _, wanted = self._backend.get(work.path)
        body = self.ask(peer, work).body
        if work.calls > 1 and not peer.bare:
            accounts = json.loads(body)["accounts"]
            expect(len(accounts) == work.calls, f"{work.calls} parts were expected, {len(accounts)} came")
            expect(all(part == json.loads(wanted) for part in accounts.values()), "the parts are others")
        else:
            expect(body == wanted, f"another answer than the backend's: {body[:100]!r}")
        self._check_calls(peer, work, expect)
        if peer.bare:
            return
        if work.algorithm:
            bad: dict[str, str | None] = {**self._bad[work.algorithm], "no token": None}
            for flaw, token in bad.items():
                status = 403 if flaw == "scope" else 401
                got = self.ask(peer, work, token=token).status
                expect(got == status, f"a token with a flaw ({flaw}) is answered {got}, not {status}")
        if work.port == "routes":
            for path, status in ((path_of(work.routes), 200), (path_of(work.routes + 1), 404)):
                got = self.ask(peer, work, path=path).status
                expect(got == status, f"{path} is answered {got}, not {status}")

    def _check_calls(self, peer: Peer, work: Work, expect: Callable[[object, str], None]) -> None:
        sockets = _closed(self._settings.port("backend"))
        with self._backend.calls() as counted:
            for _ in range(REPEATS):
                expect(self.ask(peer, work).status == 200, "not answered 200 every time")
        expected = REPEATS * peer.calls(work)
        expect(counted == [expected], f"the backend was called {counted[0]} times, not {expected}")
        # Each request came on a connection of its own; those to the backend are kept all the same.
        more = _closed(self._settings.port("backend")) - sockets
        expect(more < REPEATS // 2, f"{more} connections to the backend were closed in {REPEATS} requests")

    def _check_rate(self, peer: Peer, work: Work, group: Group) -> None:
        self.await_good(peer, work, group)
        # Within a second, and more than are let through in two.
        statuses = [self.ask(peer, work).status for _ in range(TINY * 4)]
        if 429 not in statuses or 200 not in statuses:
            raise Failure(f"{peer.name}: a rate of {TINY}/s is answered {statuses}\n{group.tail()}")


def _closed(port: int) -> int:
    """Connections with this port at their far end that were closed of late (TIME_WAIT)."""
    wanted = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(1 for field in fields if field[3] == "06" and wanted in (field[1][-5:], field[2][-5:]))


def chosen(settings: Settings) -> list[Work]:
    """The works that were asked for."""
    known = {work.name for work in WORKS}
    if unknown := set(settings.only) - known:
        raise Failure(f"ONLY: there is no {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    return [work for work in WORKS if not settings.only or work.name in settings.only]
