import pytest
import torch

from pool.errors import SettingsError
from pool.networks import NetworkSpec, build_network
from pool.networks.dropout import Dropout
from pool.networks.mcd_unet import MCDUNet
from pool.networks.prob_unet import Gaussians


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


def test_the_dropout_network_is_the_papers() -> None:
    spec = NetworkSpec(kind="mcd-unet", width=64, n_poolings=4, n_frames=1, n_classes=2)
    with torch.device("meta"):
        network = MCDUNet(spec.n_frames, spec.n_classes, spec.width, spec.n_poolings)
    blocks = [*network.encoder, *network.decoder]
    assert len(blocks) == 9
    for block in blocks:
        assert [type(layer).__name__ for layer in block] == 2 * ["Conv2d", "BatchNorm2d", "ReLU"]
        assert {layer.kernel_size for layer in block if isinstance(layer, torch.nn.Conv2d)} == {(5, 5)}
    assert [block[0].out_channels for block in blocks] == [64, 128, 256, 512, 1024, 512, 256, 128, 64]


def test_dropout_ends_every_scale_and_comes_from_its_generator_alone() -> None:
    network = build_network(NetworkSpec("mcd-unet", 4, 2, 1), torch.Generator().manual_seed(0)).eval()
    shapes: list[tuple[int, ...]] = []

    class Watched(Dropout):
        def __call__(self, maps: torch.Tensor) -> torch.Tensor:
            shapes.append(tuple(maps.shape))
            return super().__call__(maps)

    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    plain = network(images, Watched([], rate=0.0))
    assert shapes == [(2, 4, 16, 16), (2, 8, 8, 8), (2, 16, 4, 4), (2, 8, 8, 8), (2, 4, 16, 16)]
    assert torch.equal(plain, network(images))
    first, same, other = (network(images, Dropout([torch.Generator().manual_seed(i)])) for i in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_dropout_keeps_the_share_and_the_mean_that_it_says() -> None:
    for rate in (0.0, 0.25, 0.5):
        generators = [torch.Generator().manual_seed(i) for i in (1, 2)]
        found = Dropout(generators, rate)(torch.ones(2, 16, 50, 50))
        assert (found == 0).float().mean() == pytest.approx(rate, abs=0.01)
        assert found.mean() == pytest.approx(1.0, abs=0.02)
        assert found.max() == pytest.approx(1 / (1 - rate))
        assert len(found.unique()) == (2 if rate else 1)
    assert not torch.equal(found[0], found[1])


def test_an_images_dropout_is_its_generators_whatever_the_batch_and_gradients_pass_the_kept() -> None:
    def maps() -> torch.Tensor:
        return torch.ones(3, 5, 7, 9).contiguous(memory_format=torch.channels_last)

    batch = Dropout([torch.Generator().manual_seed(i) for i in range(3)])(maps())
    alone = Dropout([torch.Generator().manual_seed(2)])(torch.ones(1, 5, 7, 9))
    assert torch.equal(batch[2:], alone)
    wanted = maps().requires_grad_()
    dropped = Dropout([torch.Generator().manual_seed(7)])(wanted)
    (gradient,) = torch.autograd.grad(dropped.sum(), wanted)
    assert torch.equal(gradient, dropped.detach())
    assert (wanted == 1).all()


def gaussians(mean: list[float], sd: list[float]) -> Gaussians:
    return Gaussians(torch.tensor([mean]), torch.tensor([sd]).log())


def test_divergence_of_gaussians_is_0_between_equals_and_otherwise_that_of_torch() -> None:
    one, other = gaussians([0.3, -2.0], [0.5, 3.0]), gaussians([0.0, 1.0], [1.0, 2.0])
    assert float(one.divergence_from(one)) == 0
    pairs = [torch.distributions.Normal(found.mean, found.log_sd.exp()) for found in (one, other)]
    expected = torch.distributions.kl_divergence(*pairs).sum(dim=1)
    torch.testing.assert_close(one.divergence_from(other), expected)
    assert float(one.divergence_from(other)) != pytest.approx(float(other.divergence_from(one)))


def test_vectors_have_their_gaussians_mean_and_spread_and_come_from_the_generators() -> None:
    one = gaussians([0.3, -2.0], [0.5, 3.0])
    drawn = one.draw([torch.Generator().manual_seed(i) for i in range(4000)])
    torch.testing.assert_close(drawn.mean(0), one.mean[0], atol=0.15, rtol=0)
    torch.testing.assert_close(drawn.std(0), one.log_sd[0].exp(), atol=0, rtol=0.05)
    assert torch.equal(drawn[7], one.draw([torch.Generator().manual_seed(7)])[0])
    batch = Gaussians(one.mean.expand(3, 2), one.log_sd.expand(3, 2)).draw([torch.Generator().manual_seed(7)])
    assert batch.shape == (3, 2)
    assert torch.equal(batch[0], drawn[7])
    assert not torch.equal(batch[0], batch[1])


def test_the_probabilistic_network_answers_with_its_vector_and_learns_from_the_posterior() -> None:
    network = build_network(NetworkSpec("prob-unet", 4, 2, 1), torch.Generator().manual_seed(0))
    made = torch.Generator().manual_seed(1)
    images = torch.randn(2, 1, 16, 16, generator=made)
    labels = torch.randint(0, 3, (2, 16, 16), generator=made)
    logits, divergence = network.learn(images, labels, torch.Generator().manual_seed(2))
    assert logits.shape == (2, 3, 16, 16)
    assert divergence.shape == (2,)
    assert (divergence > 0).all()
    divergence.sum().backward()
    assert network.posterior.describe.weight.grad.abs().sum() > 0
    assert network.prior.describe.weight.grad.abs().sum() > 0
    network.eval()
    maps = network.unet(images)
    middle = network.answer(maps, network.prior(images).mean)
    assert torch.equal(network(images), middle)
    assert not torch.allclose(network.answer(maps, network.prior(images).mean + 1), middle)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "resnet"}, "kind must be one of unet, mcd-unet, prob-unet; found 'resnet'"),
        ({"width": 0}, "width must be a whole number from 1 to 256; found 0"),
        ({"n_poolings": 2.5}, "n_poolings must be a whole number from 1 to 6; found 2.5"),
        ({"depth": 3}, "has unknown or missing fields"),
    ],
)
def test_bad_specs_are_refused_in_words(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        NetworkSpec.from_dict(fields)
