"""Programs that run for a while: started on one core, their CPU counted, ended with all they started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from peers import Command
from settings import Failure

HERTZ = os.sysconf("SC_CLK_TCK")


class Group:
    """Some programs on one core, with everything that they start."""

    def __init__(self, commands: list[Command], core: int, log: Path) -> None:
        self.log = log
        self._commands = commands
        self._programs: list[subprocess.Popen[bytes]] = []
        with log.open("wb") as file:
            for command in commands:
                pinned = ["taskset", "-c", str(core), *command.words]
                output = subprocess.DEVNULL if command.discard_output else file
                try:
                    # A session of its own, so that it can be ended with its children.
                    program = subprocess.Popen(
                        pinned, stdin=subprocess.DEVNULL, stdout=output, stderr=file, start_new_session=True
                    )
                except OSError as error:
                    self.end()
                    raise Failure(f"{command.words[0]}: {error}") from error
                self._programs.append(program)

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU so far, of all threads and children of each program, as the system counts them."""
        children: dict[int, list[int]] = {}
        ticks: dict[int, int] = {}
        for pid, parent, used in _processes():
            ticks[pid] = used
            children.setdefault(parent, []).append(pid)
        seconds = {}
        for command, program in zip(self._commands, self._programs, strict=True):
            total, waiting = 0, [program.pid]
            while waiting:
                pid = waiting.pop()
                total += ticks.get(pid, 0)
                waiting += children.get(pid, [])
            seconds[command.label] = total / HERTZ
        return seconds

    def check(self) -> None:
        """Fails if one of them has ended."""
        for command, program in zip(self._commands, self._programs, strict=True):
            if program.poll() is not None:
                raise Failure(f"{command.label} ended by itself ({program.returncode}):\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        """The end of what they said."""
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  | {line}" for line in text[-lines:]) or "  | (it said nothing)"

    def end(self) -> None:
        """Ends them, kindly first. SIGINT: SIGTERM makes some wait for clients that never come back."""
        for program in self._programs:
            _signal(program.pid, signal.SIGINT)
        end = time.monotonic() + 5
        for program in self._programs:
            while not _has_ended(program.pid) and time.monotonic() < end:
                time.sleep(0.02)
            # What it started may still be there.
            _signal(program.pid, signal.SIGKILL)
            program.wait()


def _has_ended(pid: int) -> bool:
    """Whether a child has, without taking note: until then its number is nobody else's."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _processes() -> Iterator[tuple[int, int, int]]:
    """Every process: its number, its parent's and its ticks of CPU, in user mode and in the system."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # Its name stands in parentheses and may hold anything, so what counts is what follows.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        yield int(entry.name), int(fields[1]), int(fields[11]) + int(fields[12])


@contextmanager
def running(commands: list[Command], core: int, log: Path) -> Iterator[Group]:
    """Programs for as long as the block lasts."""
    group = Group(commands, core, log)
    try:
        yield group
    finally:
        group.end()
        for command in commands:
            # A peer's folder in memory is not below the others.
            for word in command.words:
                if word.startswith("/dev/shm/compare-"):
                    shutil.rmtree(word, ignore_errors=True)


def await_port(group: Group, port: int, seconds: float = 120) -> None:
    """Waits until somebody listens: 10,000 routes take some peers a while."""
    end = time.monotonic() + seconds
    while True:
        group.check()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise Failure(f"nobody listens at port {port}:\n{group.tail()}") from None
            time.sleep(0.05)


def refuse_busy(ports: list[int]) -> None:
    """Fails if somebody else has one of these ports: it would be measured instead."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise Failure(f"port {port} is taken ({error}); FIRST_PORT chooses others") from error
