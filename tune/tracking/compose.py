"""The entries of each kind of run: parameters, tags and metrics by the names that MLflow's user interface shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pool.networks import NetworkSpec
from tune.fields import flat_fields
from tune.recipe import Recipe
from tune.tracking.entries import Entry, Point, RunLogged, RunStarted, RunStatus
from tune.tracking.facts import code_tags
from tune.training import EpochReport

POOL = "pool"
"""The parent run, in the journal."""


def seed_run(seed: int) -> str:
    """A seed's run, in the journal."""
    return f"seed-{seed}"


def training_started(
    name: str, settings: Recipe, data_sha256: str, start_sha256: str | None, now_ms: int
) -> tuple[Entry, ...]:
    """The parent run with configuration, data, start and code, and under it a run a seed."""
    tags = {"kind": "pool", "data_sha256": data_sha256, "settings_sha256": settings.sha256(), **code_tags()}
    tags |= {"start_sha256": start_sha256} if start_sha256 else {}
    entries: list[Entry] = [
        RunStarted(POOL, name, now_ms, tags),
        RunLogged(POOL, _flat_params(settings.to_dict())),
    ]
    for seed in settings.seeds:
        run = seed_run(seed)
        entries.append(RunStarted(run, run, now_ms, {"kind": "seed", "seed": str(seed)}, POOL))
        entries.append(RunLogged(run, {"seed": str(seed)}))
    return tuple(entries)


def epoch_done(report: EpochReport, now_ms: int) -> RunLogged:
    """A point of each of the seed's curves."""
    values = {
        **_scores(report),
        "learning_rate": report.learning_rate,
        "n_patches_per_s": report.n_patches_per_s,
    }
    return RunLogged(seed_run(report.seed), points=points_of(values, report.epoch, now_ms))


def checkpoint_run(
    member_id: str, reports: Sequence[EpochReport], network: NetworkSpec, times_ms: Mapping[int, int]
) -> tuple[Entry, ...]:
    """A finished run: the seed's curves up to the checkpoint's own epoch, the same names for all.

    Args:
        member_id: of the checkpoint.
        reports: of the seed's epochs up to the checkpoint's, which is the last.
        network: of the checkpoint.
        times_ms: when each epoch was logged [ms since 1970].
    """
    seed, epoch = reports[-1].seed, reports[-1].epoch
    tags = {"kind": "checkpoint", "member_id": member_id, "member": "false"}
    params = {"seed": str(seed), "epoch": str(epoch), **_flat_params({"network": network.to_dict()})}
    points = [point for r in reports for point in points_of(_scores(r), r.epoch, times_ms[r.epoch])]
    return (
        RunStarted(member_id, member_id, times_ms[epoch], tags, POOL),
        RunLogged(member_id, params, tuple(points)),
        RunStatus(member_id, "FINISHED", times_ms[epoch]),
    )


def points_of(values: Mapping[str, float], step: int, time_ms: int) -> tuple[Point, ...]:
    """Metrics of one moment."""
    return tuple(Point(name, value, step, time_ms) for name, value in values.items())


def _scores(report: EpochReport) -> dict[str, float]:
    return {"validation_dice": report.validation_dice, "train_loss": report.train_loss}


def _flat_params(fields: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in flat_fields(fields).items()}
