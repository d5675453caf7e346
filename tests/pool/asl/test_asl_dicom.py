"""A phantom ASL study as DICOM: read back in both dialects, analysed, and its results as DICOM objects."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from pool.__main__ import main
from pool.asl.inputs import open_asl_study
from pool.errors import SettingsError
from pool.phantom.asl_files import ASL_DIALECTS, write_asl_studies
from pool.phantom.presets import get_preset
from tests.pool.dicom import asl_samples as samples

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module", params=list(ASL_DIALECTS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = write_asl_studies(
        tmp_path_factory.mktemp("asl") / "studies", get_preset("inD"), 1, 4, dialect=request.param
    )
    return path


def test_the_files_hold_the_study_that_the_arrays_hold(study: Path, folder: Path) -> None:
    wanted, found = open_asl_study(study).series, open_asl_study(folder)
    series = found.series
    assert wanted.baseline is not None
    assert series.baseline is not None
    # half a step of 12 bits over the range of the brightest image; the enhanced file has 16
    step = float(np.abs(wanted.baseline).max()) / 2000
    for name in ("control", "labelled", "baseline"):
        assert np.abs(getattr(series, name) - getattr(wanted, name)).max() <= step
    assert series.ti_s == pytest.approx(wanted.ti_s, abs=1e-6)
    assert series.pixel_spacing_mm == wanted.pixel_spacing_mm
    assert (series.field_t, series.flow_refused) == (3.0, "")
    assert found.dicom is not None
    assert found.dicom.thickness_mm == 10.0
    assert np.linalg.norm(found.dicom.geometry[0].normal) == pytest.approx(1.0)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_the_files_are_valid_dicom(folder: Path) -> None:
    for path in sorted(folder.iterdir())[:3]:  # of single files the baseline and one of either kind
        verdict = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert "Error" not in verdict, verdict


def test_the_command_analyses_it_and_leaves_dicom_objects(
    folder: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["asl", str(folder), "--pool", str(mixed), "--out", str(out)]
    assert main(words) == 0
    assert "read: control, labelled and baseline images told by" in capsys.readouterr().out
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(files) == {"maps.npz", "overlay.png", "result.json", "segmentation.dcm", "umap.dcm"}
    result = json.loads(files["result.json"])
    assert result["no_flow"] == ""
    assert result["settings"]["values"]["field_t"] == 3.0
    source = pydicom.dcmread(sorted(folder.iterdir())[0])
    drawn, umap = (pydicom.dcmread(out / name) for name in ("segmentation.dcm", "umap.dcm"))
    dicom = open_asl_study(folder).dicom
    assert dicom is not None
    with np.load(out / "maps.npz") as maps:
        assert np.array_equal(drawn.pixel_array.reshape(maps["mask"].shape) > 0, maps["mask"])
        assert np.array_equal(umap.pixel_array.reshape(maps["mask"].shape), maps["uncertainty"])
    for made in (drawn, umap):
        assert (made.PatientID, made.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
        place = made.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
        assert [float(x) for x in place] == pytest.approx(dicom.geometry[0].position_mm, abs=1e-4)
        named = {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence}
        assert named == {frame.sop_instance_uid for frame in dicom.sources[0]}
    assert main(words) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_the_objects_are_valid_dicom(mixed: Path, tmp_path: Path) -> None:
    asl = samples.write(tmp_path / "asl", samples.run())
    assert main(["asl", str(asl), "--pool", str(mixed), "--out", str(tmp_path / "out")]) == 0
    for name in ("segmentation.dcm", "umap.dcm"):
        done = subprocess.run(["dciodvfy", str(tmp_path / "out" / name)], capture_output=True, text=True, check=False)
        assert "Error" not in done.stderr, done.stderr


def test_options_say_what_the_headers_do_not(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = samples.write(tmp_path / "asl", samples.run(ImageComments=None))
    words = ["asl", str(bare), "--pool", str(mixed), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "Say what a series is by --series" in capsys.readouterr().err
    assert main([*words, "--pair-starts-with", "control"]) == 0
    assert "read: control and labelled images told by their order, control first" in capsys.readouterr().out
    assert main([*words, "--run", "stress", "--pair-starts-with", "control"]) == 2
    assert "must hold an ASL run at stress" in capsys.readouterr().err


def test_the_phantom_command_writes_either_dialect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["phantom", "--asl", "--seed", "4", "--preset", "inD", "--dicom"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0  # classic where none is named
    assert len(list((tmp_path / "a" / "study-0001").iterdir())) == 13
    assert (tmp_path / "a" / "study-0001-truth.npz").is_file()
    assert main([*words, "siemens", "--out", str(tmp_path / "b")]) == 2
    assert "DICOM dialect of ASL: must be one of classic, enhanced; found 'siemens'" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="DICOM dialect of ASL"):
        write_asl_studies(tmp_path / "c", get_preset("inD"), 1, 4, dialect="")
