from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pool.errors import OutputError
from pool.manifest import verify_pool
from pool.member import Pool
from pool.networks import build_network
from pool.weights import save_weights
from tune.assemble import Candidate, LocalFolder, choose_members, refuse_used_folder, write_pool
from tune.errors import TooFewMembersError
from tune.settings import TrainingSettings
from tune.training import EpochReport


def candidate(seed: int, epoch: int, dice: float, folder: Path = Path()) -> Candidate:
    return Candidate(EpochReport(seed, epoch, 0.5, dice, 1e-3, 100.0, 1.0, 1.0), LocalFolder(folder))


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings.quick(**{"seeds": (1,), "n_epochs": 9, "least_validation_dice": 0.5, **changes})


def test_members_are_spread_over_the_training_best_first() -> None:
    dices = [0.10, 0.60, 0.55, 0.70, 0.72, 0.71, 0.90, 0.91, 0.89]  # epochs 1 to 9; epoch 1 is under the floor
    chosen = choose_members([candidate(1, e, d) for e, d in enumerate(dices, 1)], settings())
    # eligible epochs 2..9 in runs 2-4, 5-7, 8-9: not the three last ones, though they are the best
    assert [c.member_id for c in chosen] == ["s1-e08", "s1-e07", "s1-e04"]


def test_of_two_equals_the_later_and_seed_by_seed() -> None:
    given = [candidate(s, e, 0.8) for s in (2, 1) for e in (2, 1)]
    chosen = choose_members(given, settings(seeds=(1, 2), n_checkpoints=1))
    assert [c.member_id for c in chosen] == ["s1-e02", "s2-e02"]


def test_too_few_good_checkpoints_are_refused_with_what_was_found() -> None:
    given = [candidate(1, 1, 0.41), candidate(1, 2, 0.62), candidate(1, 3, 0.49)]
    with pytest.raises(TooFewMembersError) as refusal:
        choose_members(given, settings())
    assert str(refusal.value) == (
        "seed 1: needs 3 checkpoints with a validation Dice of at least 0.5; found 1 of 3: epoch 1 0.410, "
        "epoch 2 0.620, epoch 3 0.490. Train longer or on more slices, ask for fewer checkpoints, or lower the floor."
    )
    with pytest.raises(TooFewMembersError, match="found 0 of 0: no checkpoint at all"):
        choose_members([], settings())


def test_the_written_pool_loads_with_verified_hashes(tmp_path: Path) -> None:
    tiny = settings(n_checkpoints=2)
    chosen = []
    for epoch in (1, 2):
        network = build_network(tiny.network, torch.Generator().manual_seed(epoch))
        save_weights(tmp_path / f"c{epoch}", "member", network.state_dict())
        chosen.append(candidate(1, epoch, 0.5 + epoch / 10, tmp_path / f"c{epoch}"))
    manifest = write_pool(tmp_path / "pool", "test", chosen, tiny, "data-hash")
    assert verify_pool(tmp_path / "pool") == manifest
    assert manifest.provenance["settings_sha256"] == tiny.sha256()
    assert manifest.provenance["data_sha256"] == "data-hash"
    weights = Pool.load(tmp_path / "pool").members[1].network.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    with pytest.raises(OutputError, match=r"pool folder pool: must be new or empty; found a pool\."):
        write_pool(tmp_path / "pool", "test", chosen, tiny, "data-hash")


def test_a_pool_that_was_cut_short_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, out = settings(n_checkpoints=1), tmp_path / "pool"
    network = build_network(tiny.network, torch.Generator().manual_seed(1))
    save_weights(tmp_path / "c1", "member", network.state_dict())
    one, another = (candidate(1, epoch, 0.8, tmp_path / "c1") for epoch in (1, 2))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tune.assemble.save_manifest", full)
        with pytest.raises(OutputError, match=r"pool folder pool: must be writable; found No space .* --resume\."):
            write_pool(out, "test", [one], tiny, "data-hash")
    (out / ".s1-e02.safetensors.partial").touch()
    with pytest.raises(OutputError, match=r"pool folder pool: must be new or empty; found other files\."):
        refuse_used_folder(out, may_be_cut_short=False)
    assert write_pool(out, "test", [another], tiny, "data-hash") == verify_pool(out)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "s1-e02.safetensors"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.safetensors").touch()
    with pytest.raises(OutputError, match=r"pool folder other: must be new or empty; found other files\."):
        write_pool(tmp_path / "other", "test", [another], tiny, "data-hash")
