"""`make real-check`: Dice on published real slices (`.mat` pairs) with a pool, if the folder is there.

The slices are the ones published with the DAUGS paper. They state no licence, so they are neither part of this
repository nor ever used for training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

from deploy.tables import mean_line, members_table
from pool.analysis import AnalysisSettings, analyse
from pool.errors import EmptyStudyError, PoolError
from pool.evaluation.members import SliceDice, compare_members
from pool.inputs import open_study
from pool.masks.study import read_labels
from pool.member import PRETRAINED, Pool
from pool.progress import ProgressBar
from pool.results import write_results
from pool.selection import RACE_RULE
from pool.shapes import MYOCARDIUM

console = Console()


def main(
    data: Annotated[Path, typer.Option(help="Folder with images/*.mat and labels/*.mat.")],
    pool: Annotated[Path, typer.Option(help="Pool folder.")] = PRETRAINED,
    out: Annotated[Path, typer.Option(help="Folder for the results of every slice.")] = Path("real-check"),
    threads: Annotated[int, typer.Option(min=1, help="Torch threads.")] = torch.get_num_threads(),
    rule: Annotated[str, typer.Option(help="Selection rule.")] = RACE_RULE,
) -> None:
    """Analyse every slice of `data/images` and compare with `data/labels`."""
    images = sorted((data / "images").glob("*.mat"))
    if not images:
        console.print(f"skipped: no real slices in {data} (they are not part of this repository)", highlight=False)
        return
    try:
        settings = AnalysisSettings(rule=rule, n_threads=threads)
        members = Pool.load(pool)
        slices = []
        with ProgressBar("real slices") as bar:
            for path in images:
                slices.append(check(path, data / "labels" / path.name, members, settings, out / path.stem))
                bar(len(slices), len(images))
    except PoolError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    for group in np.array_split(np.array(slices, dtype=object), max(1, len(slices) // 3)):
        console.print(members_table(list(group)))
    console.print(mean_line(slices), highlight=False)
    console.print(f"overlays in {out}/ (never to be committed)", highlight=False)


def check(image: Path, label: Path, pool: Pool, settings: AnalysisSettings, out: Path) -> SliceDice:
    """Analyse one slice, keep its pictures, and compare it with the expert's mask."""
    if not label.is_file():
        remedy = "Add it, or take the image away."
        raise EmptyStudyError(f"slice {image.stem}", "needs its mask in labels/", "no such file", remedy)
    study = open_study(image)
    truth = read_labels(study, [label]).classes[0] == MYOCARDIUM
    analysis = analyse(study.series, pool, settings)
    write_results(analysis, out)
    item = analysis.slices[0]
    return compare_members(image.stem, item.selection, item.member_masks, truth)


if __name__ == "__main__":
    typer.run(main)
