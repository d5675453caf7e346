"""Labelled slices, presets and labelled sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pool.errors import OutputError, SettingsError
from pool.phantom.dynamics import Flow, Motion
from pool.phantom.labelled_set import SIMULATOR_VERSION, write_labelled_set
from pool.phantom.populations import Anatomy
from pool.phantom.presets import PRESETS, get_preset
from pool.phantom.ranges import Range
from pool.phantom.relaxation import Tissue
from pool.phantom.slices import LabelledSlices, make_labelled_slices


def make(name: str, n: int = 6, seed: int = 1) -> LabelledSlices:
    return make_labelled_slices(get_preset(name), n, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def broad() -> LabelledSlices:
    return make("broad", 15, 11)


def test_slices_look_like_prepared_ones(broad: LabelledSlices) -> None:
    assert broad.frames.shape == (15, 30, 128, 128)
    assert broad.frames.dtype == torch.float32
    assert torch.equal(broad.frames.amin((1, 2, 3)), torch.zeros(15))
    assert torch.equal(broad.frames.amax((1, 2, 3)), torch.ones(15))
    assert set(broad.labels.unique().tolist()) == {0, 1, 2}
    assert broad.level_names[:4] == ("base", "mid", "apex", "base")
    assert broad.subject.tolist()[:7] == [0, 0, 0, 1, 1, 1, 2]


def test_the_heart_lies_in_the_middle_of_the_crop(broad: LabelledSlices) -> None:
    for labels in broad.labels:
        row, col = np.argwhere(labels.numpy() == 1).mean(0)
        assert 30 < row < 98
        assert 30 < col < 98


def test_expert_contours_lie_inside_the_anatomical_wall() -> None:
    made = make("exD-1", 12, 2)
    expert, wall = made.labels == 1, made.anatomical_labels == 1
    inside = (expert & wall).sum() / expert.sum()
    assert float(inside) > 0.97
    assert 0.3 < float(expert.sum() / wall.sum()) < 0.85


def test_flow_is_true_where_there_is_muscle_and_nowhere_else(broad: LabelledSlices) -> None:
    muscle = broad.anatomical_labels == 1
    assert float(broad.mbf_ml_min_g[~muscle].abs().max()) == 0.0
    assert float(broad.mbf_ml_min_g[muscle].min()) > 0.0
    assert float(broad.mbf_ml_min_g[muscle].max()) < 8.0


def test_blood_enhances_right_before_left_before_muscle() -> None:
    made = make("inD", 12, 5)
    for i in range(12):
        frames, labels = made.frames[i].numpy(), made.anatomical_labels[i].numpy()
        row, col = np.argwhere(labels == 1).mean(0)
        rows, cols = np.indices(labels.shape)
        lv = (labels == 2) & (np.hypot(rows - row, cols - col) < 8)
        if not lv.any():
            continue
        blood, muscle = frames[:, lv].mean(1), frames[:, labels == 1].mean(1)
        assert blood.max() > muscle.max()
        assert (blood > 0.5 * blood.max()).argmax() <= (muscle > 0.5 * muscle.max()).argmax()


def test_lower_flow_gives_a_lower_early_signal() -> None:
    flow = Flow(stress_share=1.0, defect_share=1.0, diffuse_share=0.0, defect_flow=Range(0.2, 0.2), infarct_share=0.0)
    made = make_labelled_slices(replace(get_preset("exD-1"), flow=flow), 9, torch.Generator().manual_seed(3))
    ratios = []
    for i in range(9):
        muscle = (made.labels[i] == 1) & (made.anatomical_labels[i] == 1)
        mbf = made.mbf_ml_min_g[i][muscle]
        curves = made.frames[i][:, muscle]
        low, high = mbf < 0.4 * mbf.max(), mbf > 0.7 * mbf.max()
        if int(low.sum()) > 40 and int(high.sum()) > 40:
            ratios.append(
                float(
                    (curves[:, low].mean(1) - curves[0, low].mean()).max()
                    / (curves[:, high].mean(1) - curves[0, high].mean()).max()
                )
            )
    assert len(ratios) >= 3
    assert np.median(ratios) < 0.85


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    first, again, other = make("broad", 3, 8), make("broad", 3, 8), make("broad", 3, 9)
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.frames, other.frames)


def test_more_readers_change_nothing_but_their_own_contours() -> None:
    preset = get_preset("exD-1")
    one = make_labelled_slices(preset, 6, torch.Generator().manual_seed(2))
    three = make_labelled_slices(preset, 6, torch.Generator().manual_seed(2), n_readers=3)
    assert torch.equal(one.frames, three.frames)
    assert torch.equal(one.labels, three.labels)
    assert three.reader_labels.shape == (3, 6, 128, 128)
    assert torch.equal(three.reader_labels[0], three.labels)
    first, second = (three.reader_labels[i] == 1 for i in (0, 1))
    dice = 2 * float((first & second).sum()) / float(first.sum() + second.sum())
    assert 0.7 < dice < 0.99
    with pytest.raises(SettingsError, match="number of readers: must be at least 1; found 0"):
        make_labelled_slices(preset, 3, torch.Generator(), n_readers=0)


def test_motion_correction_is_a_dial() -> None:
    preset = get_preset("inD")

    def unrest(motion: Motion) -> float:
        calm = replace(preset, motion=motion, sequence=replace(preset.sequence, noise=Range(0.0, 0.0)))
        frames = make_labelled_slices(calm, 6, torch.Generator().manual_seed(5)).frames
        return float((frames[:, 2:] - 2 * frames[:, 1:-1] + frames[:, :-2]).abs().mean())

    perfect, some, none = (unrest(preset.motion.with_correction(left)) for left in (0.0, 0.3, 1.0))
    assert perfect < some < none
    assert unrest(preset.motion.failed()) > perfect
    with pytest.raises(SettingsError, match="motion left: is a probability and must lie within 0 and 1; found 1.5"):
        preset.motion.with_correction(1.5)


def test_the_global_random_state_stays() -> None:
    before = torch.get_rng_state()
    make("inD", 3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_gives_finite_slices(name: str) -> None:
    made = make(name, 3, 4)
    assert torch.isfinite(made.frames).all()
    assert all(int((labels == 1).sum()) > 100 for labels in made.labels)


def test_presets_hold_the_papers_table() -> None:
    ind, exd1, exd2 = (get_preset(name).sequence for name in ("inD", "exD-1", "exD-2"))
    assert (ind.readouts, exd1.readouts, exd2.readouts) == (("flash",), ("bssfp",), ("flash",))
    assert (ind.ti_ms, exd1.ti_ms, exd2.ti_ms) == (Range(95, 105), Range(95, 130), Range(119, 138))
    assert (ind.flip_deg, exd1.flip_deg, exd2.flip_deg) == (Range(12, 12), Range(26, 35), Range(20, 20))
    assert (ind.acceleration, exd1.acceleration, exd2.acceleration) == (Range(3, 4), Range(2, 2), Range(2, 2))
    assert (ind.thickness_mm, exd1.thickness_mm, exd2.thickness_mm) == (8.0, 8.0, 10.0)
    assert [s.spacing_mm.low for s in (ind, exd1, exd2)] == [1.8, 1.9, 1.7]
    assert (ind.matrix_readout, ind.matrix_phase) == (Range(224, 224), Range(160, 160))
    assert (exd1.matrix_readout, exd1.matrix_phase) == (Range(192, 224), Range(120, 160))
    assert (exd2.matrix_readout, exd2.matrix_phase) == (Range(160, 160), Range(160, 160))
    assert (ind.tr_ms, exd1.tr_ms, exd2.tr_ms) == (Range(2.5, 2.5), Range(2.5, 2.6), Range(2.5, 2.5))
    assert (ind.te_ms, exd1.te_ms, exd2.te_ms) == (Range(0.9, 0.9), Range(1.0, 1.1), Range(0.9, 0.9))
    assert [s.field_t for s in (ind, exd1, exd2)] == [3.0, 3.0, 3.0]
    scanners = [get_preset(name).scanner for name in ("inD", "exD-1", "exD-2")]
    assert scanners == ["Siemens Verio", "Siemens Skyra", "GE Discovery MR750w"]
    assert get_preset("exD-1").flow.stress_share == 1.0  # stress only


def test_bad_parameters_are_refused_in_words() -> None:
    with pytest.raises(SettingsError, match=r"preset: must be one of inD, exD-1, .*; found 'exD-9'"):
        get_preset("exD-9")
    with pytest.raises(SettingsError, match=r"stress flow: must lie within 0.05 and 8 mL/min/g; found 40 .. 40"):
        Flow(stress_ml_min_g=Range(40, 40))
    with pytest.raises(SettingsError, match=r"tissue blood: T1 must be positive; found -1"):
        Tissue("blood", -1.0, 0.2, 0.1)
    with pytest.raises(SettingsError, match=r"parameter range: needs finite bounds in rising order; found 3 .. 2"):
        Range(3, 2)
    with pytest.raises(SettingsError, match=r"LV wall: must lie within 2 and 30 mm; found 0 .. 3"):
        Anatomy(wall_mm=Range(0, 3))
    with pytest.raises(SettingsError, match=r"number of slices: must be at least 1; found 0"):
        make("inD", 0)
    with pytest.raises(SettingsError, match=r"readout: must be among flash, bssfp"):
        replace(get_preset("inD").sequence, readouts=("epi",))


def test_a_labelled_set_is_written_read_and_checked(tmp_path: object) -> None:
    folder = f"{tmp_path}/set"
    seen: list[tuple[int, int]] = []
    made = write_labelled_set(folder, get_preset("broad"), 9, 5, 6, lambda done, all_: seen.append((done, all_)))
    assert seen == [(6, 9), (9, 9)]
    assert len(made) == 9
    frames, labels = made[8]
    assert frames.shape == (30, 128, 128)
    assert frames.dtype == np.float16
    assert isinstance(made.frames[0], np.memmap)
    assert labels.shape == (128, 128)
    assert made.subject_ids == tuple("000111222")
    assert made.level_names == ("base", "mid", "apex") * 3
    assert made.class_names == ("background", "myocardium", "blood pool")
    assert made.layers["anatomical_labels"][1].shape == (3, 128, 128)
    assert made.manifest["origin"]["simulator"] == SIMULATOR_VERSION
    again = write_labelled_set(f"{tmp_path}/again", get_preset("broad"), 9, 5, 6)
    assert again.manifest == made.manifest
    with pytest.raises(IndexError):
        made[9]
    with pytest.raises(OutputError, match="must be new or empty"):
        write_labelled_set(folder, get_preset("broad"), 9, 5, 6)


def test_slices_must_come_by_hearts(tmp_path: object) -> None:
    with pytest.raises(SettingsError, match="number of slices: must be a positive multiple of 3"):
        write_labelled_set(f"{tmp_path}/set", get_preset("inD"), 10, 5)
