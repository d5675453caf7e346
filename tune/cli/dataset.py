"""`python -m tune dataset`: from a folder of studies with masks to a labelled set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pool.errors import PoolError
from pool.masks.values import MaskValues
from pool.progress import ProgressBar
from tune.cli.refusal import refuse
from tune.own_data.build import Dataset, build_dataset
from tune.own_data.collector import Rejection
from tune.own_data.layout import find_studies
from tune.own_data.patients import Assignments
from tune.own_data.settings import DatasetSettings

MOST_ROWS = 200
"""Rejections shown one by one."""


def dataset(
    studies: Annotated[Path, typer.Option(help="One sub-folder a patient; or images/ and labels/ with equal names.")],
    out: Annotated[Path, typer.Option(help="Folder of the labelled set to write; new or empty.")],
    masks: Annotated[Path | None, typer.Option(help="Folder of masks named as the studies, if they lie apart.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Values of the masks, e.g. myocardium=1,blood-pool=2+3. Default: 1, 2; final_mask: 1, 3."),
    ] = None,
    split: Annotated[Path | None, typer.Option(help="CSV of file,patient,split (training or validation).")] = None,
    validation_share: Annotated[float | None, typer.Option(help="Hold out this share of the patients instead.")] = None,
    split_seed: Annotated[int, typer.Option(help="Seed of that draw.")] = 0,
    salt: Annotated[str, typer.Option(help="Secret that goes into the patients' pseudonyms.", envvar="POOL_SALT")] = "",
    strict: Annotated[bool, typer.Option(help="Write nothing if any study or slice is rejected.")] = False,
) -> None:
    """Make a labelled set from studies with masks; splits are by patient, never by slice.

    Studies: DICOM folder or zip, .npz, 4D NIfTI, .mat. Masks: 3D NIfTI (ITK-SNAP), DICOM SEG, .npz with labels, .mat
    with final_mask. One sub-folder a patient holds its studies beside their masks; or images/ and labels/ have equal
    names, where the patient is the part of the name before the last - or _ (P01-base, P01-stress). A CSV overrides
    that.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    console, rejected = Console(), list[Rejection]()
    try:
        settings = DatasetSettings(
            values=MaskValues.parse(labels) if labels is not None else None,
            assignments=Assignments.read(split) if split is not None else None,
            validation_share=validation_share,
            split_seed=split_seed,
            salt=salt,
            strict=strict,
        )
        with ProgressBar("studies, each looked at and read") as bar:
            made = build_dataset(find_studies(studies, masks), out, settings, bar, rejected.append)
    except PoolError as error:
        _show_rejections(rejected)
        refuse(error)
    _show_rejections(rejected)
    for line in _summary(made, out, bool(salt)):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _show_rejections(rejected: list[Rejection]) -> None:
    if not rejected:
        return
    table = Table(title=f"rejected: {len(rejected)}")
    for column in ("study", "subject", "rule", "found", "remedy"):
        table.add_column(column, overflow="fold")
    for row in rejected[:MOST_ROWS]:
        error = row.error
        table.add_row(row.study, error.subject, error.rule, error.found, error.remedy)
    console = Console(stderr=True)
    console.print(table, markup=False, highlight=False)
    if len(rejected) > MOST_ROWS:
        console.print(f"and {len(rejected) - MOST_ROWS} more", highlight=False)


def _summary(made: Dataset, out: Path, salted: bool) -> list[str]:
    found = made.labelled_set
    subjects = set(found.subject_ids)
    lines = list(made.remarks)
    if not salted:
        lines.append("no --salt: whoever knows a patient's name can find its pseudonym")
    lines.append(f"{len(found)} slices of {len(subjects)} patients in {out}: {', '.join(found.class_names)}")
    if found.split is None:
        lines.append("no split declared: each training draws its own, by patient")
    else:
        sides = [found.split[subject] for subject in subjects]
        lines.append(f"split by patient: {sides.count('training')} training, {sides.count('validation')} validation")
    return lines
