"""A study between two processes that do not trust each other: arrays without pickles, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pool.errors
from pool.errors import PoolError, StudyError, UnreadableFileError
from pool.inputs import StudyInput
from pool.perfusion.sequence import SequenceValues
from pool.run_choice import Role, RunChoice
from pool.series import PerfusionSeries, SliceGeometry

if TYPE_CHECKING:
    from pool.dicom.roles import SortedSeries
    from pool.dicom.stacks import StudyContent

QUESTION, ANSWER = "question.json", "answer.json"


class Wanted(StrEnum):
    """What a child is asked for."""

    FIRST_PASS = "first-pass"
    ANY = "any"
    """An ASL study or a first pass, whichever it is."""
    CONTENT = "content"
    """What series a DICOM study holds."""


_FRAMES, _TIMES = "frames.npy", "times.npy"
_SERIES_FIELDS = ("pixel_spacing_mm", "slice_names", "prepared", "remarks", "flipped")
BAD_ANSWER = UnreadableFileError("study", "must be readable", "an answer of the reader that makes no sense")
"""What is said of an answer that no child of ours leaves."""


@dataclass(frozen=True)
class Answer:
    """What a child says."""

    error: Mapping[str, str] | None
    """Fields of a refusal; None for a study."""
    series: Mapping[str, Any] | None
    """Fields of the series but its arrays."""
    dicom: Mapping[str, Any] | None
    """Fields of the DICOM study but its series; None for other inputs."""
    content: Mapping[str, Any] | None
    """Fields of a study's content, where that was asked for."""
    asl: Mapping[str, Any] | None = None
    """Fields of an ASL study but its arrays, see `pool.guarded_asl`; None for a first pass."""

    @classmethod
    def load(cls, path: Path) -> Answer:
        """Read an answer.

        Raises:
            UnreadableFileError: it is no answer.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise BAD_ANSWER from error


def pack_study(study: StudyInput, work: Path) -> None:
    """Leave a study in `work`, the answer last."""
    series = study.series
    np.save(work / _FRAMES, series.frames, allow_pickle=False)
    np.save(work / _TIMES, series.times_s, allow_pickle=False)
    fields = {name: getattr(series, name) for name in _SERIES_FIELDS}
    fields["sequence"] = None if series.sequence is None else asdict(series.sequence)
    fields["geometry"] = None if series.geometry is None else [asdict(geometry) for geometry in series.geometry]
    dicom = None
    if study.dicom is not None:
        dicom = {
            "sources": [[asdict(frame) for frame in frames] for frames in study.dicom.sources],
            "identity": dict(study.dicom.identity),
            "thickness_mm": study.dicom.thickness_mm,
            "warnings": study.dicom.warnings,
            "role": study.dicom.role,
            "sorting": [asdict(item) for item in study.dicom.sorting],
        }
    write_answer(work, Answer(None, fields, dicom, None))


def pack_content(content: StudyContent, work: Path) -> None:
    """Leave a study's content in `work`."""
    write_answer(work, Answer(None, None, None, asdict(content)))


def unpack_content(answer: Answer) -> StudyContent:
    """The content that a child left.

    Raises:
        UnreadableFileError: it is none.
    """
    from pool.dicom.stacks import StudyContent

    try:
        fields = dict(answer.content or {})
        return StudyContent(
            _sorting(fields["series"]),
            tuple(unpack_choice(run) for run in fields["runs"]),
            tuple(Role(role) for role in fields["roles"]),
            tuple(tuple(str(path) for path in paths) for paths in fields["files"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise BAD_ANSWER from error


def unpack_choice(fields: Mapping[str, Any]) -> RunChoice:
    """A choice from its fields."""
    roles = {str(number): Role(role) for number, role in fields["roles"].items()}
    return RunChoice(**{**fields, "roles": roles, "series_uids": tuple(fields["series_uids"])})


def pack_error(error: PoolError, work: Path) -> None:
    """Leave a refusal in `work`."""
    write_answer(work, Answer(error.to_dict(), None, None, None))


def unpack_error(fields: Mapping[str, str]) -> StudyError:
    """The refusal that a child left; one of `pool.errors`, whatever it claims to be."""
    kind = getattr(pool.errors, str(fields.get("error")), None)
    if not (isinstance(kind, type) and issubclass(kind, StudyError)):
        kind = UnreadableFileError
    return kind(*(str(fields.get(name, "")) for name in ("subject", "rule", "found", "remedy")))


def unpack_study(answer: Answer, work: Path) -> StudyInput:
    """The study that a child left, checked as every other: `PerfusionSeries` cannot exist half valid.

    Raises:
        StudyError: it is none.
    """
    try:
        fields: dict[str, Any] = dict(answer.series or {})
        geometry = fields["geometry"]
        series = PerfusionSeries(
            frames=np.load(work / _FRAMES, allow_pickle=False),
            times_s=np.load(work / _TIMES, allow_pickle=False),
            pixel_spacing_mm=_tuple_or_none(fields["pixel_spacing_mm"]),
            slice_names=tuple(fields["slice_names"]),
            geometry=None
            if geometry is None
            else tuple(SliceGeometry(tuple(g["position_mm"]), tuple(g["orientation"])) for g in geometry),
            prepared=bool(fields["prepared"]),
            remarks=tuple(fields["remarks"]),
            sequence=None if fields["sequence"] is None else SequenceValues(**fields["sequence"]),
            flipped=(bool(fields["flipped"][0]), bool(fields["flipped"][1])),
        )
        return StudyInput(series, None if answer.dicom is None else _dicom(answer.dicom, series))
    except PoolError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise BAD_ANSWER from error


def _dicom(fields: Mapping[str, Any], series: PerfusionSeries) -> Any:
    from pool.dicom.read import DicomStudy  # needs pydicom; the rest does not
    from pool.dicom.sources import SourceFrame

    return DicomStudy(
        series=series,
        sources=tuple(tuple(SourceFrame(**frame) for frame in frames) for frames in fields["sources"]),
        identity={str(key): str(value) for key, value in fields["identity"].items()},
        thickness_mm=None if fields["thickness_mm"] is None else float(fields["thickness_mm"]),
        warnings=tuple(fields["warnings"]),
        role=Role(fields["role"]),
        sorting=_sorting(fields["sorting"]),
    )


def _sorting(items: Sequence[Mapping[str, Any]]) -> tuple[SortedSeries, ...]:
    from pool.dicom.roles import SortedSeries

    return tuple(SortedSeries(**{**item, "role": Role(item["role"])}) for item in items)


def _tuple_or_none(values: Any) -> tuple[float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]))


def write_answer(work: Path, answer: Answer) -> None:
    """Leave an answer in `work`, whole or not at all."""
    partial = work / f".{ANSWER}"
    partial.write_text(json.dumps(asdict(answer)))
    partial.replace(work / ANSWER)
