"""Read an ASL study of one slice from DICOM files, classic or enhanced; refuse what nothing tells apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pool.asl.series import AslSeries
from pool.dicom.asl.choosing import one_run, one_slice
from pool.dicom.asl.kinds import SAY_IT, asl_frames, told_apart
from pool.dicom.asl.marks import ARTERIAL_SPIN_LABELLING
from pool.dicom.asl.pairs import pairs_of
from pool.dicom.asl.signs import brightness_remarks, component_of, sign_of
from pool.dicom.asl.times import inversion_time_s
from pool.dicom.frames import FrameRecord
from pool.dicom.geometry import slice_geometry
from pool.dicom.opening import reading
from pool.dicom.read import frames_of
from pool.dicom.sequence_values import field_strength_t
from pool.dicom.sources import SourceFrame, identity_of
from pool.errors import InconsistentStudyError
from pool.run_choice import Role, RunChoice
from pool.series import SliceGeometry

NOT_PULSED = "flow is modelled for pulsed labelling (FAIR); the images say {}"
"""Why flow is refused of images whose ArterialSpinLabelingContrast is another."""


@dataclass(frozen=True, eq=False)
class AslDicom:
    """Headers of an ASL study: whose it is, where its slice lies, and which frames it came from."""

    sources: tuple[tuple[SourceFrame, ...], ...]
    """Of the one slice: control images, labelled images, then the baseline's."""
    identity: Mapping[str, str]
    """Patient and study as text by keyword, `sources.IDENTITY_TAGS`: what derived objects inherit. Never logged."""
    geometry: tuple[SliceGeometry, ...]
    """Where the one slice lies."""
    pixel_spacing_mm: tuple[float, float]
    """Between rows, between columns [mm]."""
    grid: tuple[int, int, int]
    """`slice row col`."""
    thickness_mm: float | None = None
    """Slice thickness [mm]; None where the headers do not say."""
    role: Role = Role.PERFUSION
    """Stress, rest, or perfusion where nobody says which."""


def asl_study_of(
    records: Sequence[FrameRecord], remarks: Sequence[str], choice: RunChoice
) -> tuple[AslSeries, AslDicom]:
    """The ASL study among frames whose headers are read; the others are left out with a remark.

    Args:
        records, remarks: as `pool.dicom.read.chosen_records` gives them.
        choice: which run, and what the headers do not say.

    Raises:
        InconsistentStudyError: no ASL, two runs or slices, images that nothing tells apart or pairs.
        UnsupportedFileError: neither real nor magnitude images, or pixels in a form that cannot be decoded.
        UnreadableFileError: pixels that cannot be read, or too many.
        NonFiniteError: pixels that are not finite after rescaling.
    """
    found = asl_frames(records, choice)
    if not found:
        raise InconsistentStudyError(
            "study", f"must hold {ARTERIAL_SPIN_LABELLING}", "no attribute or word of it", SAY_IT
        )
    said = [f"left out {len(records) - len(found)} other images"] if len(found) < len(records) else []
    frames, role, of_run = one_run(found, choice)
    frames, of_kinds = told_apart(frames, choice)
    frames, of_slice = one_slice(frames)
    control, labelled, baseline = (
        [frame.record for frame in frames if frame.kind is kind]
        for kind in (Role.CONTROL, Role.LABELLED, Role.BASELINE)
    )
    pairs, of_pairs = pairs_of(control, labelled)
    control, labelled = [control[c] for c, _ in pairs], [labelled[t] for _, t in pairs]
    images, scaling = frames_of([[*control, *labelled, *baseline]])
    n, first = len(pairs), control[0]
    ti_s = _inversion_times_s(control, labelled)
    with reading(first.path.name):
        field_t = field_strength_t(first.header)
    flow_refused, of_sign = sign_of(images[0, : 2 * n], component_of(first), ti_s, field_t)
    contrast = str(first.value("ArterialSpinLabelingContrast", "PULSED"))
    of_images = [*of_sign, *brightness_remarks(images[0, :n], images[0, n : 2 * n])]
    if len(baseline) > 1:
        of_images.append(f"baseline is the mean of {len(baseline)} images")
    row_mm, col_mm = first.spacing_mm
    series = AslSeries(
        control=np.ascontiguousarray(images[0, :n]),
        labelled=np.ascontiguousarray(images[0, n : 2 * n]),
        pixel_spacing_mm=(row_mm, col_mm),
        baseline=images[0, 2 * n :].mean(axis=0) if baseline else None,
        ti_s=ti_s,
        field_t=field_t,
        flow_refused=flow_refused if contrast == "PULSED" else NOT_PULSED.format(contrast),
        remarks=(
            *of_run,
            *of_kinds,
            *of_pairs,
            *([] if baseline else ["no baseline image: flow is not measured"]),
            *([] if ti_s is not None else ["no inversion times in the headers: flow is not measured"]),
            *of_images,
            *filter(None, (scaling,)),
            *of_slice,
            *said,
            *remarks,
        ),
    )
    dicom = AslDicom(
        sources=(tuple(record.source for record in (*control, *labelled, *baseline)),),
        identity=identity_of(first.header),
        geometry=(slice_geometry(first),),
        pixel_spacing_mm=(row_mm, col_mm),
        grid=(1, *first.shape),
        thickness_mm=first.thickness_mm,
        role=role,
    )
    return series, dicom


def _inversion_times_s(control: Sequence[FrameRecord], labelled: Sequence[FrameRecord]) -> np.ndarray | None:
    """Of every pair, control and labelled, `pair 2` [s]; None where an image has none."""
    found = [[inversion_time_s(record) for record in pair] for pair in zip(control, labelled, strict=True)]
    if any(ti is None for pair in found for ti in pair):
        return None
    return np.array(found, dtype=np.float64)
