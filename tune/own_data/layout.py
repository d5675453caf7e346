"""Where studies and masks lie in a folder, and which belong together.

One sub-folder a patient: all that lies below it is that patient's.

    DIR/P01/dicom/...        a study: DICOM files in any sub-folders, one zip, one .npz, 4D NIfTI or .mat
    DIR/P01/mask.nii.gz      its mask: 3D NIfTI, DICOM SEG, .npz with labels, .mat with final_mask; several may share it
    DIR/P02/stress/...       several studies: sub-folders that hold study and mask each,
    DIR/P02/rest/...
    DIR/P03/base.mat         or files, each with masks whose names begin with the study's (base-mask.mat)

Or two folders with equal names, each study a file or a folder:

    DIR/images/P01-base.mat  DIR/labels/P01-base.mat      (or --studies DIR/images --masks DIR/labels)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pool.errors import EmptyStudyError, MaskError, PoolError, UnreadableFileError, UnsupportedFileError
from pool.inputs import ARRAY_SUFFIXES
from tune.own_data.kinds import Kind, files_below, is_hidden, kind_of, stem_of
from tune.own_data.patients import patient_of_name

IMAGES, LABELS = "images", "labels"
"""Names of the two folders with equal names."""


@dataclass(frozen=True)
class FoundStudy:
    """A study with its masks, or what is wrong with it, before anything of it is read."""

    key: str
    """Its path below the folder of studies; for the table of rejections and the CSV, never for the set."""
    patient: str
    """The patient in clear; only a pseudonym of it leaves this process."""
    sources: tuple[Path, ...] = ()
    """What `pool.inputs.open_study` takes."""
    masks: tuple[Path, ...] = ()
    """Its mask files."""
    problem: PoolError | None = None
    """Why it cannot be used, if that shows already."""

    @property
    def names(self) -> tuple[str, ...]:
        """What a CSV may call it: its path, with or without the end of the name, or a folder above."""
        path = Path(self.key)
        above = [parent.as_posix() for parent in path.parents if parent.name]
        return (self.key, (path.parent / stem_of(path)).as_posix(), *above)


def find_studies(studies: Path, masks: Path | None = None) -> list[FoundStudy]:
    """Every study and every left-over mask of a folder, in order of their paths.

    Args:
        studies: one sub-folder a patient, or `images` and `labels`; with `masks` each entry is a study.
        masks: folder of masks whose names are those of the studies.

    Raises:
        EmptyStudyError: no such folder, or nothing in it.
        UnreadableFileError: a folder that cannot be listed.
    """
    for folder in (studies, *((masks,) if masks is not None else ())):
        if not folder.is_dir():
            raise EmptyStudyError(f"folder {folder.name}", "must exist and be a folder", "none", "Check the path.")
    if masks is None and (studies / IMAGES).is_dir() and (studies / LABELS).is_dir():
        studies, masks = studies / IMAGES, studies / LABELS
    try:
        found = _by_patient(studies) if masks is None else _by_equal_names(studies, masks)
    except OSError as error:
        raise UnreadableFileError(
            f"folder {Path(error.filename or studies).name}",
            "must be readable, with all that is in it",
            error.strerror or type(error).__name__,
            "Allow reading it, or copy it elsewhere.",
        ) from error
    if not found:
        raise EmptyStudyError(
            f"folder {studies.name}",
            "needs studies: one sub-folder a patient, or images/ and labels/ with equal names",
            "none",
            "See `python -m tune dataset --help`.",
        )
    return found


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_hidden(Path(path.name)))


def _by_patient(root: Path) -> list[FoundStudy]:
    found: list[FoundStudy] = []
    for entry in _entries(root):
        if entry.is_dir():
            for part in _parts(entry, {path: kind_of(path) for path in files_below(entry)}):
                found += _studies_of_part(root, entry.name, part)
        elif kind_of(entry) is not Kind.OTHER:
            problem = UnsupportedFileError(
                f"file {entry.name}", "must lie in the sub-folder of its patient", "none", "Make one folder a patient."
            )
            found.append(FoundStudy(entry.name, entry.name, problem=problem))
    return found


def _parts(folder: Path, kinds: dict[Path, Kind]) -> list[dict[Path, Kind]]:
    """A patient's files by study: sub-folders, where at least one holds study and mask; else all together."""
    below: dict[Path, dict[Path, Kind]] = {}
    for path, kind in kinds.items():
        home = folder / path.relative_to(folder).parts[0]
        below.setdefault(home if home != path else folder, {})[path] = kind
    own = [set(part.values()) for home, part in below.items() if home != folder]
    if any(Kind.MASK in found and found & {Kind.STUDY, Kind.IMAGE} for found in own):
        return [part for part in below.values() if set(part.values()) != {Kind.OTHER}]
    return [kinds]


