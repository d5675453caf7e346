"""A Ray cluster of several nodes on this machine, as an operator starts one: `ray start`, a token, a job server."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

PATIENCE_S = 600.0
"""Most time that anything here is waited for [s]: slow machines are no failures."""


def wait_until(what: str, holds: Callable[[], bool], alive: subprocess.Popen[str] | None = None) -> None:
    """Wait for a condition; fail early where the process that must bring it about has ended."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_s, f"waited in vain until {what}"
        if alive is not None and alive.poll() is not None and not holds():
            raise AssertionError(f"exit code {alive.returncode} before {what}:\n{alive.communicate()[0]}")
        time.sleep(0.05)


@contextmanager
def killed_at_last(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The process, which does not outlive the block, whatever happens in it."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def runs(pid: int) -> bool:
    """Whether that process runs; one that is dead and not yet buried does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def free_ports(n: int) -> list[int]:
    """Ports of loopback that nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def run_python(words: list[str], environment: Mapping[str, str]) -> AbstractContextManager[subprocess.Popen[str]]:
    """A Python program in the checkout, its output in one stream; it does not outlive the block."""
    process = subprocess.Popen(
        [sys.executable, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    return killed_at_last(process)


class RayNodes:
    """A head and further nodes, each of its own `ray start --block`: killing that process loses the node."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: it holds sockets
        self._processes: list[subprocess.Popen[bytes]] = []
        ours = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_ADDRESS")  # of a local Ray; of somebody else's
        self.environment = {name: value for name, value in os.environ.items() if name not in ours} | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "COLUMNS": "1000",
        }
        self.address = ""
        self.job_server = ""
        self._log = self.folder / "none"

    def start_head(self) -> None:
        """A head of one CPU and, as far as Ray knows, one GPU, with a job server."""

        def options() -> list[str]:
            port, dashboard_port, client_port = free_ports(3)
            self.address, self.job_server = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}"
            ports = [f"--port={port}", f"--dashboard-port={dashboard_port}", f"--ray-client-server-port={client_port}"]
            return ["--head", *ports, "--dashboard-host=127.0.0.1", "--num-gpus=1"]

        self._start(options)

    def add_node(self) -> subprocess.Popen[bytes]:
        """A node of one CPU."""
        return self._start(lambda: [f"--address={self.address}"])

    def _start(self, options: Callable[[], list[str]]) -> subprocess.Popen[bytes]:
        """Again and again until it is up: Ray gives a node little time to start, which busy machines do not keep."""
        started: list[subprocess.Popen[bytes]] = []

        def is_up() -> bool:
            if not started or started[-1].poll() is not None:
                started.append(self._begin(options()))
            return "Ray runtime started" in self._log.read_text()

        wait_until("a node of Ray is up", is_up)
        return started[-1]

    def _begin(self, options: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"]
        ports = [f"--dashboard-agent-listen-port={free_ports(1)[0]}", "--min-worker-port=0", "--max-worker-port=0"]
        own_disk = self.folder / str(len(self._processes))  # a shared one loses what a node thinks nobody needs
        sizes = ["--num-cpus=1", "--object-store-memory=100000000", f"--temp-dir={own_disk}"]
        self._log = self.folder / f"{own_disk.name}.log"
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [*command, *ports, *sizes, *options], env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        self._processes.append(process)
        return process

    def run(self, *command: str, **changes: str) -> AbstractContextManager[subprocess.Popen[str]]:
        """See `run_python`, in the cluster's environment."""
        return run_python(list(command), self.environment | changes)

    def stop(self) -> None:
        """End all nodes."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()  # and with it, by the kernel, all that it started
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
