"""Everything that decides what a training on ASL images produces, as data; the second paper's recipe is the default."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pool.errors import SettingsError
from pool.networks import PATCH_KIND, NetworkSpec
from tune.losses import LOSSES
from tune.precision import PRECISIONS

CONTROL, LABELLED, BOTH = "control", "labelled", "both"
IMAGES = (BOTH, CONTROL, LABELLED)
SCHEDULES = ("constant", "cosine", "thirds")


def _papers_network() -> NetworkSpec:
    return NetworkSpec(kind="mcd-unet", width=64, n_poolings=4, n_frames=1, n_classes=2)


@dataclass(frozen=True)
class AslTrainingSettings:
    """A training run of all seeds on ASL images. The defaults are those of Do et al. 2020 ("Experiments").

    As there: the MCD U-Net, Dice loss, Adam with 1e-4, batches of 12, 150 epochs, dropout of 50 %, no augmentation, one
    class beside the background. Departures: the epoch with the best validation Dice becomes the member, as the paper
    does not say which of its 150 it took; bfloat16 where it is computed natively, `precision="float32"` is the paper's.

    Raises:
        SettingsError: a value that makes no sense, with what would.
    """

    network: NetworkSpec = field(default_factory=_papers_network)
    """Kind and size; takes one image. Of two classes blood is background, of three it is told apart."""
    seeds: tuple[int, ...] = (1,)
    """One training run, and one member, a seed: it decides initialisation, dropout and order of the images."""
    images: str = BOTH
    """Which images train and validate: `control`, `labelled` or `both` at once."""
    n_epochs: int = 150
    """Epochs."""
    batch_size: int = 12
    """Images of a step."""
    learning_rate: float = 1e-4
    """Highest learning rate of Adam."""
    schedule: str = "constant"
    """`constant`; `cosine`: falls to 0 along a half cosine; `thirds`: halved after one third, a tenth after two."""
    n_warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    loss: str = "dice"
    """One of `tune.losses.LOSSES`."""
    tversky_beta: float = 0.5
    """Weight of false negatives in the `tversky` loss (false positives weigh the rest); the other losses have none."""
    weight_decay: float = 0.0
    """Of Adam: added to the gradient, times the weight."""
    kl_weight: float = 10.0
    """Weight lambda of the divergence in the loss of a `prob-unet`, of 0.1 to 10 the one that the paper chose; networks
    with dropout have none."""
    crop_px: int | None = None
    """Rows and columns of the window that is cut from an image for a step, anywhere; None takes whole images."""
    validation_share: float = 40 / 478
    """Share of the studies held out for validation: of the images, 40 of 478 in the paper."""
    n_validation_trials: int = 8
    """Trials whose mean is held against the truth after an epoch."""
    precision: str = "auto"
    """Arithmetic of the forward pass: `float32`, `bfloat16`, or `auto`: bfloat16 where it is computed natively.
    Weights, loss and optimiser are float32 in any case, and so are the trials that a member makes later."""

    n_checkpoints: int = field(default=1, init=False)
    """Members a seed."""
    least_validation_dice: float = field(default=0.0, init=False)
    """No floor: the best epoch is the member, and its Dice is in the manifest."""

    def __post_init__(self) -> None:
        if self.network.kind == PATCH_KIND or self.network.n_frames != 1:
            remedy = "Take mcd-unet with n_frames 1; patches are trained by `python -m tune train`."
            found = f"{self.network.kind} of {self.network.n_frames} frames"
            raise SettingsError("ASL training", "needs a network of trials that takes one image", found, remedy)
        if self.network.n_classes not in (2, 3):
            rule = "n_classes must be 2 (myocardium) or 3 (and blood)"
            raise SettingsError("ASL training", rule, str(self.network.n_classes))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise SettingsError("ASL training", "seeds must be different numbers of at least 0", str(list(self.seeds)))
        limits = {
            "n_epochs": (1, 10_000),
            "batch_size": (2, 4096),
            "n_warmup_steps": (0, 1_000_000),
            "tversky_beta": (0.0, 1.0),
            "weight_decay": (0.0, 1.0),
            "kl_weight": (0.0, 1e6),
            "n_validation_trials": (1, 1000),
        }
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise SettingsError(
                    "ASL training", f"{name} must lie from {least} to {most}", repr(getattr(self, name))
                )
        for name in ("learning_rate", "validation_share"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise SettingsError("ASL training", f"{name} must lie between 0 and 1", repr(getattr(self, name)))
        for name, known in (("images", IMAGES), ("schedule", SCHEDULES), ("loss", LOSSES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                found = repr(getattr(self, name))
                raise SettingsError("ASL training", f"{name} must be one of {', '.join(known)}", found)
        multiple = 2**self.network.n_poolings
        if self.crop_px is not None and (self.crop_px < multiple or self.crop_px % multiple):
            rule = f"crop_px must be a multiple of {multiple} for this network"
            raise SettingsError("ASL training", rule, str(self.crop_px))

    @classmethod
    def paper(cls, **changes: Any) -> AslTrainingSettings:
        """The paper's recipe; for a GPU."""
        return cls(**changes)

    @classmethod
    def quick(cls, **changes: Any) -> AslTrainingSettings:
        """A compact member in about a quarter of an hour on one core, of some 600 studies with a pair each.

        Departures from the paper: width 16 and 3 poolings; blood as a class of its own; a higher learning rate that
        falls along a cosine; windows of 64 x 64 px, less than half of an image's work.
        """
        preset: dict[str, Any] = {
            "network": NetworkSpec(kind="mcd-unet", width=16, n_poolings=3, n_frames=1, n_classes=3),
            "n_epochs": 20,
            "learning_rate": 2e-3,
            "schedule": "cosine",
            "n_warmup_steps": 30,
            "crop_px": 64,
            "n_validation_trials": 4,
        }
        return cls(**(preset | changes))

    @classmethod
    def thorough(cls, **changes: Any) -> AslTrainingSettings:
        """The compact member of `quick`, as good as it gets in half an hour on one core: of 2,000 studies, longer.

        Departure from `quick`: a smaller share of the studies validates, as there are more of them.
        """
        preset: dict[str, Any] = {"n_epochs": 26, "n_warmup_steps": 100, "validation_share": 0.03}
        return cls.quick(**(preset | changes))

    @classmethod
    def prob_paper(cls, **changes: Any) -> AslTrainingSettings:
        """The paper's recipe of the probabilistic U-Net: BCE and 10 times the divergence, a rate that falls by thirds.

        Departures: 148 epochs of 438 images are its 5,400 steps, more images make more steps; no elastic deformation
        and rotation, as the phantom's hearts differ in shape and angle.
        """
        preset: dict[str, Any] = {
            "network": NetworkSpec(kind="prob-unet", width=32, n_poolings=4, n_frames=1, n_classes=2),
            "n_epochs": 148,
            "schedule": "thirds",
            "loss": "binary-cross-entropy",
            "weight_decay": 1e-5,
        }
        return cls(**(preset | changes))

    @classmethod
    def prob_quick(cls, **changes: Any) -> AslTrainingSettings:
        """A compact probabilistic U-Net in minutes: as `quick`, with this network's loss."""
        network = NetworkSpec(kind="prob-unet", width=16, n_poolings=3, n_frames=1, n_classes=3)
        return cls.quick(**({"network": network, "loss": "binary-cross-entropy", "weight_decay": 1e-5} | changes))

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-ready fields."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AslTrainingSettings:
        """The settings from JSON fields; unknown fields are refused, never dropped."""
        fixed = {f.name for f in fields(cls) if not f.init}
        try:
            chosen = {name: value for name, value in values.items() if name not in fixed}
            chosen["network"] = NetworkSpec.from_dict(values["network"])
            chosen["seeds"] = tuple(values["seeds"])
            return cls(**chosen)
        except (KeyError, TypeError) as error:
            raise SettingsError("ASL settings", "have unknown or missing fields", str(error)) from error

    def sha256(self) -> str:
        """Hash of the settings; goes into the manifest and into MLflow."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


PRESETS = {
    "paper": AslTrainingSettings.paper,
    "quick": AslTrainingSettings.quick,
    "thorough": AslTrainingSettings.thorough,
    "prob-paper": AslTrainingSettings.prob_paper,
    "prob-quick": AslTrainingSettings.prob_quick,
}
