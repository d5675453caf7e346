import json
from pathlib import Path

import pytest
import torch
from torch import nn

from pool.__main__ import calibrated
from pool.analysis import AnalysisSettings
from pool.engine import EngineSettings, calibration
from pool.engine.calibration import BATCH_SIZES, calibrate, default_cache
from pool.member import Pool
from pool.networks import NetworkSpec
from pool.sweep import SweepSettings
from tests.pool.engine.networks import lively_network
from tests.samples import tiny_pool

SPEC = NetworkSpec(width=4, n_poolings=2, n_frames=5)
NETWORK = lively_network(SPEC)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[EngineSettings]:
    """Candidates in the order of their measurement; 16 patches in the default layout would be the fastest."""
    asked: list[EngineSettings] = []

    def fake(network: nn.Module, spec: NetworkSpec, settings: EngineSettings) -> float:
        asked.append(settings)
        return abs((settings.batch_size or 0) - 16) + (2.0 if settings.channels_last else 1.0)

    monkeypatch.setattr(calibration, "_fastest_s", fake)
    return asked


def test_the_fastest_is_chosen_and_remembered(tmp_path: Path, measured: list[EngineSettings]) -> None:
    first = calibrate(NETWORK, SPEC, EngineSettings("bfloat16"), tmp_path)
    assert first.settings == EngineSettings("bfloat16", 16, channels_last=False)  # the data type is as it was asked for
    assert [(item.batch_size, item.channels_last) for item in measured] == [
        *((size, True) for size in BATCH_SIZES),
        (16, False),
    ]
    assert first.measured_s["batch 16, channels last"] == 2.0
    again = calibrate(NETWORK, SPEC, EngineSettings("bfloat16"), tmp_path)
    assert again.settings == first.settings
    assert again.measured_s == {}
    assert len(measured) == 4
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_another_network_dtype_or_number_of_threads_is_measured_anew(
    tmp_path: Path, measured: list[EngineSettings]
) -> None:
    calibrate(NETWORK, SPEC, EngineSettings(), tmp_path)
    calibrate(NETWORK, NetworkSpec(width=8, n_poolings=2, n_frames=5), EngineSettings(), tmp_path)
    calibrate(NETWORK, SPEC, EngineSettings("bfloat16"), tmp_path)
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads + 1)
        calibrate(NETWORK, SPEC, EngineSettings(), tmp_path)
    finally:
        torch.set_num_threads(n_threads)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"batch_size": 8}', '{"batch_size": 0, "channels_last": true}', "\x00"]
)
def test_a_broken_cache_is_measured_again(tmp_path: Path, measured: list[EngineSettings], content: str) -> None:
    expected = calibrate(NETWORK, SPEC, EngineSettings(), tmp_path).settings
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    assert calibrate(NETWORK, SPEC, EngineSettings(), tmp_path).settings == expected
    assert json.loads(path.read_text()) == {"batch_size": 16, "channels_last": False}


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, measured: list[EngineSettings]) -> None:
    (tmp_path / "file").write_text("")
    assert calibrate(NETWORK, SPEC, EngineSettings(), tmp_path / "file").settings.batch_size == 16


def test_a_real_measurement_gives_a_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "BUDGET_S", 0.0)  # one candidate is always measured
    found = calibrate(NETWORK, SPEC, EngineSettings(), tmp_path)
    assert found.settings.batch_size == BATCH_SIZES[0]
    assert list(found.measured_s) == ["batch 8, channels last"]
    assert found.measured_s["batch 8, channels last"] > 0


def test_the_cache_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/someone")
    assert default_cache() == Path("/var/cache/someone/perfusion-pool")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert default_cache() == Path.home() / ".cache" / "perfusion-pool"


def test_a_layout_that_is_not_wanted_is_no_candidate(tmp_path: Path, measured: list[EngineSettings]) -> None:
    assert calibrate(NETWORK, SPEC, EngineSettings(), tmp_path, layouts=(True,)).settings.batch_size == 16
    assert all(item.channels_last for item in measured)
    calibrate(NETWORK, SPEC, EngineSettings(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # remembered by what the candidates were


def test_an_analysis_can_be_calibrated(
    tmp_path: Path, measured: list[EngineSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny_pool(tmp_path / "pool", 1)
    settings = AnalysisSettings(sweep=SweepSettings(dtype="bfloat16"), n_threads=torch.get_num_threads())
    pool = Pool.load(tmp_path / "pool")
    assert calibrated(pool, settings) == SweepSettings(batch_size=16, dtype="bfloat16")
    assert {item.dtype for item in measured} == {"bfloat16"}
    monkeypatch.setattr("pool.__main__.is_on_gpu", lambda _: True)
    assert calibrated(pool, settings) == settings.sweep
