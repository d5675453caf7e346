"""Fused operations are those they are made of, whether this torch has them or not."""

import pytest
import torch
from torch.nn import functional as nnf

from pool.engine import fused


@pytest.mark.parametrize("is_fused", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.1)])
def test_they_are_what_they_are_made_of(
    dtype: torch.dtype, tolerance: float, is_fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_fused and not fused._is_fused("cpu", dtype):
        pytest.skip("this torch has none")
    monkeypatch.setattr(fused, "_is_fused", lambda *_: is_fused)
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        tensor = torch.randn(shape, generator=generator).to(dtype)
        return tensor.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else tensor

    x, weight, bias, added = random(3, 5, 6, 7), random(4, 5, 3, 3), random(4), random(3, 4, 6, 7)
    plain = nnf.conv2d(x.float(), weight.float(), bias.float(), padding=1)
    expected = (plain.relu(), (plain + added.float()).relu())
    with torch.inference_mode():
        found = (fused.conv_relu(x, weight, bias), fused.conv_add_relu(x, weight, bias, added))
    for one, other in zip(found, expected):
        assert (one.float() - other).abs().max() < tolerance
        assert one.is_contiguous(memory_format=torch.channels_last)


def test_where_torch_has_none_separate_operations_do(monkeypatch: pytest.MonkeyPatch) -> None:
    fused._is_fused.cache_clear()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    try:
        assert not fused._is_fused("cpu", torch.float32)
        assert not fused._is_fused("cuda", torch.float32)
    finally:
        fused._is_fused.cache_clear()
