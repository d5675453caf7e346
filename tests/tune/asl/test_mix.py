"""Mixed pools: members of several, calibrated."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pool.errors import PoolError
from pool.member import Pool
from pool.networks import NetworkSpec
from pool.trials.settings import TrialSettings
from tests.samples import tiny_pool
from tune.__main__ import app
from tune.asl.images import phantom_studies
from tune.asl.mix import mix_pools


def two_kinds(folder: Path) -> list[Path]:
    for kind in ("mcd-unet", "prob-unet"):
        tiny_pool(folder / kind, 1, NetworkSpec(kind, 2, 1, 1, 3))
        text = (folder / kind / "manifest.json").read_text().replace('"tiny"', f'"{kind}"')
        (folder / kind / "manifest.json").write_text(text)
    return [folder / kind for kind in ("mcd-unet", "prob-unet")]


def test_mixing_calibrates_every_member_and_keeps_its_weights(tmp_path: Path) -> None:
    studies, trials, folders = phantom_studies("inD", 20, 3), TrialSettings(2, batch_size=2), two_kinds(tmp_path)
    found = mix_pools(folders, tmp_path / "mixed", studies, trials)
    assert [member.id for member in found.members] == ["mcd-unet-s0-e01", "prob-unet-s0-e01"]
    assert Pool.load(tmp_path / "mixed").manifest == found
    for member in found.members:
        assert member.calibration is not None
        assert member.calibration.n_images == 20
    with pytest.raises(PoolError, match="member ids must differ"):
        mix_pools([folders[0], folders[0]], tmp_path / "twice", studies, trials)
    assert not (tmp_path / "twice" / "manifest.json").exists()


def test_the_command_says_what_can_be_expected_of_each_member(tmp_path: Path) -> None:
    folders = ",".join(map(str, two_kinds(tmp_path)))
    words = ["asl", "mix", "--pools", folders, "--out", str(tmp_path / "mixed"), "--trials", "2", "--threads", "1"]
    refused = CliRunner().invoke(app, [*words, "--studies", "2"])
    assert refused.exit_code == 2
    assert "finite scores and Dice of at least 20 images; found 2 and 2" in refused.output
    done = CliRunner().invoke(app, [*words, "--studies", "20"])
    assert done.exit_code == 0, done.output
    assert "prob-unet-s0-e01  prob-unet by mcd_uncertainty: expected Dice from" in done.output
