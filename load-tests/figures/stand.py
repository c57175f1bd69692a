"""What a figure is taken on: ports, programs and files of its own, and what the kernel says of a process."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
ADMIN_TOKEN = "figures"
HERTZ = os.sysconf("SC_CLK_TCK")

PORTS = {"gateway": 0, "tls": 1, "admin": 2, "backend": 3, "bank": 10, "identity": 15, "second-bank": 20}
"""By their distance from the first one. A bank has seven."""


class Failure(Exception):
    """Something that makes figures worthless: told to the person who measures, with what is known."""


def _flag(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


@dataclass(frozen=True)
class Settings:
    """What all scripts can be asked for, by environment variables."""

    bin: Path = field(default_factory=lambda: Path(os.environ.get("BIN") or "target/release").resolve())
    first_port: int = field(default_factory=lambda: int(os.environ.get("FIRST_PORT") or 18600))
    output: Path = field(default_factory=lambda: Path(os.environ.get("OUTPUT") or "target/figures").resolve())
    docs: Path = field(default_factory=lambda: Path(os.environ.get("DOCS") or REPOSITORY / "docs"))
    write: bool = field(default_factory=lambda: _flag("WRITE"))
    keep: bool = field(default_factory=lambda: _flag("KEEP"))

    def port(self, name: str) -> int:
        """A port by its name."""
        return self.first_port + PORTS[name]

    def at(self, name: str) -> str:
        """An address by its port's name."""
        return f"127.0.0.1:{self.port(name)}"


