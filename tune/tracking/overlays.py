"""Every member's contours on slices it was not trained on, as pictures beside its curves. Phantoms only.

Pixels of real patients never go to MLflow: a server may be anywhere, and nobody was asked.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pool.analysis import AnalysisSettings, StudyAnalysis, analyse
from pool.evaluation.overlap import dice
from pool.labelled_set import LabelledSet
from pool.manifest import PoolManifest
from pool.member import Member, Pool
from pool.series import PerfusionSeries
from pool.shapes import MYOCARDIUM
from pool.sweep import SweepSettings
from tune.samples import Samples
from tune.settings import TrainingSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_SLICES = 3
"""Slices in a picture: the first that validate."""


def member_overlays(data: Path, settings: TrainingSettings, pool_dir: Path) -> Iterator[tuple[str, bytes]]:
    """Member id and picture (PNG) of every member, drawn as asked for; none where the labelled set is not a phantom's.

    Args:
        data: folder of the labelled set that the pool was trained on; its first validation slices are shown.
        settings: of the training.
        pool_dir: the pool.
    """
    stored = LabelledSet.open(data)
    if "simulator" not in stored.manifest.get("origin", {}):
        return
    samples = Samples.open(data)
    shown = samples.split(settings).validation[:N_SLICES]
    names = tuple(stored.entries[i].name for i in shown)
    frames = np.stack([samples.frames_of(i).float().numpy() for i in shown])
    truths = [samples.labels[i].numpy() == MYOCARDIUM for i in shown]
    stride_px = settings.validation_stride_px
    sweep = SweepSettings(settings.patch_px, stride_px, stride_px)
    how = AnalysisSettings(sweep=sweep, rule="best-validation", n_threads=torch.get_num_threads())
    times_s = np.tile(np.arange(samples.n_frames, dtype=np.float64), (len(shown), 1))
    series = PerfusionSeries(frames, times_s, None, names, prepared=True)
    manifest = PoolManifest.load(pool_dir)
    for entry in manifest.members:
        alone = PoolManifest(manifest.name, (entry,), manifest.provenance)
        analysis = analyse(series, Pool(alone, (Member.load(pool_dir, entry),)), how)
        yield entry.id, _png(_figure(analysis, truths))


def _figure(analysis: StudyAnalysis, truths: list[np.ndarray]) -> Figure:
    from matplotlib.figure import Figure

    from pool.figures.overlay import draw_frame, shape_in_words

    figure = Figure(figsize=(3.4 * len(truths), 4.5), layout="constrained")
    for item, truth, ax in zip(analysis.slices, truths, figure.subplots(1, len(truths), squeeze=False)[0]):
        title = f"{item.name}: Dice {dice(item.mask, truth):.3f}\n{shape_in_words(item)}"
        draw_frame(item, ax).set_title(title, fontsize=10)
    (entry,) = analysis.manifest.members
    figure.supxlabel(f"{entry.id}, validation slices of a phantom, coarse sweep", fontsize=8)
    return figure


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=110)
    return buffer.getvalue()