def _studies_of_part(root: Path, patient: str, kinds: dict[Path, Kind]) -> list[FoundStudy]:
    files, images, masks = (_of_kind(kinds, kind) for kind in (Kind.STUDY, Kind.IMAGE, Kind.MASK))
    if images:
        home = _common_folder(images)
        key = home.relative_to(root).as_posix()
        if files:
            problem = UnsupportedFileError(
                f"folder {home.name}",
                "may hold one study beside its masks",
                f"DICOM files and {files[0].name}",
                "Give each study a sub-folder, with its mask.",
            )
            return [FoundStudy(key, patient, problem=problem)]
        return [FoundStudy(key, patient, _dicom_sources(kinds), tuple(masks))]
    if not files and not masks:
        empty = EmptyStudyError(f"folder {patient}", "needs a study", "none", "Put its images into it.")
        return [FoundStudy(patient, patient, problem=empty)]
    homes = {mask: files[0] if len(files) == 1 else _longest_stem(mask, files) for mask in masks}
    found = [
        FoundStudy(
            file.relative_to(root).as_posix(), patient, (file,), tuple(m for m, home in homes.items() if home == file)
        )
        for file in files
    ]
    return found + [_lone_mask(root, patient, mask) for mask, home in homes.items() if home is None]


def _of_kind(kinds: dict[Path, Kind], kind: Kind) -> list[Path]:
    return [path for path, found in kinds.items() if found is kind]


def _dicom_sources(kinds: dict[Path, Kind]) -> tuple[Path, ...]:
    """Images and whatever else lies with them: the reader tells side files from images that were damaged."""
    images = _of_kind(kinds, Kind.IMAGE)
    home = _common_folder(images)
    beside = [
        path
        for path in _of_kind(kinds, Kind.OTHER)
        if home in path.parents and not path.name.lower().endswith(ARRAY_SUFFIXES)
    ]
    return (*images, *beside)


def _common_folder(paths: Sequence[Path]) -> Path:
    """The lowest folder above all of them."""
    common = paths[0].parent
    while any(common not in path.parents for path in paths):
        common = common.parent
    return common


def _longest_stem(mask: Path, files: Sequence[Path]) -> Path | None:
    """The study whose name the mask's begins with."""
    fitting = [file for file in files if stem_of(mask).startswith(stem_of(file))]
    return max(fitting, key=lambda file: len(stem_of(file)), default=None)


def _lone_mask(root: Path, patient: str, mask: Path) -> FoundStudy:
    problem = MaskError(f"mask {mask.name}", "needs its study", "none", "Put the study beside it, or name both alike.")
    return FoundStudy(mask.relative_to(root).as_posix(), patient, problem=problem)


def _by_equal_names(studies: Path, masks: Path) -> list[FoundStudy]:
    by_stem: dict[str, list[Path]] = {}
    for entry in _entries(masks):
        if entry.is_dir() or kind_of(entry) is not Kind.OTHER or entry.name.lower().endswith(ARRAY_SUFFIXES):
            by_stem.setdefault(stem_of(entry), []).append(entry)
    found = []
    for entry in _entries(studies):
        if entry.is_file() and kind_of(entry) is Kind.OTHER and not entry.name.lower().endswith(ARRAY_SUFFIXES):
            continue
        own = [path for home in by_stem.pop(stem_of(entry), []) for path in _mask_files(home)]
        patient = patient_of_name(stem_of(entry), one_slice=entry.suffix.lower() == ".mat")
        found.append(FoundStudy(entry.name, patient, _sources_of(entry), tuple(own)))
    return found + [_lone_mask(masks, entry.name, entry) for homes in by_stem.values() for entry in homes]


def _sources_of(entry: Path) -> tuple[Path, ...]:
    """The study in a folder, its own masks left out; a file is itself."""
    kinds = {path: kind_of(path) for path in files_below(entry)} if entry.is_dir() else {}
    if Kind.IMAGE in kinds.values():
        return _dicom_sources(kinds)
    files = _of_kind(kinds, Kind.STUDY)
    return (files[0],) if len(files) == 1 else (entry,)


def _mask_files(home: Path) -> list[Path]:
    return [path for path in files_below(home) if kind_of(path) is Kind.MASK] if home.is_dir() else [home]
