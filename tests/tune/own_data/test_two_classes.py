"""A set without blood pool: its networks have two classes, from training to the outline and its uncertainty."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from pool.analysis import AnalysisSettings, analyse
from pool.errors import SettingsError
from pool.evaluation.overlap import dice
from pool.labelled_set import SliceEntry
from pool.labelled_set_writer import LabelledSetWriter
from pool.member import Pool
from pool.series import PerfusionSeries
from pool.shapes import CLASS_NAMES, MYOCARDIUM
from pool.sweep import SweepSettings
from pool.weights import save_weights
from tune.assemble import CHECKPOINT_MEMBER, Candidate, LocalFolder
from tune.run import train_pool
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.training import SeedTraining


@pytest.fixture
def walls(rings: Samples, tmp_path: Path) -> Path:
    """The rings without their blood pool, and the last subject to validate on."""
    labels = np.where(rings.labels == MYOCARDIUM, MYOCARDIUM, 0)
    with LabelledSetWriter(tmp_path / "set", CLASS_NAMES[:2]) as writer:
        for i, subject in enumerate(rings.subject_ids):
            writer.add(rings.frames_of(i)[None].numpy(), labels[i][None], [SliceEntry(subject, str(i))])
        writer.finish({subject: "validation" if subject == "3" else "training" for subject in rings.subject_ids})
    return tmp_path / "set"


def trained_here(settings: TrainingSettings, data: Path, folder: str, *_: object) -> list[Candidate]:
    """In the place of Ray's trials: one seed, in this process."""
    samples = Samples.open(data)
    training = SeedTraining(settings, settings.seeds[0], samples, samples.split(settings))
    candidates = []
    for report in training.epochs():
        place = data.parent / f"epoch-{report.epoch}"
        save_weights(place, CHECKPOINT_MEMBER, training.weights())
        candidates.append(Candidate(report, LocalFolder(place)))
    return candidates


def test_two_class_networks_learn_outline_and_are_uncertain(
    walls: Path, rings: Samples, tiny: TrainingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune.run.running_ray", nullcontext)
    monkeypatch.setattr("tune.run.refuse_unshared", lambda *_: None)
    monkeypatch.setattr("tune.trainable.run_trials", trained_here)
    recipe = dataclasses.replace(tiny, seeds=(1,), n_patches_per_slice=12, learning_rate=1e-2, augment=None)
    assert recipe.network.n_classes == 3
    manifest = train_pool(recipe, walls, tmp_path / "pool")
    assert manifest.provenance["settings"]["network"]["n_classes"] == 2
    pool = Pool.load(tmp_path / "pool")
    assert [member.entry.network.n_classes for member in pool.members] == [2, 2]

    frames = rings.frames_of(11).numpy().astype(np.float32)[None]
    series = PerfusionSeries(frames, np.arange(30.0)[None], None, ("slice-1",), prepared=True)
    sweep = SweepSettings(stride_px=16)
    (item,) = analyse(series, pool, AnalysisSettings(sweep=sweep, n_threads=1)).slices
    u_pp = {}
    for member in pool.members:
        maps = member.analyse(item.prepared, sweep)
        assert maps is not None
        assert maps.probability.shape == (2, 128, 128)
        assert np.allclose(maps.probability.sum(axis=0), 1.0, atol=1e-5)
        u_pp[member.entry.id] = maps.u_pp
    assert {score.member_id: score.u_pp for score in item.selection.scores} == u_pp
    assert item.selection.chosen == min(u_pp, key=lambda member_id: u_pp[member_id] or 0.0)
    assert dice(item.mask, rings.labels[11].numpy() == MYOCARDIUM) > 0.7  # 0.92 to 0.95 with three seeds
    assert item.contours is not None


def test_a_network_with_other_classes_than_the_set_is_refused(walls: Path, tiny: TrainingSettings) -> None:
    samples = Samples.open(walls)
    with pytest.raises(SettingsError, match="network: needs the 2 classes of the set; found 3."):
        SeedTraining(tiny, 1, samples, samples.split(tiny))