@dataclass(frozen=True)
class Memory:
    """Bytes of a process, as the kernel counts them (`smaps_rollup`)."""

    rss: int
    pss: int
    anonymous: int
    """What the process has written: no program text, no file of the page cache."""

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Now."""
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        fields = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
        return cls(fields["Rss"], fields["Pss"], fields["Anonymous"])


def cpu(pid: int) -> float:
    """Seconds of CPU so far, user and system, of all threads."""
    # Its name stands in parentheses and may hold anything, so what counts is what follows.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ


class Program:
    """A program that runs until the stand is taken down."""

    def __init__(
        self,
        label: str,
        words: list[str],
        log: Path,
        *,
        environment: dict[str, str] | None = None,
        output: IO[bytes] | None = None,
        cores: set[int] | None = None,
    ) -> None:
        self.label, self.log = label, log
        pinned = ["taskset", "-c", ",".join(map(str, sorted(cores))), *words] if cores else words
        with log.open("ab") as file:
            try:
                # A session of its own: the person's Ctrl-C is for the script, which then ends it.
                self._process = subprocess.Popen(
                    pinned,
                    stdin=subprocess.DEVNULL,
                    stdout=output or file,
                    stderr=file,
                    start_new_session=True,
                    env={**os.environ, **(environment or {})},
                )
            except OSError as error:
                raise Failure(f"{words[0]}: {error}") from error

    @property
    def pid(self) -> int:
        """Of the program itself: taskset becomes it."""
        return self._process.pid

    def check(self) -> None:
        """Fails if it has ended."""
        if self._process.poll() is not None:
            raise Failure(f"{self.label} ended by itself ({self._process.returncode}):\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """The end of what it said."""
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  | {line}" for line in text[-lines:]) or "  | (it said nothing)"

    def end(self) -> None:
        """Ends it, kindly first."""
        for number, patience in ((signal.SIGINT, 15), (signal.SIGKILL, 15)):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
                return


class Gateway(Program):
    """Tollgate, and its operators' port."""

    def __init__(
        self,
        stand: Stand,
        config: str,
        name: str,
        *,
        cores: set[int] | None = None,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.settings = stand.settings
        self.config = stand.directory / f"{name}.yaml"
        self.config.write_text(config)
        self.lines = stand.directory / f"{name}.access"
        environment = {
            "TOLLGATE_STATE": str(stand.directory / f"{name}.state"),
            "TOLLGATE_ADMIN_TOKEN": ADMIN_TOKEN,
            **(variables or {}),
        }
        words = [str(self.settings.bin / "tollgate"), "run", "--config", str(self.config)]
        with self.lines.open("ab") as output:
            super().__init__(
                name,
                words,
                stand.directory / f"{name}.log",
                environment=environment,
                output=output,
                cores=cores,
            )

    def call(self, path: str, body: object = None, *, bad: bool = False) -> bytes:
        """Asks the operators' port; with a body it changes something. `bad`: an error's body will do."""
        request = urllib.request.Request(
            f"http://{self.settings.at('admin')}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if bad:
                return bytes(error.read())
            raise Failure(f"{path}: {error.code} {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise Failure(f"{path}: {error}") from error

    def metric(self, name: str, labels: str = "") -> float:
        """A metric's sum over all labels that are not given, as in `tier="memory"`."""
        pattern = rf"^{name}(?:\{{([^}}]*)\}})? ([0-9.eE+-]+)"
        found = re.findall(pattern, self.call("/metrics").decode(), re.MULTILINE)
        return sum(float(value) for these, value in found if labels in these)

    def memory(self) -> Memory:
        """Now."""
        self.check()
        return Memory.of(self.pid)

    def settle(self, seconds: float = 60) -> Memory:
        """Its memory once it stands still.

        The allocator gives pages back a second after they became free, and only when somebody asks for
        something.
        """
        end = time.monotonic() + seconds
        seen: list[Memory] = []
        while True:
            time.sleep(1)
            self.call("/metrics")
            seen.append(self.memory())
            latest = [memory.anonymous for memory in seen[-4:]]
            still = max(latest) - min(latest) <= max(64 * 1024, max(latest) // 1000)
            if (len(seen) >= 5 and still) or time.monotonic() > end:
                return seen[-1]


class Stand:
    """A folder and what runs in it; all goes when it is taken down."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        settings.output.mkdir(parents=True, exist_ok=True)
        for name in ("tollgate", "demo-bank"):
            if not (settings.bin / name).exists():
                raise Failure(f"{settings.bin / name} is not there; BIN says where the programs are")
        self.directory = Path(tempfile.mkdtemp(prefix="run-", dir=settings.output))
        self._programs: list[Program] = []

    def __enter__(self) -> Stand:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for program in reversed(self._programs):
            program.end()
        if self.settings.keep:
            print(f"kept: {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, label: str, words: list[str], *, cores: set[int] | None = None) -> Program:
        """Starts a program that stays until the end."""
        program = Program(label, words, self.directory / f"{label}.log", cores=cores)
        self._programs.append(program)
        return program

    def bank(self, delay: str, *, name: str = "bank", cores: set[int] | None = None) -> Program:
        """Five services and an identity provider."""
        self.refuse_busy([self.settings.port(name) + more for more in range(7)])
        words = [
            str(self.settings.bin / "demo-bank"),
            "--port-base",
            str(self.settings.port(name)),
            "--delay",
            delay,
        ]
        bank = self.start(name, [*words, "--keys-dir", str(self.directory / f"{name}.keys")], cores=cores)
        await_url(bank, f"http://127.0.0.1:{self.settings.port(name) + 5}/jwks.json")
        return bank

    def backend(self, *, cores: set[int] | None = None) -> Program:
        """A backend that answers at once, N bytes for `/size/N/..`."""
        self.refuse_busy([self.settings.port("backend")])
        words = [str(self.settings.bin / "examples" / "bench-peer"), "backend", self.settings.at("backend")]
        backend = self.start("backend", words, cores=cores)
        await_url(backend, f"http://{self.settings.at('backend')}/size/64/x")
        return backend

    @contextmanager
    def gateway(
        self,
        config: str,
        name: str,
        *,
        cores: set[int] | None = None,
        variables: dict[str, str] | None = None,
        ready: str = "/ready",
    ) -> Iterator[Gateway]:
        """A gateway with fresh state, for as long as the block lasts."""
        self.refuse_busy([self.settings.port(port) for port in ("gateway", "tls", "admin")])
        gateway = Gateway(self, config, name, cores=cores, variables=variables)
        self._programs.append(gateway)
        try:
            await_url(gateway, f"http://{self.settings.at('admin')}{ready}")
            yield gateway
            gateway.check()
        except OSError as error:
            raise Failure(f"{error}; the gateway's log ends with:\n{gateway.tail()}") from error
        finally:
            gateway.end()
            self._programs.remove(gateway)
            if not self.settings.keep:
                shutil.rmtree(self.directory / f"{name}.state", ignore_errors=True)

    def token(self, client: str = "budget-app", secret: str = "budget-secret") -> str:
        """An access token of the bank's identity provider."""
        form = f"grant_type=client_credentials&scope=accounts:read&client_id={client}&client_secret={secret}"
        with urllib.request.urlopen(
            f"http://{self.settings.at('identity')}/token", form.encode(), 10
        ) as answer:
            return str(json.load(answer)["access_token"])

    def wrk(
        self, options: list[str], script: str, seconds: int, environment: dict[str, str], prefix: list[str]
    ) -> dict[str, int]:
        """Has wrk ask the gateway as a script of this folder says; what the script tells at its end."""
        command = [*prefix, "wrk", *options, "-d", f"{seconds}s", "--timeout", "10s", "-s", script]
        done = subprocess.run(
            [*command, f"http://{self.settings.at('gateway')}/"],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 60,
            cwd=HERE,
            env={**os.environ, **environment},
        )
        found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
        if not found:
            raise Failure(f"wrk said nothing of use:\n{done.stdout}{done.stderr}")
        result: dict[str, int] = json.loads(found[1])
        return result

    def refuse_busy(self, ports: list[int]) -> None:
        """Fails if somebody else has one of these ports: it would be measured instead."""
        for port in ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise Failure(f"port {port} is taken ({error}); FIRST_PORT chooses others") from error


def await_url(program: Program, url: str, seconds: float = 120) -> None:
    """Waits for a 200."""
    end = time.monotonic() + seconds
    while True:
        program.check()
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise Failure(
                    f"{url}: {error}; the log of {program.label} ends with:\n{program.tail()}"
                ) from error
            time.sleep(0.05)


def moved(text: str, ports: dict[int, int]) -> str:
    """A configuration with its ports of this machine replaced."""
    return re.sub(
        r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{ports.get(int(found[1]), int(found[1]))}", text
    )


def open_files(wanted: int) -> int:
    """Raises the limit of open files, also of programs started later, as far as granted; to how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def about() -> str:
    """When and on what: figures are worth nothing without."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores = len(os.sched_getaffinity(0))
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {processor}, {cores} cores, Linux {platform.release()}"


def write_section(settings: Settings, mark: str, text: str, title: str) -> None:
    """Puts text between its marks in docs/performance.md, or into a new section if there are none."""
    page = settings.docs / "performance.md"
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    whole = page.read_text()
    before, found, rest = whole.partition(begin)
    _, found_end, after = rest.partition(end)
    section = f"{begin}\n{text.rstrip()}\n{end}"
    if found and found_end:
        page.write_text(f"{before}{section}{after}")
    else:
        page.write_text(f"{whole.rstrip()}\n\n## {title}\n\n{section}\n")
