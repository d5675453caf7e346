"""What a network is, as data: enough to build it again before its weights are loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from pool.errors import SettingsError
from pool.networks.mcd_unet import MCDUNet
from pool.networks.prob_unet import ProbUNet
from pool.networks.unet import UNet, he_initialise

PATCH_KIND = "unet"
"""Kind of the networks that sweep patches of a prepared slice."""
_CLASSES: dict[str, type[UNet | MCDUNet | ProbUNet]] = {PATCH_KIND: UNet, "mcd-unet": MCDUNet, "prob-unet": ProbUNet}
KINDS = tuple(_CLASSES)


@dataclass(frozen=True)
class NetworkSpec:
    """Kind and size of a network.

    Raises:
        SettingsError: an unknown kind or a size that makes no sense.
    """

    kind: str = "unet"
    """`unet`: the vanilla 2D+time U-Net, time as channels; `mcd-unet` and `prob-unet`: whole images, another
    answer with every draw of dropout or of a latent vector."""
    width: int = 16
    """Channels of the first level; doubled by every pooling. 64 is the paper's, 16 the compact one for laptops."""
    n_poolings: int = 3
    """Number of 2 x 2 poolings. 4 is the paper's, 3 the compact one."""
    n_frames: int = 30
    """Input channels: the time frames of a prepared slice; 1 for a single image, such as one of ASL."""
    n_classes: int = 3
    """Output channels: background, myocardium, blood pool."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingsError("network spec", f"kind must be one of {', '.join(KINDS)}", repr(self.kind))
        for name, least, most in (("width", 1, 256), ("n_poolings", 1, 6), ("n_frames", 1, 512), ("n_classes", 2, 16)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise SettingsError(
                    "network spec", f"{name} must be a whole number from {least} to {most}", repr(value)
                )

    @property
    def multiple_px(self) -> int:
        """Rows and columns that a network takes must be multiples of it."""
        return int(2**self.n_poolings)

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-ready fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> NetworkSpec:
        """The spec from JSON fields; unknown fields are refused, never dropped."""
        try:
            return cls(**fields)
        except TypeError as error:
            raise SettingsError("network spec", "has unknown or missing fields", str(error)) from error


def build_network(spec: NetworkSpec, generator: torch.Generator | None = None) -> nn.Module:
    """Build a network without touching the global random state.

    Args:
        spec: kind and size.
        generator: source of the He initialisation; None leaves the weights zero, for loading into.
    """
    with torch.device("meta"):  # torch's own constructors would draw from the global generator
        network = _CLASSES[spec.kind](spec.n_frames, spec.n_classes, spec.width, spec.n_poolings)
    network = network.to_empty(device="cpu")
    he_initialise(network, generator)
    return network
