"""What turns a study that was read into its result, whichever kind of study it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from pool.analysis import StudyAnalysis
from pool.asl.analysis import AslAnalysis
from pool.asl.result import write_asl_result
from pool.asl.series import AslSeries
from pool.preprocess import PreparedSlice
from pool.results import write_results
from pool.series import PerfusionSeries
from serve.reading import AslUpload, Upload
from serve.shards.outcomes import Outcome
from serve.watcher import StudyWatcher


class Analyst(Protocol):
    """Turns a study that was read into its result; the selector, or a stand-in."""

    async def analyse(
        self,
        series: PerfusionSeries,
        prepared: Sequence[PreparedSlice],
        on_progress: Callable[[int, int], None] | None = None,
        on_answer: Callable[[str, str, Outcome], None] | None = None,
    ) -> StudyAnalysis:
        """See `serve.shards.selector.Selector.analyse`."""
        ...

    async def analyse_asl(
        self,
        series: AslSeries,
        on_progress: Callable[[int, int], None] | None = None,
        on_answer: Callable[[str, str, Outcome], None] | None = None,
    ) -> AslAnalysis:
        """See `serve.shards.selector.Selector.analyse_asl`."""
        ...


@dataclass(frozen=True, eq=False)
class Ended:
    """An analysis, and how its results are written."""

    analysis: StudyAnalysis | AslAnalysis
    write: Callable[[Path], object]
    """Into a folder."""


async def analysed(upload: Upload, analyst: Analyst, watcher: StudyWatcher) -> Ended:
    """Have an upload analysed as what it is.

    Args:
        upload: as it was read.
        analyst: does the work.
        watcher: hears how it goes on.
    """
    if isinstance(upload, AslUpload):
        of_asl = await analyst.analyse_asl(upload.study.series, watcher.on_progress, watcher.on_answer)
        return Ended(of_asl, partial(write_asl_result, of_asl, dicom=upload.study.dicom))
    series, headers = upload.study.series, upload.study.dicom
    found = await analyst.analyse(series, upload.prepared, watcher.on_progress, watcher.on_answer)
    return Ended(found, partial(write_results, found, dicom=headers))
