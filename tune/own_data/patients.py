"""Whose a study is: from its name or a CSV, as a pseudonym in the set; and which side of the split it is on."""

from __future__ import annotations

import csv
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pool.errors import SettingsError
from pool.labelled_set import SIDES

COLUMNS = ("file", "patient", "split")
"""Columns of the CSV; `file` is needed, with at least one of the others."""
LEVEL_OF_WORD = {"base": "base", "basal": "base", "mid": "mid", "middle": "mid", "apex": "apex", "apical": "apex"}
"""Words of a name that say where a slice lies."""
_LAST_PART = re.compile(r"(.+)[-_]([^-_]+)")
_NOT_THE_PATIENT = re.compile(r"[a-z]+|(s|sl|slice|z|v|visit|scan|run|tp)\d+", re.IGNORECASE)


def patient_of_name(stem: str, one_slice: bool) -> str:
    """The patient in a study's name: the part before the last `-` or `_`, where what follows is not the patient's.

    What follows a single prepared slice's last separator is the slice (`Fig5-exD1-Apical`, `P01_2`). In the name of a
    whole study it is not the patient's if it is a word (`P01-stress`) or a numbered slice, visit, scan or run
    (`P01_v2`); any other number is (`study-0007`).
    """
    parts = _LAST_PART.fullmatch(stem)
    if parts is None or not (one_slice or _NOT_THE_PATIENT.fullmatch(parts[2])):
        return stem
    return parts[1]


def level_of_name(stem: str) -> str | None:
    """`base`, `mid` or `apex` where a part of the name says so."""
    words = [LEVEL_OF_WORD[word] for word in re.split(r"[-_. ]", stem.lower()) if word in LEVEL_OF_WORD]
    return words[-1] if words else None


def pseudonym(patient: str, salt: str) -> str:
    """What stands for a patient in the set: who lacks the salt cannot try names until one fits."""
    return f"p-{hmac.new(salt.encode(), patient.encode(), 'sha256').hexdigest()[:12]}"


@dataclass(frozen=True)
class Assignment:
    """What a CSV says of a study."""

    patient: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Assignments:
    """What a CSV says of all studies: `file,patient,split`."""

    by_file: dict[str, Assignment]
    """By a name of the study, see `FoundStudy.names`."""

    @property
    def declares_split(self) -> bool:
        """Whether any study is given a side; then all must be."""
        return any(row.split is not None for row in self.by_file.values())

    @classmethod
    def read(cls, path: Path) -> Assignments:
        """Read the CSV.

        Raises:
            SettingsError: not a CSV with these columns, an unknown side, or a file named twice.
        """
        subject = f"file {path.name}"
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, skipinitialspace=True)
                columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
                reader.fieldnames = columns
                rows = list(reader)
        except (OSError, ValueError, csv.Error) as error:
            raise SettingsError(subject, "must be a readable CSV file", type(error).__name__) from error
        if "file" not in columns or not {"patient", "split"} & set(columns) or set(columns) - set(COLUMNS):
            raise SettingsError(
                subject,
                f"needs the columns {', '.join(COLUMNS)}",
                ", ".join(columns) or "none",
                "Write them on line 1.",
            )
        by_file: dict[str, Assignment] = {}
        for line, row in enumerate(rows, start=2):
            values = {name: (row.get(name) or "").strip() for name in COLUMNS}
            name, split = values["file"].rstrip("/"), values["split"].lower() or None
            if not name or name in by_file:
                raise SettingsError(
                    subject, "names every file once", f"line {line}: {'no file' if not name else 'again'}"
                )
            if split is not None and split not in SIDES:
                raise SettingsError(subject, f"split is {' or '.join(SIDES)}", f"line {line}: {split!r}")
            by_file[name] = Assignment(values["patient"] or None, split)
        return cls(by_file)

    def of(self, names: Sequence[str]) -> Assignment:
        """What is said of a study, under the first of its names that the CSV knows."""
        return next((self.by_file[name] for name in names if name in self.by_file), Assignment())

    def refuse_unknown(self, names: Sequence[Sequence[str]]) -> None:
        """Refuse rows that name no study: a misspelt one would silently keep its default.

        Raises:
            SettingsError: there are.
        """
        known = {name for of_study in names for name in of_study}
        if unknown := sorted(set(self.by_file) - known):
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise SettingsError("--split", "every file must be a study of --studies", f"{unknown[0]}{more}")


def split_of_patients(sides: Sequence[tuple[str, str, str | None]]) -> dict[str, str]:
    """The side of every patient.

    Args:
        sides: key, patient and side of every study.

    Raises:
        SettingsError: a patient on both sides, which would make the validation worthless.
    """
    found: dict[str, str] = {}
    for key, patient, side in sides:
        if side is not None and found.setdefault(patient, side) != side:
            raise SettingsError(
                "--split", "a patient is on one side", f"that of {key} in {' and '.join(SIDES)}", "Correct the CSV."
            )
    return found
