"""De-identify images that leave the PACS (PS3.15 annex E), and bring results back to their patient.

Basic Application Level Confidentiality Profile, with two options of the standard: dates are moved by a secret number of
days, the same for all of a patient's studies (Retain Longitudinal Temporal Information with Modified Dates), because a
first pass without times is none; and Philips' scale slope, which the standard lists as safe, is kept (Retain Safe
Private). The table of attributes is that of the standard, as the dicom-anonymizer package ships it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian

from pool.dicom.derived import coded
from pool.dicom.opening import read_header, reading
from pool.dicom.report import STATES
from pool.dicom.sources import IDENTITY_TAGS, identity_of
from pool.run_choice import Role
from serve.durable import replace_file

_UIDS, _EMPTIED = ({tag for tag in tags if len(tag) == 2} for tags in (table.U_TAGS, [*table.Z_TAGS, *table.Z_D_TAGS]))
_REMOVED = {
    tag
    for tags in (table.X_TAGS, table.X_Z_TAGS, table.X_D_TAGS, table.X_Z_D_TAGS, table.X_Z_U_STAR_TAGS, table.D_TAGS)
    for tag in tags
    if len(tag) == 2
}
_TIMES = ("DA", "TM", "DT")
_SAFE_PRIVATE = {"Philips MR Imaging DD 001": {0x0E}, "Philips Imaging DD 001": {0x0E}}
_METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113111", "Retain Safe Private Option"),
)
MOST_DAYS = 3650
"""Dates are moved back by up to so many days."""


class Pseudonyms:
    """Pseudonyms that only this gateway can make; the same for the same patient, whenever asked.

    Args:
        folder: holds the secret, which is made at first.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "pseudonyms.key"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, secrets.token_bytes(32), sync=True)
            path.chmod(0o600)
        self._key = path.read_bytes()

    def uid(self, uid: str) -> str:
        """Of a UID."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def patient(self, patient_id: str) -> str:
        """Of a patient."""
        return f"P{self._digest('patient', patient_id).hex()[:12].upper()}"

    def days(self, patient_id: str) -> int:
        """By how many days a patient's dates are moved back, 1 to `MOST_DAYS`."""
        return 1 + int.from_bytes(self._digest("days", patient_id)[:8], "big") % MOST_DAYS

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.new(self._key, f"{kind}/{text}".encode(), hashlib.sha256).digest()


def deidentify_file(source: Path, target: Path, pseudonyms: Pseudonyms, role: Role) -> dict[str, str]:
    """Write a de-identified copy of one image.

    Args:
        source: as the PACS has it.
        target: to write.
        pseudonyms: makes UIDs, names and the shift of dates.
        role: stress or rest is written as a code, because the names that said so are removed.

    Returns:
        Original UIDs by the new ones, for the way back.

    Raises:
        UnreadableFileError: a file that cannot be read.
    """
    with reading("instance"):
        dataset = dcmread(source)
        patient_id = str(dataset.get("PatientID") or "")
        back: dict[str, str] = {}
        _clean(dataset, pseudonyms, pseudonyms.days(patient_id), back)
        dataset.PatientID = pseudonyms.patient(patient_id)
        dataset.PatientName = dataset.PatientID
        dataset.PatientIdentityRemoved = "YES"
        dataset.LongitudinalTemporalInformationModified = "MODIFIED"
        dataset.DeidentificationMethod = "PS3.15 basic profile, dates moved"
        dataset.DeidentificationMethodCodeSequence = []
        for value, meaning in _METHODS:
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
            dataset.DeidentificationMethodCodeSequence.append(item)
        if role in STATES:
            dataset.PatientPhysiologicalStateCodeSequence = [coded(STATES[role])]
        syntax = dataset.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)
        dataset.file_meta.clear()  # titles of applications, private information
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.preamble = bytes(128)
        dataset.save_as(target, enforce_file_format=True)
    return back


def reidentify_file(result: Path, source: Path, back: Mapping[str, str]) -> None:
    """Give a result its patient and study back, and its references the UIDs that the PACS knows.

    Args:
        result: an object made from de-identified images; replaced.
        source: one of the original images.
        back: original UIDs by the new ones.
    """
    identity = identity_of(read_header(source))
    dataset = dcmread(result)
    _restore(dataset, back)
    for keyword in IDENTITY_TAGS:
        if keyword in identity:
            setattr(dataset, keyword, identity[keyword])
        elif keyword in dataset and keyword in ("PatientIdentityRemoved", "DeidentificationMethod"):
            del dataset[keyword]
    moment = re.sub(r"\D", "", identity.get("StudyDate", "")), identity.get("StudyTime", "")
    for keyword in ("StudyDate", "SeriesDate", "ContentDate", "InstanceCreationDate", "DateOfSecondaryCapture"):
        if moment[0] and keyword in dataset:
            setattr(dataset, keyword, moment[0])
    for equipment in dataset.get("ContributingEquipmentSequence") or []:
        if moment[0]:
            equipment.ContributionDateTime = moment[0] + moment[1]
    dataset.SpecificCharacterSet = "ISO_IR 192"
    partial = result.with_name(f".{result.name}.part")
    dataset.save_as(partial, enforce_file_format=True)
    partial.replace(result)


def _clean(dataset: Dataset, pseudonyms: Pseudonyms, days: int, back: dict[str, str]) -> None:
    for tag in list(dataset.keys()):
        if tag.is_private:
            if not _is_safe(dataset, tag):
                del dataset[tag]
            continue
        element = dataset[tag]
        key = (tag.group, tag.element)
        if tag.group >> 8 in (0x50, 0x60):  # curves and overlays may hold burnt-in names
            del dataset[tag]
        elif element.VR == "UI" and key in _UIDS:
            values = element.value if element.VM > 1 else [element.value]
            new = [pseudonyms.uid(str(value)) for value in values if value]
            back |= dict(zip(new, map(str, filter(None, values)), strict=True))
            element.value = new if len(new) != 1 else new[0]
        elif element.VR in _TIMES and key not in ((0x0010, 0x0030), (0x0010, 0x0032)):
            element.value = _moved(element.value, element.VR, days)
        elif key in _EMPTIED:
            element.value = [] if element.VR == "SQ" else None
        elif key in _REMOVED:
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                _clean(item, pseudonyms, days, back)
        elif element.VR == "PN":
            element.value = None


def _is_safe(dataset: Dataset, tag: BaseTag) -> bool:
    """Whether a private element, or the creator of a block, is Philips' scale slope's."""
    if tag.element > 0xFF:
        holder = dataset.get((tag.group, tag.element >> 8))
        creator = str(holder.value) if holder is not None else ""
        return tag.element & 0xFF in _SAFE_PRIVATE.get(creator, set())
    return str(dataset[tag].value) in _SAFE_PRIVATE


def _moved(value: object, vr: str, days: int) -> object:
    """A date moved back; times of day stay, what is no date is emptied."""
    if vr == "TM" or not value:
        return value
    text = str(value)
    try:
        moved = datetime.strptime(text[:8], "%Y%m%d") - timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved:%Y%m%d}" + (text[8:] if vr == "DT" else "")


def _restore(dataset: Dataset, back: Mapping[str, str]) -> None:
    for element in dataset:
        if element.VR == "UI" and element.value:
            values = element.value if element.VM > 1 else [element.value]
            known = [back.get(str(value), str(value)) for value in values]
            element.value = known if len(known) != 1 else known[0]
        elif element.VR == "SQ":
            for item in element.value:
                _restore(item, back)
