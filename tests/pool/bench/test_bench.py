import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pool.bench import agreement, analysed_study, command, contenders, speed, study, study_command
from pool.bench.timing import Times, alternate, paired_ratio
from pool.engine import EngineSettings
from pool.errors import SettingsError
from pool.networks import NetworkSpec, build_network
from pool.race_settings import RaceLevel, RaceSettings
from pool.sweep import SweepSettings
from tests.samples import tiny_pool

SMALL = NetworkSpec(width=4, n_poolings=2, n_frames=30)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """The command with a small network; the cache and torch's threads are left alone."""
    monkeypatch.setitem(study_command.NETWORKS, "compact", SMALL)
    monkeypatch.setattr(speed, "PRODUCT_SIZE", 64)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    parser = argparse.ArgumentParser()
    command.add_command(parser.add_subparsers())

    def run(*words: str) -> None:
        options = parser.parse_args(["bench", "--threads", str(torch.get_num_threads()), *words])
        options.run(options)

    return run


def test_speed_is_measured_in_pairs_and_everyone_finds_the_same(
    bench: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda _: None)
    bench("--rows", "2", "--rounds", "2", "--bfloat16", "--batch-size", "11", "--out", str(tmp_path / "out"))
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "sweep-compact-cpu.json").read_text())
    assert found["n_patches"] == 66
    assert found["engine"]["batch_size"] == 11
    assert found["machine"]["torch_version"] == torch.__version__
    by_name = {item["name"]: item for item in found["contenders"]}
    for name in ("plain sweep", "engine, float32", "engine, float32, no sharing", "matrix product, float32"):
        assert name in shown
        assert len(by_name[name]["wall_s"]) == 2
    exact = [item for name, item in by_name.items() if "bfloat16" not in name and "matrix" not in name]
    assert all(item["largest_difference"] < 1e-5 for item in exact)
    assert 1e-5 < by_name["engine, bfloat16"]["largest_difference"] < 0.1
    assert found["times_faster_than_best_of_monai"] == {}
    limits = found["over_matrix_product_limit"]
    assert list(limits) == [name for name in by_name if name.startswith("engine")]
    product, shared = by_name["matrix product, float32"], by_name["engine, float32"]
    expected = product["plain_gflop_per_s"] / shared["plain_gflop_per_s"]
    assert limits["engine, float32"] == pytest.approx(expected)
    assert not (tmp_path / "cache").exists()  # a batch size was given: nothing to calibrate


def test_monai_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("monai")
    monkeypatch.setattr(contenders, "MONAI_BATCHES", (33,))
    network, frames, block = build_network(SMALL, torch.Generator().manual_seed(1)), noise(), contenders.patch_block(2)
    expected = contenders.engine(network.eval(), frames, block, EngineSettings())()
    inferers = contenders.monai_inferers(network, frames, block)
    assert list(inferers) == ["MONAI default, batch 33", "MONAI channels last, batch 33"]
    for infer in inferers.values():
        assert (infer() - expected).abs().max() < 1e-5


def noise() -> torch.Tensor:
    return torch.rand(128, 128, 30, generator=torch.Generator().manual_seed(2)).permute(2, 0, 1)


def test_a_run_without_a_batch_size_calibrates_unless_told_not_to(
    bench: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda _: None)
    bench("--rows", "1", "--rounds", "1", "--no-calibrate")
    assert not (tmp_path / "cache").exists()
    assert "MONAI" not in capsys.readouterr().out
    bench("--rows", "1", "--rounds", "1")
    (path,) = (tmp_path / "cache" / "perfusion-pool").iterdir()
    assert f"batch {json.loads(path.read_text())['batch_size']}," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "34"], "bench: --rows must be from 1 to 33; found 34."),
        (["--rounds", "0"], "bench: --rounds must be from 1 to 1000000; found 0."),
        (["--device", "cuda:77"], "--device: must be a device torch can use here; found 'cuda:77'. Try cpu."),
        (["--trials", "0"], "trials: n_trials must be a whole number from 1 to 32000; found 0."),
        (
            ["--trials", "2", "--batch-sizes", "a"],
            "bench: --batch-sizes must be whole numbers with commas between; found 'a'.",
        ),
        (["--study", "--members", "0"], "bench: --members must be from 1 to 1000; found 0."),
    ],
)
def test_nonsense_is_refused(bench: Callable[..., None], words: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        bench(*words)
    assert str(refused.value) == message


def test_trials_are_timed_by_batch_size_and_mean_the_same(
    bench: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--trials", "4", "--batch-sizes", "1,4", "--rounds", "1")
    bench(*words, "--out", str(tmp_path / "out"))
    assert "4 trials of the compact mcd-unet on one 96 x 96 image" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "trials-compact-cpu.json").read_text())
    one, four = report["batches"]
    assert (one["batch_size"], four["batch_size"]) == (1, 4)
    assert one["median_s"] > 0
    assert one["mcd_uncertainty"] == pytest.approx(four["mcd_uncertainty"], rel=1e-4)
    assert (tmp_path / "out" / "trials-compact-cpu.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (study, agreement):
        monkeypatch.setattr(module, "SweepSettings", lambda: SweepSettings(stride_px=32, mask_stride_px=32))
    monkeypatch.setattr(study, "PRODUCT_SIZES", {"cpu": 64})
    monkeypatch.setattr(study, "FEW_MEMBERS", 1)


@pytest.mark.usefixtures("coarse")
def test_a_study_is_timed_by_the_fastest_way(
    bench: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--study", "--members", "3", "--slices", "1", "--rounds", "2", "--out", str(tmp_path)]
    bench(*words)
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "study-compact-float32-cpu.json").read_text())
    assert (found["n_members"], found["n_distinct"], found["n_slices"], len(found["study_s"])) == (3, 3, 1, 2)
    assert found["ways"]
    assert found["settings"] in [way["settings"] for way in found["ways"] if not way["settings"]["benchmark"]]
    assert found["share_of_product_plain"] > 0
    assert "study: median" in shown
    assert "eager (no GPU)" in shown
    bench(*words, "--no-calibrate", "--dtype", "bfloat16")
    assert json.loads((tmp_path / "study-compact-bfloat16-cpu.json").read_text())["ways"] == []


