from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pool.errors import PoolError, SettingsError
from pool.shapes import CLASS_NAMES
from tune.samples import Samples, Split, draw_batches, seeded_generator, split_by_subject
from tune.settings import TrainingSettings


@pytest.mark.parametrize("split_seed", range(20))
def test_no_subject_is_on_both_sides(split_seed: int) -> None:
    subjects = [f"p{i // 3}" for i in range(60)]
    split = split_by_subject(subjects, TrainingSettings.quick(split_seed=split_seed, validation_share=0.2))
    training, validation = ({subjects[i] for i in side} for side in (split.training, split.validation))
    assert not training & validation
    assert len(validation) == 4
    assert sorted(split.training + split.validation) == list(range(60))


def test_the_split_depends_on_its_seed_alone_and_validation_can_be_thinned() -> None:
    subjects = [str(i // 3) for i in range(90)]
    first, other = (
        split_by_subject(subjects, TrainingSettings.quick(split_seed=s, n_validation_slices=5)) for s in (1, 2)
    )
    assert first == split_by_subject(subjects, TrainingSettings.quick(split_seed=1, n_validation_slices=5, seeds=(9,)))
    assert first != other
    assert len(first.validation) == 5


def test_one_subject_cannot_be_split() -> None:
    with pytest.raises(SettingsError, match="labelled set: needs at least 2 subjects.*; found 1. Add subjects."):
        split_by_subject(["a", "a"], TrainingSettings())


def test_a_declared_split_is_honoured_whatever_the_seed(data: Path) -> None:
    declared = {"0": "validation", "1": "training", "2": "training"}
    samples = dataclasses.replace(Samples.open(data), declared_split=declared)
    for split_seed in range(5):
        split = samples.split(TrainingSettings.quick(split_seed=split_seed))
        assert split == Split(training=(3, 4, 5, 6, 7, 8), validation=(0, 1, 2))
    assert samples.split(TrainingSettings.quick(n_validation_slices=2)).validation == (0, 2)
    with pytest.raises(PoolError, match="split: needs a side for every subject; found none for 1 of 3."):
        split_by_subject(samples.subject_ids, TrainingSettings(), {"0": "validation", "1": "training"})


def test_the_labels_decide_how_many_classes_a_network_has(rings: Samples) -> None:
    with pytest.raises(SettingsError, match="labels of 2 classes end there; found 2."):
        dataclasses.replace(rings, class_names=CLASS_NAMES[:2])
    two = dataclasses.replace(rings, labels=rings.labels.clamp(max=1), class_names=CLASS_NAMES[:2])
    assert two.settings_for_classes(TrainingSettings.quick()).network.n_classes == 2
    assert rings.settings_for_classes(TrainingSettings.quick()) == TrainingSettings.quick()


def test_an_epoch_uses_every_position_of_every_slice_equally() -> None:
    settings = TrainingSettings.quick(n_patches_per_slice=18, batch_size=9)
    batches = list(draw_batches([3, 7], settings, 128, seeded_generator("order", 1)))
    drawn = [(int(i), *map(int, rc)) for slices, offsets in batches for i, rc in zip(slices, offsets, strict=True)]
    assert len(batches) == 4
    assert sorted(drawn) == sorted(
        (i, r, c) for i in (3, 7) for r in (0, 32, 64) for c in (0, 32, 64) for _ in range(2)
    )


def test_an_epoch_must_fill_a_batch() -> None:
    settings = TrainingSettings.quick(n_patches_per_slice=2, batch_size=16)
    with pytest.raises(SettingsError, match=r"must fill a batch of 16 patches; found 10 patches of 5 slices\."):
        list(draw_batches(range(5), settings, 128, seeded_generator("order", 1)))


def test_shards_are_one_set(rings: Samples) -> None:
    frames, labels = rings.gather(torch.tensor([4, 5, 11]))
    assert frames.dtype == torch.float32
    assert torch.equal(frames[1], rings.shards[1][0].float())
    assert torch.equal(frames[2], rings.frames_of(11).float())
    assert torch.equal(labels[0], rings.labels[4])
    assert (len(rings), rings.n_subjects, rings.n_frames, rings.image_px) == (12, 4, 30, 128)


def test_labels_of_another_size_are_refused() -> None:
    frames, labels = np.zeros((2, 30, 16, 16), np.float16), np.zeros((2, 16, 15), np.uint8)
    with pytest.raises(SettingsError, match=r"labels of the same size; found 2 slices.*\(2, 16, 15\)"):
        Samples.from_arrays([frames], [labels], ["a", "b"])
    with pytest.raises(SettingsError, match=r"needs one subject a slice; found 1 for 2\."):
        Samples.from_arrays([frames], [np.zeros((2, 16, 16), np.uint8)], ["a"])


def test_a_folder_without_a_set_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PoolError, match="a labelled set has a manifest.json"):
        Samples.open(tmp_path)


def test_generators_differ_by_purpose_and_number() -> None:
    seeds = {seeded_generator(*key).initial_seed() for key in (("order", 1, 1), ("order", 1, 2), ("augment", 1, 1))}
    assert len(seeds) == 3
