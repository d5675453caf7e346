"""`make demo`: the whole path once, for real, on one laptop, on a phantom.

labelled phantom slices -> Ray Tune and MLflow -> a small pool, as a demonstration of training
phantom study as DICOM -> Ray Serve over HTTP with the pool that ships -> outline in demo/
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from deploy.tables import mean_line, members_table
from pool.errors import OutputError, PoolError
from pool.evaluation.members import SliceDice, compare_members
from pool.member import PRETRAINED
from pool.output import RESULT_NAMES
from pool.phantom.dicom_files import write_dicom_study, write_truth
from pool.phantom.labelled_set import write_labelled_set
from pool.phantom.presets import get_preset
from pool.phantom.study import make_study
from pool.progress import ProgressBar
from pool.selection import RACE_RULE, Selection
from pool.shapes import MYOCARDIUM
from serve.client import ServiceClient
from serve.local import free_port, running_service
from serve.settings import ServiceSettings
from tune.progress import TrainingDisplay
from tune.run import train_pool
from tune.settings import TrainingSettings

STUDY_PRESET, STUDY_SEED = "exD-1", 7
"""The study: a bSSFP scanner's, as in the paper."""
TRAINING_PRESET, TRAINING_SEED, N_TRAINING_SLICES = "inD", 1, 300
SHARD_SLICES = 30
"""Slices between two signs of progress."""

console = Console()


@dataclass(frozen=True)
class Places:
    """Where everything lies inside the demo's folder."""

    root: Path

    @property
    def study(self) -> Path:
        """The DICOM files."""
        return self.root / "study"

    @property
    def truth(self) -> Path:
        """`truth.npz`: the true masks."""
        return self.root / "truth.npz"

    @property
    def training_set(self) -> Path:
        """Labelled phantom slices."""
        return self.root / "training-set"

    @property
    def pool(self) -> Path:
        """The pool that the demo trains."""
        return self.root / "pool"

    @property
    def store(self) -> Path:
        """Study store of the service."""
        return self.root / "service"

    @property
    def tracking_uri(self) -> str:
        """MLflow's database."""
        return f"sqlite:///{(self.root / 'mlflow.db').resolve()}"

    def clear(self) -> None:
        """Remove what an earlier demo left; a folder that no demo made is refused.

        Raises:
            OutputError: a folder with content that has no mark of an earlier demo.
        """
        mark = self.root / ".made-by-the-demo"
        self.root.mkdir(parents=True, exist_ok=True)
        if not mark.exists() and any(self.root.iterdir()):
            raise OutputError(f"folder {self.root.name}", "must be new, empty or an earlier demo", "other files")
        mark.touch()
        for name in (
            "study",
            "training-set",
            "pool",
            "service",
            "mlflow-artifacts",
            "study.zip",
            "truth.npz",
            *RESULT_NAMES,
        ):
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for path in self.root.glob("mlflow.db*"):
            path.unlink()


def main(out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("demo")) -> None:
    """Run the demo into a folder."""
    started = time.monotonic()
    places = Places(out)
    try:
        places.clear()
        with step("1/4 phantom study as DICOM files"):
            write_study(places)
        with step("2/4 pool: labelled slices, then one Ray Tune trial a seed, members logged to MLflow"):
            train(places)
        with step("3/4 service with the pool that ships: Ray Serve on loopback, study sent over HTTP"):
            send(places)
    except PoolError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    console.rule("4/4 result", align="left")
    slices = compare(places)
    console.print(members_table(slices))
    console.print(mean_line(slices), highlight=False)
    show_what_next(places)
    console.print(f"done in {time.monotonic() - started:.0f} s", highlight=False)


@contextmanager
def step(title: str) -> Iterator[None]:
    """A heading, and how long the step took."""
    console.rule(title, align="left")
    started = time.monotonic()
    yield
    console.print(f"took {time.monotonic() - started:.0f} s", highlight=False)