@pytest.mark.parametrize("rule", ["min-u_pp", "min-u_pp-race"])
def test_a_study_is_timed_as_it_is_analysed(
    bench: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    rule: str,
) -> None:
    tiny_pool(tmp_path / "pool", 4)
    monkeypatch.setattr(study_command, "SweepSettings", lambda dtype: SweepSettings(64, 16, 32, dtype=dtype))
    monkeypatch.setattr(analysed_study, "RaceSettings", lambda: RaceSettings((RaceLevel(9, 1e9, 0.5),)))
    words = ["--study", "--rule", rule, "--slices", "1", "--rounds", "2", "--pool", str(tmp_path / "pool")]
    bench(*words, "--out", str(tmp_path))
    found = json.loads((tmp_path / f"analysed-{rule}-float32-cpu.json").read_text())
    assert (found["n_members"], found["n_slices"], len(found["wall_s"])) == (4, 1, 2)
    assert found["n_passes_exhaustive"] == 4 * 25
    assert found["n_passes"] == (4 * 25 if rule == "min-u_pp" else 4 * 9 + 2 * 16)
    assert 0 <= found["peak_bytes"] < 500e6  # 0 where earlier tests left enough freed memory
    assert f"patch passes: {found['n_passes']} of 100" in capsys.readouterr().out


def test_memory_that_was_given_back_still_counts_as_the_peak() -> None:
    before = analysed_study._memory_bytes("VmRSS")
    analysed_study._forget_peak()
    block = np.ones(60_000_000, np.uint8)  # larger than what the allocator keeps for later
    del block
    peak = analysed_study._memory_bytes("VmHWM")
    assert before is not None
    assert peak is not None
    assert 55e6 < peak - before < 100e6
    analysed_study._forget_peak()
    forgotten = analysed_study._memory_bytes("VmHWM")
    assert forgotten is not None
    assert forgotten < peak - 50e6


@pytest.mark.usefixtures("coarse")
def test_every_way_is_held_to_the_plain_sweep(
    bench: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_pool(tmp_path / "pool", 2)
    bench("--check", "--slices", "1", "--pool", str(tmp_path / "pool"))
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "against the plain sweep in float32:"
    assert len(lines) == 9
    for line in lines:
        differs = float(line.removeprefix("U-map ").split(",")[0])
        assert (1e-5 < differs < 0.1) if "bfloat16" in line else differs < 1e-5
        assert "same choice 1 of 1, same bytes again" in line

    def fails(*_: object) -> None:
        raise RuntimeError("no such kernel\nat all")

    monkeypatch.setattr(agreement, "_compared", fails)
    bench("--check", "--slices", "1", "--pool", str(tmp_path / "pool"))
    assert capsys.readouterr().out.count("FAILED RuntimeError: no such kernel: WholeSettings(") == 9


def test_runs_alternate_and_ratios_are_paired() -> None:
    order: list[str] = []
    times = alternate({name: lambda name=name: order.append(name) for name in "ab"}, 3, torch.device("cpu"))
    assert order == list("ababab")
    assert len(times["a"].wall_s) == 3
    slow, fast = Times((2.0, 30.0, 4.0), (2.0, 2.0, 2.0)), Times((1.0, 10.0, 1.0), (1.0, 1.0, 4.0))
    assert paired_ratio(slow, fast) == 3.0  # 2, 3 and 4: the disturbed round counts as little as the others
    assert paired_ratio(slow, fast, processor=True) == 2.0
    assert (slow.median_s, slow.spread_s) == (4.0, (2.0, 30.0))
