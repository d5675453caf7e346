"""Which studies a folder holds, under names that say nothing of the patients."""

from __future__ import annotations

import csv
import hmac
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pool.errors import EmptyStudyError, OutputError, SettingsError
from pool.inputs import ARRAY_SUFFIXES
from serve.durable import replace_file

KEY_NAME, SALT_NAME = "key.csv", ".salt"
STUDY_SUFFIXES = (*ARRAY_SUFFIXES, ".zip")
"""Files that are a study each, wherever they lie."""
NO_STUDIES = ("truth.npz",)
"""What phantoms have beside them."""
_ID_CHARACTERS = 12


@dataclass(frozen=True)
class CohortStudy:
    """A study of a cohort."""

    id: str
    """Pseudonym: a keyed hash of its place in the cohort, the same in every run with the same results folder."""
    place: str
    """Its path below the cohort's folder; may name the patient, hence it is in the key and nowhere else."""
    path: Path


def find_studies(folder: Path, depth: int) -> list[str]:
    """Places of all studies below a folder, sorted.

    Args:
        folder: of the cohort.
        depth: levels of folders down to the studies: 1 where each entry of `folder` is one, 2 where each entry of its
            sub-folders is (sites, then patients), ... Files that are a study each count at any level above too. A
            folder at the last level is one study with all that is below it; if it directly holds `.npz`, `.mat`, NIfTI
            or zip files and no others, each of these is a study.

    Raises:
        EmptyStudyError: there is none.
        SettingsError: a depth below 1, or a folder that cannot be listed.
    """
    if depth < 1:
        raise SettingsError("batch", "--depth must be at least 1", str(depth))
    try:
        found = sorted(path.relative_to(folder).as_posix() for path in _studies_below(folder, depth))
    except OSError as error:
        raise SettingsError(
            "cohort", "must be a folder that can be listed to its bottom", error.strerror or ""
        ) from error
    if not found:
        raise EmptyStudyError(
            "cohort", "needs at least one study", "none", f"Is --depth {depth} the level at which the studies lie?"
        )
    return found


def with_pseudonyms(folder: Path, places: Sequence[str], out_dir: Path) -> list[CohortStudy]:
    """The studies under their pseudonyms, in the order of these; keeps the key in `out_dir`, readable by its owner.

    Args:
        folder: of the cohort.
        places: see `find_studies`.
        out_dir: of the results. Its salt is drawn in the first run and used in every further one.

    Raises:
        OutputError: the key cannot be written.
    """
    try:
        salt = _salt(out_dir / SALT_NAME)
        studies = sorted(
            (CohortStudy(_pseudonym(place, salt), place, folder / place) for place in places),
            key=lambda study: study.id,
        )
        _write_key(out_dir / KEY_NAME, {study.id: study.place for study in studies})
    except OSError as error:
        raise OutputError("key of the cohort", "must be writable", error.strerror or "") from error
    return studies


def fingerprint(path: Path) -> str:
    """What tells a study from one that was exported again: number of files, bytes, latest change."""
    n_files, n_bytes, changed_ns = 0, 0, 0
    for file in _files_below(path):
        try:
            found = file.stat()
        except FileNotFoundError:  # a link to nothing, or removed meanwhile
            continue
        n_files, n_bytes = n_files + 1, n_bytes + found.st_size
        changed_ns = max(changed_ns, found.st_mtime_ns)
    return f"{n_files} files, {n_bytes} bytes, {changed_ns}"


def _studies_below(folder: Path, depth: int) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name in NO_STUDIES:
            continue
        if path.is_file():
            if path.name.lower().endswith(STUDY_SUFFIXES):
                yield path
        elif depth > 1:
            yield from _studies_below(path, depth - 1)
        else:
            yield from _files_that_are_studies(path) or [path]


def _files_that_are_studies(folder: Path) -> list[Path]:
    """The studies in a folder of arrays and archives alone; none where it holds anything else."""
    entries = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in NO_STUDIES]
    studies = [path for path in entries if path.is_file() and path.name.lower().endswith(STUDY_SUFFIXES)]
    return studies if len(studies) == len(entries) else []


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for at, _, names in os.walk(path):
        for name in names:
            yield Path(at) / name


def _pseudonym(place: str, salt: bytes) -> str:
    """Who lacks the salt cannot try names until one fits."""
    return f"s-{hmac.new(salt, place.encode(), 'sha256').hexdigest()[:_ID_CHARACTERS]}"


def _salt(path: Path) -> bytes:
    if not path.exists():
        replace_file(path, secrets.token_hex(16).encode(), sync=True)
        path.chmod(0o600)
    return path.read_bytes()


def _write_key(path: Path, new: dict[str, str]) -> None:
    """Add studies to the key; those of earlier runs stay, as their results do."""
    known: dict[str, str] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            known = {row["study"]: row["place"] for row in csv.DictReader(file)}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("study", "place"))
        writer.writerows(sorted({**known, **new}.items()))
    partial.replace(path)
