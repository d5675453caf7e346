"""Where slices with a truth come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pool.errors import MaskError, PoolError, SettingsError
from pool.labelled_set import LabelledSet
from pool.phantom.presets import get_preset
from tune.evaluation.sources import LabelledSlices, MatPairs, SimulatedSlices, open_sources


def write_pair(folder: Path, stem: str, labels: np.ndarray | None = None) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    image = np.linspace(0, 1, 128 * 128 * 30).reshape(128, 128, 30)
    savemat(folder / "images" / f"{stem}.mat", {"final_img": image})
    mask = np.zeros((128, 128), np.uint8)
    mask[40:60, 40:60] = 1
    mask[45:55, 45:55] = 3
    savemat(folder / "labels" / f"{stem}.mat", {"final_mask": mask if labels is None else labels})


def test_a_phantom_subject_is_the_same_however_many_there_are() -> None:
    two, one = SimulatedSlices(get_preset("inD"), 2, seed=3), SimulatedSlices(get_preset("inD"), 1, seed=3)
    assert (len(two), len(one)) == (6, 3)
    last = two[5]
    assert (last.name, last.subject, last.level) == ("002-apex", "002", "apex")
    assert np.array_equal(two[1].frames, one[1].frames)
    assert np.array_equal(two[1].labels, one[1].labels)
    other = SimulatedSlices(get_preset("inD"), 1, seed=4)
    assert not np.array_equal(other[1].frames, one[1].frames)


def test_phantom_subjects_are_not_those_of_a_training_set_with_the_same_seed(data: Path) -> None:
    trained_on = LabelledSet.open(data)  # `broad`, seed 1
    fresh = SimulatedSlices(get_preset("broad"), 1, seed=1)[0]
    assert not any(np.array_equal(trained_on[i][1], fresh.labels) for i in range(len(trained_on)))


def test_mat_pairs_tell_subject_level_and_labels(tmp_path: Path) -> None:
    for stem in ("P1-x-Basal", "P1-x-Mid", "P2-x-Apical", "P3"):
        write_pair(tmp_path, stem)
    pairs = MatPairs(tmp_path)
    found = [pairs[i] for i in range(len(pairs))]
    assert [(item.name, item.subject, item.level) for item in found] == [
        ("P1-x-Basal", "P1", "base"),
        ("P1-x-Mid", "P1", "mid"),
        ("P2-x-Apical", "P2", "apex"),
        ("P3", "P3", "slice"),
    ]
    assert found[0].frames.shape == (30, 128, 128)
    assert found[0].frames.dtype == np.float32
    assert [int((found[0].labels == k).sum()) for k in (0, 1, 2)] == [128 * 128 - 400, 300, 100]


def test_incomplete_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"set real: needs images/\*\.mat and labels/\*\.mat; found none in .*away"):
        MatPairs(tmp_path / "away")
    write_pair(tmp_path, "A")
    write_pair(tmp_path, "B", labels=np.zeros((4, 4), np.uint8))
    with pytest.raises(
        MaskError, match=r"mask B\.mat: without a place .* \(1, 128, 128\) \(slice row col\); found \(1, 4, 4\)\. Is it"
    ):
        MatPairs(tmp_path)[1]
    write_pair(tmp_path, "B", labels=np.full((128, 128), 2, np.uint8))
    with pytest.raises(MaskError, match=r"mask B\.mat: values must be declared: 0, 1, 3 are; found 2\."):
        MatPairs(tmp_path)[1]
    (tmp_path / "labels" / "B.mat").write_bytes(b"nonsense")
    with pytest.raises(PoolError, match=r"file B\.mat: must be a whole, readable \.mat file; found no MATLAB header"):
        MatPairs(tmp_path)[1]
    (tmp_path / "labels" / "B.mat").unlink()
    with pytest.raises(SettingsError, match=r"set real: needs labels/B\.mat; found no such file\. Add it"):
        MatPairs(tmp_path)


def test_a_labelled_set_gives_its_slices(data: Path) -> None:
    source = LabelledSlices("mine", data)
    stored = LabelledSet.open(data)
    item = source[4]
    assert (len(source), item.level, item.subject) == (9, "mid", stored.subject_ids[4])
    assert item.frames.dtype == np.float32
    assert np.array_equal(item.labels, stored[4][1])


def test_entries_of_sets_are_opened_in_order(data: Path, tmp_path: Path) -> None:
    write_pair(tmp_path, "A")
    sources = open_sources(f"exD-2, real,mine={data}", 2, 1, tmp_path)
    assert [(source.name, len(source), source.simulated) for source in sources] == [
        ("exD-2", 6, True),
        ("real", 1, False),
        ("mine", 9, False),
    ]


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        ("", "evaluation: needs at least one set; found none."),
        ("mars", "set: must be real, NAME=FOLDER of a labelled set, or one of inD, exD-1"),
        ("inD,inD", "evaluation: every set needs a name of its own; found inD twice. Name it once."),
        (
            "../x=folder",
            "set: a name is letters, digits, dots and dashes, at most 40, a letter or digit first; found '../x'.",
        ),
        ("mine=/nowhere", "folder nowhere: a labelled set has a manifest.json"),
        ("real", "set real: needs images"),
    ],
)
def test_unknown_sets_are_refused(sets: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(PoolError) as refusal:
        open_sources(sets, 2, 1, tmp_path)
    assert text in str(refusal.value)


def test_sizes_and_seeds_are_checked() -> None:
    with pytest.raises(SettingsError, match="set inD: needs at least one subject; found 0"):
        SimulatedSlices(get_preset("inD"), 0, 1)
    with pytest.raises(SettingsError, match="set inD: its seed must not be negative; found -1"):
        SimulatedSlices(get_preset("inD"), 1, -1)
