from dataclasses import replace
from pathlib import Path

import pytest

from deploy import transfer_check
from pool.networks import NetworkSpec
from pool.phantom.presets import get_preset
from pool.phantom.slices import make_labelled_slices
from pool.shapes import MYOCARDIUM


def test_training_leaves_weights_and_a_network_that_outlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole check on a tiny set, with a phantom slice in the place of the real ones."""
    import torch
    from scipy.io import savemat

    monkeypatch.setattr(transfer_check, "N_SLICES", 30)
    tiny = replace(
        transfer_check.TRAINING, network=NetworkSpec(width=4, n_poolings=2), n_epochs=1, validation_share=0.2
    )
    monkeypatch.setattr(transfer_check, "TRAINING", tiny)
    network = transfer_check.train(tmp_path)
    assert (tmp_path / "network.safetensors").is_file()
    made = make_labelled_slices(get_preset("inD"), 3, torch.Generator().manual_seed(0))
    savemat(tmp_path / "i.mat", {"final_img": made.frames[0].permute(1, 2, 0).double().numpy()})
    savemat(tmp_path / "l.mat", {"final_mask": (made.labels[0] == MYOCARDIUM).byte().numpy()})
    assert 0.0 <= transfer_check.real_dice(network, tmp_path / "i.mat", tmp_path / "l.mat") <= 1.0


def test_without_real_slices_the_check_is_skipped_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transfer_check.main(tmp_path / "nowhere", tmp_path / "out")
    assert "skipped: no real slices in" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
