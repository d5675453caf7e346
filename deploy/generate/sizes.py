"""How large a cluster is, and the settings of the service that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pool.errors import SettingsError
from serve.settings import ServiceSettings

POOL_DIR = Path("/app/pretrained")
"""The pool that ships, inside the image."""
STUDIES_DIR = Path("/shared/studies")
"""On the volume that all nodes share."""
POOL_CACHE_DIR = Path("/shared/pools")
"""Where pools from a registry are kept, likewise."""
TOKEN_FILE = Path("/secrets/service/tokens")
HOST, PORT = "0.0.0.0", 8000
N_MEMBERS = 50
"""Members of the pool that ships; more shards than these would hold nothing."""
MOST_GPUS = 1000


@dataclass(frozen=True)
class ClusterSize:
    """GPUs of a cluster and how shards share them.

    Raises:
        SettingsError: numbers that make no cluster.
    """

    n_gpus: int
    """GPUs in total."""
    gpus_per_shard: float = 1.0
    """GPUs of a shard: one, or a part of one."""

    def __post_init__(self) -> None:
        if not 1 <= self.n_gpus <= MOST_GPUS:
            raise SettingsError("cluster", f"GPUs must be from 1 to {MOST_GPUS}", str(self.n_gpus))
        if not 0 < self.gpus_per_shard <= 1:
            raise SettingsError("cluster", "a shard has one GPU or a part of one", str(self.gpus_per_shard))

    @property
    def shards_per_gpu(self) -> int:
        """Shards that share a GPU: 0.4 of one goes in twice, not two and a half times."""
        return math.floor(1 / self.gpus_per_shard + 1e-9)

    @property
    def n_shards(self) -> int:
        """As many as the GPUs hold, at most one a member."""
        return min(self.n_gpus * self.shards_per_gpu, N_MEMBERS)

    @property
    def name(self) -> str:
        """Of its files, such as `4-gpus-in-halves`."""
        part = {1: "", 2: "-in-halves", 3: "-in-thirds", 4: "-in-quarters"}
        return f"{self.n_gpus}-gpus{part.get(self.shards_per_gpu, f'-in-{self.shards_per_gpu}')}"

    def settings(self) -> ServiceSettings:
        """The service on this cluster."""
        return ServiceSettings(
            pool_dir=POOL_DIR,
            pool_cache_dir=POOL_CACHE_DIR,
            studies_dir=STUDIES_DIR,
            n_shards=self.n_shards,
            gpus_per_shard=self.gpus_per_shard,
            token_file=TOKEN_FILE,
            host=HOST,
            port=PORT,
        )


FIFTY = ClusterSize(50)
"""One GPU a member: the largest that makes sense for a pool of 50."""
FOUR_IN_HALVES = ClusterSize(4, 0.5)
"""Four GPUs, each shared by two shards."""