def write_study(places: Places) -> None:
    """The study, and beside it its true masks."""
    study = make_study(get_preset(STUDY_PRESET), STUDY_SEED)
    files = write_dicom_study(study, places.study)
    write_truth(study, places.root)
    shutil.make_archive(str(places.root / "study"), "zip", places.study)
    n_slices, n_frames, n_rows, n_cols = study.series.frames.shape
    console.print(f"{len(files)} files: {n_slices} slices x {n_frames} frames of {n_rows} x {n_cols}", highlight=False)


def train(places: Places) -> None:
    """Simulate the training set, then train and assemble the pool."""
    preset = get_preset(TRAINING_PRESET)
    with ProgressBar("labelled phantom slices") as bar:
        write_labelled_set(places.training_set, preset, N_TRAINING_SLICES, TRAINING_SEED, SHARD_SLICES, bar)
    with TrainingDisplay(console) as display:
        manifest = train_pool(
            TrainingSettings.quick(),
            places.training_set,
            places.pool,
            places.tracking_uri,
            on_progress=display,
            name="demo",
        )
    console.print(f"{manifest.n_members} members in {places.pool}", highlight=False)


def send(places: Places) -> None:
    """Start the service, send the study, wait, fetch the results."""
    settings = ServiceSettings(pool_dir=PRETRAINED, studies_dir=places.store, port=free_port(), rule=RACE_RULE)
    with ExitStack() as stack:
        with ProgressBar("starting Ray Serve, loading and verifying the pool"):
            url = stack.enter_context(running_service(settings))
        client = stack.enter_context(ServiceClient(url))
        sent = client.send(places.study)
        with ProgressBar("member sweeps") as bar:
            client.wait(sent.id, lambda view: bar(view.n_sweeps_done, view.n_sweeps))
        for path in client.fetch(sent.id, places.root / "service-answer"):
            path.replace(places.root / path.name)
        (places.root / "service-answer").rmdir()
    console.print("service stopped", highlight=False)


def compare(places: Places) -> list[SliceDice]:
    """Every member's Dice against the true masks."""
    result = json.loads((places.root / "result.json").read_text(encoding="utf-8"))
    with np.load(places.truth) as truth_file, np.load(places.root / "members.npz") as members:
        truth, ids, masks = truth_file["labels"] == MYOCARDIUM, list(members["ids"]), members["mask"]
    return [
        compare_members(
            fields["name"],
            Selection.from_result(fields, result["settings"]["rule"]),
            {member_id: masks[m, i] for m, member_id in enumerate(ids)},
            truth[i],
        )
        for i, fields in enumerate(result["slices"])
    ]


def show_what_next(places: Places) -> None:
    """The files, and the commands to go on with."""
    names = [name for name in RESULT_NAMES if (places.root / name).exists()]
    console.print(f"results in {places.root}/: {', '.join(names)}", highlight=False)
    mlflow = Path(sys.executable).with_name("mlflow")
    commands = (
        (
            "compare the members in MLflow",
            f"{mlflow} ui --backend-store-uri {places.tracking_uri}   # http://127.0.0.1:5000",
        ),
        ("start the service again", f"{sys.executable} -m serve run --studies {places.store} --rule {RACE_RULE}"),
        ("send a study with curl", f"curl -F files=@{places.root}/study.zip http://127.0.0.1:8000/v1/studies"),
        ("fetch a result", "curl -O http://127.0.0.1:8000/v1/studies/ID/result.json   # ID from the answer above"),
        (
            "the same without a service",
            f"{sys.executable} -m pool analyse {places.study} --rule {RACE_RULE} --out result",
        ),
    )
    for what, command in commands:
        console.print(f"{what}:\n    {_relative(command)}", markup=False, highlight=False, soft_wrap=True)


def _relative(command: str) -> str:
    return command.replace(f"{os.getcwd()}/", "")


if __name__ == "__main__":
    typer.run(main)
