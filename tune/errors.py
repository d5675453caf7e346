"""What can go wrong while a pool is made.

PoolError
`-- TrainingError           training that cannot give the pool asked for
    `-- TooFewMembersError  too few checkpoints are good enough to become members
"""

from __future__ import annotations

from pool.errors import PoolError


class TrainingError(PoolError):
    """Training that cannot give the pool asked for."""


class TooFewMembersError(TrainingError):
    """Too few checkpoints are good enough to become members."""
