"""Whether a set can be trained on with a recipe: asked before anything starts, and by every training of a seed."""

from __future__ import annotations

from pool.errors import SettingsError
from pool.patches import PatchGrid
from tune.samples import Samples, Split, n_steps_per_epoch
from tune.settings import TrainingSettings


def refuse_unsuitable(samples: Samples, split: Split, settings: TrainingSettings) -> None:
    """Refuse a set that the recipe cannot train on.

    Args:
        samples: of the set.
        split: which of them train.
        settings: the recipe, with the classes of the set (`Samples.settings_for_classes`).

    Raises:
        SettingsError: another number of frames or classes than the network's, slices too small for a patch, a stride
            that leaves pixels out, too few slices for a batch.
    """
    network = settings.network
    if samples.n_frames != network.n_frames:
        remedy = "Set n_frames of the recipe's network to that, or prepare the slices anew."
        raise SettingsError("labelled set", f"needs {network.n_frames} frames a slice", str(samples.n_frames), remedy)
    if (n_classes := len(samples.class_names)) != network.n_classes:
        remedy = "Set n_classes of the recipe's network to that."
        raise SettingsError("network", f"needs the {n_classes} classes of the set", str(network.n_classes), remedy)
    for stride_px in (settings.stride_px, settings.validation_stride_px):
        PatchGrid(samples.image_px, settings.patch_px, stride_px)
    n_steps_per_epoch(len(split.training), settings)
