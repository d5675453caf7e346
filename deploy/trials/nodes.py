"""Two Ray nodes on this machine, each with its own processes and folder, to be lost one by one."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from deploy.trials.processes import descendants, kill_tree

PATIENCE_S = 300.0
"""Longest wait for a node [s]: machines that also do other work are slow to start one."""
ROOT = Path(__file__).parents[2]


def free_ports(n: int) -> list[int]:
    """Ports of loopback that nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Node:
    """One `ray start --block`.

    Args:
        options: beside those that all nodes share.
        environment: of all that it starts.
    """

    def __init__(self, options: list[str], environment: dict[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: it holds sockets
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"]
        ports = [f"--dashboard-agent-listen-port={free_ports(1)[0]}", "--min-worker-port=0", "--max-worker-port=0"]
        sizes = [
            "--num-cpus=1",
            "--object-store-memory=150000000",
            f"--temp-dir={self.folder}",
            "--disable-usage-stats",
        ]
        self._log = (self.folder / "node.log").open("wb")
        self.process = subprocess.Popen(
            [*command, *ports, *sizes, *options], env=environment, stdout=self._log, stderr=subprocess.STDOUT
        )

    @property
    def is_up(self) -> bool:
        """Whether it says so."""
        return "Ray runtime started" in (self.folder / "node.log").read_text()

    def processes(self) -> dict[int, str]:
        """All that run on it: title by process id."""
        return descendants(self.process.pid)

    def lose(self) -> None:
        """Kill everything on it at once."""
        kill_tree(self.process.pid)
        self.process.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class TwoNodes:
    """A head of one CPU and a second node of one CPU, on loopback, with Ray's token authentication."""

    def __init__(self) -> None:
        others = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_ADDRESS")  # of a local Ray; of somebody else's
        self.environment = {name: value for name, value in os.environ.items() if name not in others} | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        self._nodes: list[Node] = []

    def start(self) -> None:
        """Both nodes."""
        self._nodes = [self._started(head=True)]
        self.start_second()

    def start_second(self) -> None:
        """The second node, after it was lost or at first."""
        self._nodes.append(self._started(head=False))

    def lose_second(self) -> None:
        """Kill everything on the second node."""
        self._nodes.pop().lose()

    def lose_all(self) -> None:
        """Kill everything."""
        for node in reversed(self._nodes):
            node.lose()
        self._nodes = []

    def processes(self) -> dict[int, str]:
        """All that run on both nodes: title by process id."""
        return {pid: title for node in self._nodes for pid, title in node.processes().items()}

    def _started(self, head: bool) -> Node:
        """Again and again until it is up: Ray gives a node little time to start, which busy machines do not keep."""
        end_s = time.monotonic() + PATIENCE_S
        node = self._new(head)
        while not node.is_up:
            if node.process.poll() is not None:
                node.lose()
                node = self._new(head)
            if time.monotonic() > end_s:
                node.lose()
                raise TimeoutError("no Ray node came up")
            time.sleep(0.1)
        return node

    def _new(self, head: bool) -> Node:
        if not head:
            return Node([f"--address={self.environment['RAY_ADDRESS']}"], self.environment)
        port, client_port = free_ports(2)
        self.environment["RAY_ADDRESS"] = f"127.0.0.1:{port}"
        options = ["--head", f"--port={port}", f"--ray-client-server-port={client_port}", "--include-dashboard=false"]
        return Node(options, self.environment)
