"""Draw the phantom figure of the README: `python -m deploy.readme_figures`."""

from __future__ import annotations

from pathlib import Path

import torch

from pool.figures.phantom import preset_gallery
from pool.phantom.presets import PRESETS
from pool.phantom.slices import make_labelled_slices

SEED = 7
"""One seed for all presets, so that only the scanner and the patients differ."""


def main(out: Path = Path("docs")) -> None:
    """Write `phantom.png`: three slices of one heart of every preset, with their curves."""
    torch.set_num_threads(1)
    slices = {
        name: make_labelled_slices(preset, 3, torch.Generator().manual_seed(SEED)) for name, preset in PRESETS.items()
    }
    preset_gallery(slices).savefig(out / "phantom.png", dpi=80)


if __name__ == "__main__":
    main()
