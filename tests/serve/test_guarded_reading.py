"""The service opens uploads in limited children, and what these leave behind goes with the study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pool.asl.inputs import open_asl_study
from pool.errors import InconsistentStudyError, UnreadableFileError, UnsupportedFileError
from pool.guarded import ReadingLimits
from pool.manifest import PoolManifest
from pool.preprocess import PreprocessSettings
from serve.reading import AslUpload, GuardedReader, PerfusionUpload
from serve.settings import ServiceSettings
from tests.asl_samples import trials_manifest, write_asl_npz
from tests.samples import bolus_series, write_npz
from tests.serve.fakes import PlainReader, manifest_of

SETTINGS = PreprocessSettings()


def test_a_study_is_read_and_prepared_as_without_limits(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "study.npz", bolus_series(n_slices=2, n_frames=12))
    (tmp_path / "scratch").mkdir()
    found = GuardedReader(ReadingLimits()).read([path], SETTINGS, tmp_path / "scratch")
    expected = PlainReader().read([path], SETTINGS, tmp_path)
    assert isinstance(found, PerfusionUpload)
    assert isinstance(expected, PerfusionUpload)
    assert found.study.series.content_sha256() == expected.study.series.content_sha256()
    assert [item.record() for item in found.prepared] == [item.record() for item in expected.prepared]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_asl_study_is_told_from_a_first_pass(tmp_path: Path) -> None:
    path = write_asl_npz(tmp_path / "study.npz")
    (tmp_path / "scratch").mkdir()
    found = GuardedReader(ReadingLimits()).read([path], SETTINGS, tmp_path / "scratch")
    assert isinstance(found, AslUpload)
    assert found.study.series.content_sha256() == open_asl_study(path).series.content_sha256()


def test_a_pool_without_members_for_a_study_refuses_it_in_words(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "study.npz", bolus_series(n_slices=2, n_frames=12))
    first_pass = PlainReader().read([path], SETTINGS, tmp_path)
    asl = PlainReader().read([write_asl_npz(tmp_path / "asl.npz")], SETTINGS, tmp_path)
    patches, trials = manifest_of(3), trials_manifest()
    mixed = PoolManifest("mixed", (*patches.members, *trials.members))
    assert (first_pass.n_sweeps(mixed), asl.n_sweeps(mixed)) == (2 * 3, len(trials.members))
    with pytest.raises(
        UnsupportedFileError, match="perfusion series for pool fake, whose.*patches; found an ASL study"
    ):
        asl.n_sweeps(patches)
    with pytest.raises(UnsupportedFileError, match="ASL study for pool .*whose.* trials; found a perfusion series"):
        first_pass.n_sweeps(trials)


def test_an_asl_image_that_shows_nothing_is_refused_at_the_door(tmp_path: Path) -> None:
    path = write_asl_npz(tmp_path / "asl.npz")
    with np.load(path) as found:
        arrays = dict(found)
    np.savez(path, **{**arrays, "control": np.ones_like(arrays["control"])})
    with pytest.raises(InconsistentStudyError, match="mean control image"):
        PlainReader().read([path], SETTINGS, tmp_path)


def test_everything_of_a_reading_lies_in_its_scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr("pool.guarded._run", lambda work, _limits: seen.append(work) or "a test")
    with pytest.raises(UnreadableFileError, match="found a test"):
        GuardedReader(ReadingLimits()).read([tmp_path / "x.npz"], SETTINGS, tmp_path)
    assert [work.parent for work in seen] == [tmp_path]


def test_limits_are_settings() -> None:
    settings = ServiceSettings(pool_dir="pool", reader_memory_mb=777, reader_deadline_s=9)
    assert settings.reading == ReadingLimits(memory_mb=777, seconds=9)
