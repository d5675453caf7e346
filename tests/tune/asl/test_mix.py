"""Mixed pools: members of several, calibrated."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pool.errors import PoolError, SettingsError
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


def test_a_mixed_pool_holds_all_members_calibrated_and_the_command_says_so(tmp_path: Path) -> None:
    folders = two_kinds(tmp_path)
    words = ["asl", "mix", "--pools", ",".join(map(str, folders)), "--out", str(tmp_path / "mixed"), "--threads", "1"]
    done = CliRunner().invoke(app, [*words, "--trials", "2", "--studies", "20"])
    assert done.exit_code == 0, done.output
    assert "prob-unet-s0-e01  prob-unet by mcd_uncertainty: expected Dice from" in done.output
    pool = Pool.load(tmp_path / "mixed")
    assert [member.entry.id for member in pool.members] == ["mcd-unet-s0-e01", "prob-unet-s0-e01"]
    for member, folder in zip(pool.members, folders):
        known = member.entry.calibration
        assert known is not None
        assert (known.n_images, known.n_trials, known.score) == (20, 2, "mcd_uncertainty")
        assert (folder / "s0-e01.safetensors").read_bytes() == (
            tmp_path / "mixed" / f"{member.entry.id}.safetensors"
        ).read_bytes()


def test_members_of_patches_are_taken_as_they_are(tmp_path: Path) -> None:
    folders = two_kinds(tmp_path)
    patches = tiny_pool(tmp_path / "patches", 2)
    progress: list[tuple[int, int]] = []
    studies = 20 * phantom_studies("inD", 1, 3)
    mixed = mix_pools(
        [tmp_path / "patches", folders[0]],
        tmp_path / "all",
        studies,
        TrialSettings(2, batch_size=2),
        on_progress=lambda *n: progress.append(n),
    )
    assert [entry.id for entry in mixed.of_patches] == [f"{patches.name}-s0-e01", f"{patches.name}-s1-e01"]
    assert [entry.calibration for entry in mixed.of_patches] == [None, None]
    assert [entry.calibration is not None for entry in mixed.of_trials] == [True]
    assert progress[-1] == (20, 20)
    with pytest.raises(SettingsError, match="needs members of trials for ASL; found patches alone"):
        mix_pools([tmp_path / "patches"], tmp_path / "none", studies, TrialSettings(2))


def test_what_cannot_be_mixed_is_refused_before_anything_is_calibrated(tmp_path: Path) -> None:
    folders, trials = two_kinds(tmp_path), TrialSettings(2, batch_size=2)
    studies = 20 * phantom_studies("inD", 1, 3)
    with pytest.raises(PoolError, match="member ids must differ"):
        mix_pools([folders[0], folders[0]], tmp_path / "twice", studies, trials)
    assert not (tmp_path / "twice").exists()
    rule = "needs at least one pool, and 20 studies to learn from; found {} pools, {} studies"
    with pytest.raises(SettingsError, match=rule.format(2, 19)):
        mix_pools(folders, tmp_path / "mixed", studies[:19], trials)
    with pytest.raises(SettingsError, match=rule.format(0, 20)):
        mix_pools([], tmp_path / "mixed", studies, trials)
