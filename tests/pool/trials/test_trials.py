"""Trials of the Monte-Carlo dropout U-Net: against stored ones, split over replicas, and where they cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pool.errors import InconsistentStudyError, NonFiniteError, SettingsError
from pool.evaluation.overlap import dice
from pool.networks import NetworkSpec, build_network
from pool.trials.images import standardised
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials, trial_generator
from pool.trials.samplers import DropoutSampler, LatentSampler, sampler_of
from pool.trials.settings import TrialSettings
from pool.trials.sums import UNIT, TrialSums, merge
from tests.pool.trials.networks import image, untrained_mcd

SETTINGS = TrialSettings(n_trials=23, seed=3, batch_size=4)


def summed(blocks: list[int] | None = None, rate: float = 0.5, reference: np.ndarray | None = None) -> TrialSums:
    found = run_trials(DropoutSampler(untrained_mcd(), rate), image(), SETTINGS, blocks, reference)
    assert found is not None
    return found


def reference() -> np.ndarray:
    rows, cols = np.indices((32, 32))
    return np.abs(np.hypot(rows - 16, cols - 16) - 8) < 3


def test_maps_and_scores_are_those_of_the_stored_trials() -> None:
    sampler, found = DropoutSampler(untrained_mcd()), TrialMaps.of(summed(reference=reference()))
    certain = sampler.certain(torch.from_numpy(image())[None])
    every = [
        sampler.probability(certain, [trial_generator(3, i, sampler.device) for i in SETTINGS.trials_of(block)])
        for block in range(SETTINGS.n_blocks)
    ]
    p = torch.cat(every).double().numpy()
    assert len(p) == 23
    np.testing.assert_allclose(found.probability, p.mean(0), atol=1e-7)
    np.testing.assert_allclose(found.uncertainty, p[:, 1].std(0), atol=1e-7)
    assert np.array_equal(found.mask, p[:, 1].mean(0) >= 0.5)
    assert 0 < found.mask.mean() < 1
    assert found.mcd_uncertainty == pytest.approx(p[:, 1].std(0).sum() / found.mask.sum())
    dices = [dice(trial >= 0.5, reference()) for trial in p[:, 1]]
    assert found.dice_uncertainty == pytest.approx(np.std(dices))
    assert found.dice_uncertainty > 0
    assert found.uncertainty.max() <= 0.5


@pytest.mark.parametrize("n_replicas", [1, 2, 3, 5, 6])
def test_trials_of_any_number_of_replicas_merge_to_the_bits_of_one_run(n_replicas: int) -> None:
    whole = summed(reference=reference())
    parts = [summed(list(SETTINGS.blocks_of(i, n_replicas)), reference=reference()) for i in range(n_replicas)]
    for order in (parts, parts[::-1]):
        together = merge(order)
        assert np.array_equal(together.p_sum, whole.p_sum)
        assert np.array_equal(together.p2_sum, whole.p2_sum)
        assert np.array_equal(together.all_dices(), whole.all_dices())
        assert together.missing == ()
    assert TrialMaps.of(merge(parts)).mcd_uncertainty == TrialMaps.of(whole).mcd_uncertainty


def test_what_a_lost_replica_leaves_says_how_many_trials_it_is() -> None:
    part = summed([0, 5])
    assert part.missing == (1, 2, 3, 4)
    assert TrialMaps.of(part).n_trials == 4 + 3


def test_a_trial_is_the_same_whatever_the_size_of_its_block() -> None:
    sampler = DropoutSampler(untrained_mcd())
    a, b = (run_trials(sampler, image(), TrialSettings(n_trials=6, seed=3, batch_size=size)) for size in (1, 6))
    assert a is not None
    assert b is not None
    assert np.abs(a.p_sum - b.p_sum).max() * UNIT < 1e-5
    other = run_trials(sampler, image(), TrialSettings(n_trials=6, seed=4, batch_size=6))
    assert other is not None
    assert np.abs(other.p_sum - b.p_sum).max() * UNIT > 1e-2


def test_without_dropout_nothing_is_uncertain_and_the_answer_is_the_networks() -> None:
    found = TrialMaps.of(summed(rate=0.0, reference=reference()))
    assert found.dice_uncertainty == 0
    assert found.mcd_uncertainty == 0
    with torch.no_grad():
        plain = untrained_mcd()(torch.from_numpy(image())[None]).softmax(dim=1)[0]
    np.testing.assert_allclose(found.probability, plain.numpy(), atol=1e-5)


def test_a_sampler_leaves_network_and_global_random_state_alone() -> None:
    network, before = untrained_mcd().train(), torch.random.get_rng_state()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    run_trials(DropoutSampler(network), image(), TrialSettings(n_trials=2, batch_size=2))
    assert network.training
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_series_of_frames_is_an_image_with_more_channels() -> None:
    spec = NetworkSpec(kind="mcd-unet", width=2, n_poolings=1, n_frames=30, n_classes=2)
    sampler = DropoutSampler(untrained_mcd(spec))
    found = run_trials(sampler, image(30), TrialSettings(n_trials=3, batch_size=2))
    assert found is not None
    assert found.p_sum.shape == (2, 32, 32)


def test_a_probabilistic_network_draws_its_trials_from_the_prior() -> None:
    network = build_network(NetworkSpec("prob-unet", 4, 2, 1, 2), torch.Generator().manual_seed(3)).eval()
    sampler = sampler_of(network)
    assert isinstance(sampler, LatentSampler)
    parts = [run_trials(sampler, image(), SETTINGS, SETTINGS.blocks_of(i, 2), reference()) for i in range(2)]
    whole = run_trials(sampler, image(), SETTINGS, reference=reference())
    assert whole is not None
    assert np.array_equal(merge([part for part in parts if part is not None]).p2_sum, whole.p2_sum)
    tensor = torch.from_numpy(image())[None]
    with torch.no_grad():
        maps, prior = network.unet(tensor), network.prior(tensor)
        p = [
            network.answer(maps, prior.draw([trial_generator(3, i, tensor.device)])).softmax(1)[0, 1].numpy()
            for i in range(23)
        ]
    np.testing.assert_allclose(TrialMaps.of(whole).uncertainty, np.std(p, axis=0), atol=1e-5)
    assert TrialMaps.of(whole).uncertainty.max() > 1e-3


def test_a_network_without_chance_has_no_trials() -> None:
    assert isinstance(sampler_of(untrained_mcd()), DropoutSampler)
    with pytest.raises(SettingsError, match="answers by chance, of kind mcd-unet or prob-unet; found UNet"):
        sampler_of(build_network(NetworkSpec(width=2)))


def test_a_run_stops_between_blocks_when_told_to() -> None:
    left = [True, True, False]
    assert run_trials(DropoutSampler(untrained_mcd()), image(), SETTINGS, keep_going=lambda: left.pop(0)) is None
    assert left == []


def test_sums_of_the_most_trials_still_fit() -> None:
    settings = TrialSettings(n_trials=32_000, batch_size=4096)
    half = settings.n_trials // 2
    p_sum = np.zeros((2, 1, 2), dtype=np.int64)
    p_sum[1, 0] = (settings.n_trials * 2**24, half * 2**24)  # always 1; 0 and 1 by turns
    p2_sum = np.array([[settings.n_trials * 2**48, half * 2**48]], dtype=np.int64)
    found = TrialMaps.of(TrialSums(settings, frozenset(range(settings.n_blocks)), p_sum, p2_sum))
    assert found.uncertainty.tolist() == [[0.0, 0.5]]
    assert found.mcd_uncertainty == pytest.approx(0.25)


def test_an_empty_mask_has_no_score_and_a_reason() -> None:
    settings = TrialSettings(n_trials=1)
    found = TrialMaps.of(TrialSums(settings, frozenset([0]), np.zeros((2, 4, 4), np.int64), np.zeros((4, 4), np.int64)))
    assert found.mcd_uncertainty is None
    assert found.ineligible == "empty mask"


def test_merging_refuses_what_does_not_belong_together() -> None:
    part, other = summed([0]), summed([1], reference=reference())
    with pytest.raises(SettingsError, match="a block must be summed once; found 1 twice"):
        merge([part, part])
    with pytest.raises(SettingsError, match="all parts or none must know the reference; found 1 do"):
        merge([part, other])
    foreign = TrialSums(TrialSettings(n_trials=5), frozenset([1]), part.p_sum, part.p2_sum)
    with pytest.raises(SettingsError, match="same image with the same settings"):
        merge([part, foreign])
    with pytest.raises(SettingsError, match="at least one part"):
        merge([])


def test_bad_settings_and_images_are_refused_in_a_sentence() -> None:
    sampler = DropoutSampler(untrained_mcd())
    with pytest.raises(SettingsError, match="n_trials must be a whole number from 1 to 32000; found 0"):
        TrialSettings(n_trials=0)
    with pytest.raises(SettingsError, match="dropout rate: must lie from 0 to below 1; found 1"):
        DropoutSampler(untrained_mcd(), 1.0)
    with pytest.raises(SettingsError, match="of dropout need a network of kind mcd-unet; found UNet"):
        DropoutSampler(build_network(NetworkSpec(width=2)))
    with pytest.raises(SettingsError, match=r"blocks must be some of the 6 that 23 trials have; found \[6\]"):
        run_trials(sampler, image(), SETTINGS, [6])
    with pytest.raises(InconsistentStudyError, match=r"float32 with 1 frames .*; found float32 \(2, 32, 32\)"):
        run_trials(sampler, image(2), SETTINGS)
    with pytest.raises(InconsistentStudyError, match="multiples of 4 for this network; found 30 x 30"):
        run_trials(sampler, image(px=30), SETTINGS)
    with pytest.raises(InconsistentStudyError, match="must have the image's rows and columns"):
        run_trials(sampler, image(), SETTINGS, reference=np.ones((3, 3), dtype=bool))


def test_images_are_standardised_or_refused() -> None:
    found = standardised(7 + 3 * image())
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert found.std() == pytest.approx(1)
    assert found.dtype == np.float32
    with pytest.raises(InconsistentStudyError, match="control 2: must show something"):
        standardised(np.ones((1, 8, 8), np.float32), "control 2")
    with pytest.raises(NonFiniteError, match="finite number"):
        standardised(np.full((1, 8, 8), np.nan, np.float32))


@pytest.mark.parametrize("kind", ["mcd-unet", "prob-unet"])
def test_probabilities_are_float32_whatever_the_network_computes_in(kind: str) -> None:
    network = build_network(NetworkSpec(kind, 4, 2, 1, 2), torch.Generator().manual_seed(1))
    sampler = sampler_of(network)
    generators = [torch.Generator().manual_seed(1)]
    with torch.autocast("cpu", torch.bfloat16):
        certain = sampler.certain(torch.from_numpy(image())[None])
        half = sampler.probability(certain, generators)
    assert half.dtype == torch.float32
    assert not torch.equal(half, half.bfloat16().float())
    torch.testing.assert_close(half.sum(dim=1), torch.ones(1, 32, 32))
