"""Everything that decides what a training run produces, as data; the paper's recipe is the default."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pool.errors import SettingsError
from pool.networks import PATCH_KIND, NetworkSpec
from pool.patches import PatchGrid
from tune.augment_settings import AugmentSettings
from tune.losses import LOSSES
from tune.precision import PRECISIONS

SCHEDULES = ("halving", "cosine")


@dataclass(frozen=True)
class TrainingSettings:
    """A training run of all seeds. The defaults are the paper's recipe (Methods, Appendices A and B).

    Raises:
        SettingsError: a value that makes no sense, with what would.
    """

    network: NetworkSpec = field(default_factory=lambda: NetworkSpec(width=64, n_poolings=4))
    """Kind and size of every member."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """One training run a seed; the seed decides initialisation, order of the patches and augmentation."""
    n_checkpoints: int = 10
    """Members taken from each seed."""
    least_validation_dice: float = 0.87
    """Validation Dice that a checkpoint needs to become a member."""
    patch_px: int = 64
    """Rows and columns of a patch."""
    stride_px: int = 32
    """Stride of the grid that training patches are taken from: 9 positions a slice."""
    n_patches_per_slice: int = 360
    """Patches drawn from every training slice in an epoch: 9 positions x 40 augmentations in the paper."""
    batch_size: int = 128
    """Patches of a step."""
    n_epochs: int = 15
    """Most epochs."""
    patience_epochs: int = 5
    """Stop after this many epochs without a better validation Dice; 0 never stops early."""
    learning_rate: float = 5e-4
    """Highest learning rate of Adam."""
    schedule: str = "halving"
    """`halving`: halved every `halving_epochs`; `cosine`: falls to 0 along a half cosine."""
    halving_epochs: int = 2
    """Epochs between two halvings; used by `halving`, ignored by `cosine`."""
    n_warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW); 0 is plain Adam."""
    averaging_decay: float = 0.0
    """Decay a step of the moving average of the weights that is validated and becomes the member; 0 takes the weights
    as they are, as the paper does. An average over the last thousands of patches makes short trainings better."""
    loss: str = "cross-entropy"
    """One of `tune.losses.LOSSES`; cross-entropy is the paper's."""
    tversky_beta: float = 0.7
    """Weight of false negatives in the `tversky` loss (false positives weigh the rest); the other losses have none."""
    augment: AugmentSettings | None = field(default_factory=AugmentSettings)
    """Ranges of the augmentation; None trains on the patches as they are."""
    validation_share: float = 10 / 85
    """Share of the subjects held out for validation: 10 of 85 in the paper."""
    split_seed: int = 0
    """Seed of the split into training and validation subjects, the same for all members."""
    n_validation_slices: int | None = None
    """Most validation slices that are swept after an epoch, spread evenly over them; None takes all."""
    validation_stride_px: int = 16
    """Stride of the validation sweep; 16 is the mask's."""
    precision: str = "auto"
    """Arithmetic of the forward pass: `float32`, `bfloat16`, or `auto`: bfloat16 where it is computed natively."""

    def __post_init__(self) -> None:
        whole = [(f.name, getattr(self, f.name)) for f in fields(self) if f.type in ("int", "int | None")]
        for name, value in (*whole, *(("seeds", seed) for seed in self.seeds)):
            if value is not None and not isinstance(value, int):  # a recipe in JSON may hold anything
                raise SettingsError("training", f"{name} must be whole", repr(value), "Write it without a fraction.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise SettingsError("training", "seeds must be different numbers of at least 0", str(list(self.seeds)))
        limits = {
            "n_checkpoints": (1, 1000),
            "n_patches_per_slice": (1, 100_000),
            "batch_size": (2, 65_536),
            "n_epochs": (1, 10_000),
            "patience_epochs": (0, 10_000),
            "halving_epochs": (1, 10_000),
            "n_warmup_steps": (0, 10_000_000),
            "least_validation_dice": (0.0, 1.0),
            "weight_decay": (0.0, 1.0),
            "averaging_decay": (0.0, 0.99999),
            "tversky_beta": (0.0, 1.0),
        }
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise SettingsError("training", f"{name} must lie from {least} to {most}", repr(getattr(self, name)))
        if self.n_checkpoints > self.n_epochs:
            raise SettingsError(
                "training",
                "every epoch gives one checkpoint, so n_checkpoints cannot exceed n_epochs",
                f"{self.n_checkpoints} checkpoints of {self.n_epochs} epochs",
                "Train longer or ask for fewer checkpoints.",
            )
        if not 0.0 < self.learning_rate <= 1.0:
            raise SettingsError("training", "learning_rate must be above 0 and at most 1", repr(self.learning_rate))
        if not 0.0 < self.validation_share < 1.0:
            raise SettingsError("training", "validation_share must lie between 0 and 1", repr(self.validation_share))
        if self.n_validation_slices is not None and self.n_validation_slices < 1:
            raise SettingsError("training", "n_validation_slices must be at least 1", repr(self.n_validation_slices))
        for name, known in (("schedule", SCHEDULES), ("loss", LOSSES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise SettingsError("training", f"{name} must be one of {', '.join(known)}", repr(getattr(self, name)))
        if self.network.kind != PATCH_KIND:
            remedy = "Train whole images with `python -m tune asl train`."
            raise SettingsError("training", f"patches train networks of kind {PATCH_KIND}", self.network.kind, remedy)
        if self.patch_px % 2**self.network.n_poolings:
            raise SettingsError(
                "training",
                f"patch_px must be a multiple of {2**self.network.n_poolings} for this network",
                str(self.patch_px),
            )
        for stride_px in (self.stride_px, self.validation_stride_px):
            PatchGrid(patch_px=self.patch_px, stride_px=stride_px)

    @classmethod
    def paper(cls, **changes: Any) -> TrainingSettings:
        """The paper's recipe (Methods, Appendices A and B): 50 members of width 64.

        As there: 10 of 85 subjects validate; 64 px patches at half a patch, their answers averaged at a quarter; every
        range of Appendix A; cross-entropy, Adam, He initialisation, batches of 128; 5e-4 in epochs 1 and 2, halved
        every two; at most 15 epochs, stopped after 5 without a better myocardial Dice; 10 checkpoints of 5 seeds from
        0.87.

        Departures, and what the paper leaves open:
            - Augmentation is drawn anew for every patch of every epoch; there 40 copies of each series were made once
              and cut into patches. As many patches an epoch: 9 positions x 40.
            - A rotated patch's surroundings come from its slice, reflected at the edges; the flat-field correction
              estimates one shading from the temporal mean of the patch and is bounded (`tune.augment`).
            - Noise, contrast and coil sensitivity are named there without figures; ours are in `AugmentSettings`.
            - Width 64 and 4 poolings are the usual U-Net's; the paper gives neither. Batch normalisation is ours.
            - No weight decay, as the text names none; the toolbox it used adds 1e-4 unless told not to.
            - bfloat16 where it is computed natively; `precision="float32"` is the paper's.
            - A checkpoint is an epoch's end; the paper does not say when it took them. A seed that is stopped before
              epoch 10 therefore cannot give 10, and assembly refuses it in words: ask for fewer, or set
              `patience_epochs` to 0.
        """
        return cls(**changes)

    @classmethod
    def quick(cls, **changes: Any) -> TrainingSettings:
        """Six compact members in some three minutes on two CPU cores: the demonstration, not the paper.

        Departures from the paper: the compact network; some 8,000 patches a seed in small batches under one cosine
        instead of 137,160 an epoch; 3 checkpoints of 2 seeds with a low floor; validation on few slices at stride 32;
        mild augmentation, because so short a training cannot use the variety.
        """
        preset: dict[str, Any] = {
            "network": NetworkSpec(width=16, n_poolings=3),
            "seeds": (1, 2),
            "n_checkpoints": 3,
            "least_validation_dice": 0.5,
            "n_patches_per_slice": 2,
            "batch_size": 16,
            "n_epochs": 8,
            "patience_epochs": 0,
            "learning_rate": 3e-3,
            "schedule": "cosine",
            "n_warmup_steps": 30,
            "weight_decay": 1e-4,
            "augment": AugmentSettings(
                rotation_deg=20.0,
                shear_deg=5.0,
                scale=(0.9, 1.1),
                flat_field_p=0.0,
                gamma_p=0.0,
                contrast=(0.8, 1.2),
                noise_sd=(0.0, 0.0),
                coil_log_range=0.2,
            ),
            "n_validation_slices": 24,
            "validation_stride_px": 32,
        }
        return cls(**(preset | changes))

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-ready fields."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> TrainingSettings:
        """The settings from JSON fields; unknown fields are refused, never dropped."""
        try:
            augment = fields.get("augment")
            ranges = {name: _as_tuple(value) for name, value in augment.items()} if augment is not None else None
            values = {name: _as_tuple(value) for name, value in fields.items()}
            values["network"] = NetworkSpec.from_dict(fields["network"])
            values["augment"] = AugmentSettings(**ranges) if ranges is not None else None
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise SettingsError("training settings", "have unknown or missing fields", str(error)) from error

    def sha256(self) -> str:
        """Hash of the settings; goes into the manifest and into MLflow."""
        return _hash(self.to_dict())

    def sha256_of_seed_training(self) -> str:
        """Hash of what one seed's weights depend on: how members are chosen and which other seeds there are is not."""
        chosen_later = ("seeds", "n_checkpoints", "least_validation_dice")
        return _hash({name: value for name, value in self.to_dict().items() if name not in chosen_later})


PRESETS = {"paper": TrainingSettings.paper, "quick": TrainingSettings.quick}


def _hash(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
