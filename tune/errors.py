"""What can go wrong while a pool is made.

PoolError
|-- TrainingError           training that cannot give the pool asked for
|   `-- TooFewMembersError  too few checkpoints are good enough to become members
|-- JournalError            a log of a training, kept for MLflow, that cannot be used
`-- MlflowError             what was asked of an MLflow server cannot be had from it
"""

from __future__ import annotations

from pool.errors import PoolError


class TrainingError(PoolError):
    """Training that cannot give the pool asked for."""


class TooFewMembersError(TrainingError):
    """Too few checkpoints are good enough to become members."""


class JournalError(PoolError):
    """A log of a training, kept for MLflow, that cannot be used."""


class MlflowError(PoolError):
    """What was asked of an MLflow server cannot be had from it."""
