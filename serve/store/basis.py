"""What an answer rests on beside the study itself: which pool, and which settings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Basis:
    """Pool and settings of an analysis; the same study on the same basis has the same answer."""

    pool_sha256: str
    """Hash of the pool's manifest."""
    settings_sha256: str
    """Hash of the analysis settings, those of ASL included where the pool has members for it."""

    @property
    def key(self) -> str:
        """Both in one, 16 hexadecimal digits."""
        return hashlib.sha256(f"{self.pool_sha256}/{self.settings_sha256}".encode()).hexdigest()[:16]

    def with_content(self, content_sha256: str) -> str:
        """Key of the answer about one upload, 64 hexadecimal digits."""
        return hashlib.sha256(f"{self.pool_sha256}/{self.settings_sha256}/{content_sha256}".encode()).hexdigest()
