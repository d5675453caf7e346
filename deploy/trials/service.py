"""The service on two Ray nodes of this machine, as an operator would start it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx

from deploy.trials.nodes import TwoNodes, free_ports
from deploy.trials.processes import kill_tree
from serve.settings import ServiceSettings


class ServiceUnderTest:
    """`python -m serve run`, and what an operator may do with it.

    Args:
        folder: for everything.
    """

    def __init__(self, folder: Path) -> None:
        self.settings = ServiceSettings(
            pool_dir=folder / "pool",
            studies_dir=folder / "studies",
            n_shards=2,
            cpus_per_shard=0.2,
            stride_px=16,
            studies_at_once=3,
            port=free_ports(1)[0],
        )
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.nodes = TwoNodes()
        self._log = folder / "serve.log"
        self._driver: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Both nodes, and the service on them; returns when it is ready."""
        self.nodes.start()
        given = self.settings.model_dump(exclude_defaults=True, exclude={"host"})
        environment = self.nodes.environment | {f"POOL_SERVE_{key.upper()}": str(value) for key, value in given.items()}
        command = [sys.executable, "-m", "serve", "run", "--pool", str(self.settings.pool_dir)]
        with self._log.open("ab") as log:
            self._driver = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.wait_until_ready()

    def wait_until_ready(self, deadline_s: float = 600.0) -> None:
        """Until every part of it answers.

        Raises:
            TimeoutError: it does not.
        """
        end_s = time.monotonic() + deadline_s
        while time.monotonic() < end_s:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if self._driver is not None and self._driver.poll() is not None:
                raise TimeoutError(f"the service ended: {self._log.read_text()[-2000:]}")
            time.sleep(0.2)
        raise TimeoutError("the service did not become ready")

    def roll(self, pool: Path, n_shards: int) -> None:
        """`python -m serve roll`, as an operator would call it."""
        options = ["--pool", str(pool), "--studies", str(self.settings.studies_dir), "--shards", str(n_shards)]
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "serve", "roll", *options]
            subprocess.run(command, env=self.nodes.environment, stdout=log, stderr=subprocess.STDOUT, check=True)

    def stop(self) -> None:
        """Kill all of it at once."""
        if self._driver is not None:
            kill_tree(self._driver.pid)
            self._driver.wait()
            self._driver = None
        self.nodes.lose_all()
