import pytest
import torch

from pool.errors import SettingsError
from pool.networks import NetworkSpec, build_network


def n_parameters(spec: NetworkSpec) -> int:
    return sum(p.numel() for p in build_network(spec).parameters())


def test_sizes_of_the_compact_and_the_papers_network() -> None:
    assert n_parameters(NetworkSpec()) == 486_659
    assert n_parameters(NetworkSpec(width=64, n_poolings=4)) == pytest.approx(31.05e6, rel=1e-3)


def test_logits_have_the_patches_size() -> None:
    network = build_network(NetworkSpec(width=4), torch.Generator().manual_seed(0)).eval()
    assert network(torch.zeros(2, 30, 64, 64)).shape == (2, 3, 64, 64)


def test_he_initialisation_has_the_right_spread() -> None:
    network = build_network(NetworkSpec(width=64), torch.Generator().manual_seed(0))
    weight = network.encoder[1][0].weight  # 64 -> 128 channels, 3 x 3: fan-in 576
    assert weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.02)
    assert abs(weight.mean().item()) < 1e-3


def test_seeds_decide_and_the_global_random_state_never_moves() -> None:
    before = torch.random.get_rng_state()
    first, same, other = (
        build_network(NetworkSpec(width=4), torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["classify.weight"], other["classify.weight"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "resnet"}, "kind must be one of unet; found 'resnet'"),
        ({"width": 0}, "width must be a whole number from 1 to 256; found 0"),
        ({"n_poolings": 2.5}, "n_poolings must be a whole number from 1 to 6; found 2.5"),
        ({"depth": 3}, "has unknown or missing fields"),
    ],
)
def test_bad_specs_are_refused_in_words(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        NetworkSpec.from_dict(fields)
