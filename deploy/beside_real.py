"""Draw published real slices beside phantom slices: `python -m deploy.beside_real --data DIR`.

For the eyes of whoever works on the phantom. The picture holds real pixels: it goes to a folder that git ignores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from pool.figures.phantom import beside
from pool.inputs import open_study
from pool.phantom.presets import get_preset
from pool.phantom.slices import make_labelled_slices


def main(
    data: Annotated[Path, typer.Option(help="Folder with images/*.mat.")],
    preset: Annotated[str, typer.Option(help="Phantom preset.")] = "exD-1",
    seed: Annotated[int, typer.Option(help="Of the phantom.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the picture; never to be committed.")] = Path("figures-real"),
) -> None:
    """Write `beside.png`."""
    real = [open_study(path).series.frames[0] for path in sorted((data / "images").glob("*.mat"))]
    if not real:
        typer.echo(f"skipped: no real slices in {data}")
        return
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    n_phantoms = -(-len(real) // 3) * 3  # whole hearts of three slices
    phantoms = make_labelled_slices(get_preset(preset), n_phantoms, generator).frames.numpy()
    out.mkdir(parents=True, exist_ok=True)
    beside(real, list(phantoms)[: len(real)]).savefig(out / "beside.png", dpi=80)


if __name__ == "__main__":
    typer.run(main)
