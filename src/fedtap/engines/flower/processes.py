"""Flower's own processes on this machine: a SuperLink, SuperNodes, and the command that starts a run.

Every process is started by its full path, with a home of its own for Flower, without telemetry, and without installing anything.
All that were started are ended, children included, when the block is left, and by a watchdog when this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from fedtap.engines.flower.certificates import Certificates
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.installing import install
from fedtap.runtime.private import new_private_file, private_folder
from fedtap.runtime.threads import share_cores
from fedtap.runtime.watchdog import Mark, Watchdog

NAME = "federation"  # of the SuperLink in Flower's configuration
HOST = "127.0.0.1"
STARTING = 90.0  # seconds for a process to come up on a busy machine
ENDING = 10.0


class Processes:
    """A SuperLink and its SuperNodes; use it in a ``with`` block.

    Parameters
    ----------
    folder
        For logs and Flower's homes.
    certificates
        For TLS; None: a plain connection, and nodes without keys.
    environment
        Added to this process's.
    """

    def __init__(
        self, folder: Path, certificates: Certificates | None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.certificates = certificates
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        self.port = 0
        self._watchdog: Watchdog | None = None
        self._environment = {
            **os.environ,
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",  # seconds; 1 by default, which each message waits for
            **(environment or {}),
            **Mark.of(folder).environment(),
        }
        share_cores(self._environment)  # all of them are on this machine

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for name in reversed(list(self.started)):
                self.end(name)
        finally:
            if self._watchdog is not None:
                self._watchdog.close()
                self._watchdog = None

    def start_superlink(self, name: str = "superlink", port: int | None = None) -> None:
        """Start a SuperLink on a free port, or on a given one, and wait until it listens.

        It keeps what it knows in a file, so one of the same name that is started again knows the nodes' keys.
        """
        self.port = port or free_port()
        self._configure()
        command = [_program("flower-superlink"), "--host", HOST, "--port", str(self.port)]
        database = self.folder.resolve() / f"{name}.db"
        if not database.exists():
            new_private_file(database)  # SQLite takes an empty file for a new database, and keeps its mode
        command += ["--database", str(database)]
        if self.certificates is None:
            command += ["--insecure"]
        else:
            command += ["--ssl-ca-certfile", str(self.certificates.authority), "--enable-supernode-auth"]
            command += [
                "--ssl-certfile",
                str(self.certificates.certificate),
                "--ssl-keyfile",
                str(self.certificates.key),
            ]
        self._start(name, [*command, "--disable-runtime-dependency-installation"])
        self._wait_for_port(name, self.port)

    def register(self, public_key: Path) -> None:
        """Have the SuperLink know a node's public key."""
        self.flwr("supernode", "register", str(public_key), NAME)

    def start_supernode(
        self, name: str, node_config: Mapping[str, str], key: Path | None, certificates: Certificates | None = None
    ) -> None:
        """Start a SuperNode; it connects, and connects again, by itself. ``certificates`` may be others than the SuperLink's."""
        command = [_program("flower-supernode"), "--superlink", f"{HOST}:{self.port}"]
        command += ["--host", HOST, "--port", str(free_port())]
        trusted = certificates or self.certificates
        command += ["--insecure"] if trusted is None else ["--root-certificates", str(trusted.authority)]
        if key is not None:
            command += ["--auth-supernode-private-key", str(key)]
        config = " ".join(f'{name}="{value}"' for name, value in node_config.items())
        self._start(name, [*command, "--node-config", config])

    def run(self, app: Path, config: Mapping[str, object]) -> None:
        """Send an app to the SuperLink and have it run; this returns as soon as it was taken."""
        told = " ".join(f"{name}={_toml(value)}" for name, value in config.items())
        self.flwr("run", str(app), NAME, "--run-config", told)

    def flwr(self, *arguments: str) -> str:
        """Call Flower's command and return what it wrote.

        Raises
        ------
        RunError
            If it fails.
        """
        environment = {**self._environment, "FLWR_HOME": str(self.folder / "home-cli")}
        done = subprocess.run(
            [_program("flwr"), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            said = " ".join((done.stdout + done.stderr).split())[-500:]
            raise RunError(f"`flwr {arguments[0]} {arguments[1]}` failed: {said}; the logs are in {self.folder}")
        return done.stdout

    def running(self, name: str) -> bool:
        """Tell whether a process that was started is still running."""
        return self.started[name].poll() is None

    def kill(self, name: str) -> None:
        """End a process and its children at once, as a power cut would."""
        children = self._children(name)
        self._signal(name, signal.SIGKILL)
        self.started.pop(name).wait(ENDING)
        _kill(children)

    def end(self, name: str) -> None:
        """Ask a process to end, and see to it that it does, with its children."""
        children = self._children(name)
        self._signal(name, signal.SIGTERM)
        process = self.started.pop(name)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(ENDING)
        _kill(children)

    def log(self, name: str) -> str:
        """Return what a process has written so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _start(self, name: str, command: Sequence[str]) -> None:
        environment = {**self._environment, "FLWR_HOME": str(self.folder / f"home-{name}")}
        private_folder(self.folder)
        if self._watchdog is None:  # before the first that it is to watch
            self._watchdog = Watchdog(self.folder)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    def _children(self, name: str) -> list[psutil.Process]:
        """Return a process's children, and theirs: Flower starts some in sessions of their own, out of the group's reach."""
        try:
            return list(psutil.Process(self.started[name].pid).children(recursive=True))
        except psutil.Error:
            return []

    def _signal(self, name: str, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.started[name].pid, number)

    def _configure(self) -> None:
        """Write down for Flower's command where the SuperLink is."""
        secure = (
            "insecure = true"
            if self.certificates is None
            else f"root-certificates = {_toml(str(self.certificates.authority))}"
        )
        home = self.folder / "home-cli"
        home.mkdir(parents=True, exist_ok=True)
        text = f'[superlink]\ndefault = "{NAME}"\n\n[superlink.{NAME}]\naddress = "{HOST}:{self.port}"\n{secure}\n'
        (home / "config.toml").write_text(text, encoding="utf-8")

    def _wait_for_port(self, name: str, port: int) -> None:
        until = time.monotonic() + STARTING
        while time.monotonic() < until:
            if not self.running(name):
                raise RunError(f"the SuperLink ended: {' '.join(self.log(name).split())[-500:]}")
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                return
            time.sleep(0.2)
        raise RunError(f"the SuperLink did not come up within {STARTING:g} s; its log is {self.folder / f'{name}.log'}")


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _program(name: str) -> str:
    """Return the path of one of Flower's programs, of this environment first."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        raise UserError(f"the program {name} is missing; run: {install('flower')} (Python 3.11 or newer)")
    return path


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if '"' in text or "'" in text or "\n" in text or "\\" in text:
        raise UserError(
            f"{text!r}: quotes, line breaks and backslashes do not pass through Flower's command; rename it"
        )
    return f'"{text}"'
