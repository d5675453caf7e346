"""The service opens uploads in limited children, and what these leave behind goes with the study."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.errors import UnreadableFileError
from pool.guarded import ReadingLimits
from pool.preprocess import PreprocessSettings
from serve.reading import GuardedReader
from serve.settings import ServiceSettings
from tests.samples import bolus_series, write_npz
from tests.serve.fakes import PlainReader

SETTINGS = PreprocessSettings()


def test_a_study_is_read_and_prepared_as_without_limits(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "study.npz", bolus_series(n_slices=2, n_frames=12))
    (tmp_path / "scratch").mkdir()
    study, prepared = GuardedReader(ReadingLimits()).read([path], SETTINGS, tmp_path / "scratch")
    expected, its = PlainReader().read([path], SETTINGS, tmp_path)
    assert study.series.content_sha256() == expected.series.content_sha256()
    assert [item.record() for item in prepared] == [item.record() for item in its]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_everything_of_a_reading_lies_in_its_scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr("pool.guarded._run", lambda work, _limits: seen.append(work) or "a test")
    with pytest.raises(UnreadableFileError, match="found a test"):
        GuardedReader(ReadingLimits()).read([tmp_path / "x.npz"], SETTINGS, tmp_path)
    assert [work.parent for work in seen] == [tmp_path]


def test_limits_are_settings() -> None:
    settings = ServiceSettings(pool_dir="pool", reader_memory_mb=777, reader_deadline_s=9)
    assert settings.reading == ReadingLimits(memory_mb=777, seconds=9)
