"""Instances that came, on disk, by study: whatever brought them, each once and whole.

    <state>/studies/<job>/study.json        StudyEntry, replaced atomically
    <state>/studies/<job>/images/<key>.dcm  one instance each
    <state>/studies/<job>/runs/<run>/       see serve.pacs.runs
    <state>/incoming/                       what is not whole yet; emptied at a start

Job and key are hashes of UIDs: no name in the folder, and no log line, identifies anybody.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pool.dicom.opening import is_dicom, read_header, reading
from pool.errors import OutputError, UnreadableFileError
from serve.durable import replace_file, sync_to_disk

LEAST_FREE_BYTES = 512 * 10**6
"""Nothing is taken when the disk has less room than this left: what was accepted must also be analysed."""


@dataclass(frozen=True)
class StudyEntry:
    """What is known of a study."""

    study_uid: str
    """As the PACS knows it."""
    changed_at: float = 0.0
    """When the last new instance came [s since 1970]."""
    examined_at: float = -1.0
    """`changed_at` of the images in which runs were last looked for."""
    listing: Mapping[str, int] = field(default_factory=dict)
    """Instances by series, as the PACS listed them when they were last fetched."""
    fetching: bool = False
    """True from before a fetch until all of it has come: half a study must not pass for a whole one."""
    reason: str = ""
    """Why no run was found, in words."""


def job_of(study_uid: str) -> str:
    """Name of a study's folder."""
    return hashlib.sha256(study_uid.encode()).hexdigest()[:32]


class Inbox:
    """Studies in a folder; one process, any number of threads.

    Args:
        state_dir: made when missing.

    Raises:
        OutputError: it cannot be made or written.
    """

    def __init__(self, state_dir: Path) -> None:
        self._studies, self._incoming = state_dir / "studies", state_dir / "incoming"
        self._lock = threading.RLock()
        try:
            shutil.rmtree(self._incoming, ignore_errors=True)
            for folder in (self._studies, self._incoming):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError("pacs state", "must be a writable folder", error.strerror or "") from error

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder on the same disk to receive files in; gone after the block.

        Raises:
            OutputError: the disk is nearly full.
        """
        if shutil.disk_usage(self._incoming).free < LEAST_FREE_BYTES:
            raise OutputError("pacs state", "needs room on its disk", "a disk that is nearly full", "Make room.")
        folder = Path(tempfile.mkdtemp(dir=self._incoming))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, path: Path, wanted_study: str | None = None) -> tuple[str, str]:
        """Take a file from `staging` over, synced to disk when the call returns; one that is there already is dropped.

        Args:
            path: the file, which is moved.
            wanted_study: study that it must be of.

        Returns:
            Its SOP class and instance UID.

        Raises:
            UnreadableFileError: no DICOM file with its UIDs, or one of another study.
        """
        if not is_dicom(path):
            raise UnreadableFileError("instance", "must be a DICOM file", "another one")
        header = read_header(path)
        with reading("instance"):
            study, instance = str(header.get("StudyInstanceUID") or ""), str(header.get("SOPInstanceUID") or "")
            kind = str(header.get("SOPClassUID") or "")
        if not study or not instance or wanted_study not in (None, study):
            raise UnreadableFileError("instance", "must have the UIDs of its study", "none or other ones")
        with path.open("rb") as file:
            os.fsync(file.fileno())
        with self._lock:
            job = job_of(study)
            images = self._studies / job / "images"
            images.mkdir(parents=True, exist_ok=True)
            target = images / f"{job_of(instance)}.dcm"
            if not target.exists():
                path.rename(target)
                sync_to_disk(images)
                self.update(job, replace(self._entry(job, study), changed_at=time.time()))
        return kind, instance

    def jobs(self) -> list[str]:
        """All studies."""
        return sorted(path.name for path in self._studies.iterdir() if (path / "study.json").is_file())

    def entry(self, job: str) -> StudyEntry:
        """What is known of a study."""
        return StudyEntry(**json.loads((self._studies / job / "study.json").read_text()))

    def find(self, study_uid: str) -> StudyEntry | None:
        """What is known of a study, if anything."""
        job = job_of(study_uid)
        return self.entry(job) if (self._studies / job / "study.json").is_file() else None

    def update(self, job: str, entry: StudyEntry) -> None:
        """Replace what is known of a study, synced."""
        (self._studies / job).mkdir(parents=True, exist_ok=True)
        replace_file(self._studies / job / "study.json", json.dumps(asdict(entry)).encode(), sync=True)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keeps other threads from adding while an entry is read and replaced."""
        with self._lock:
            yield

    def images(self, job: str) -> Path:
        """Folder of a study's instances; it may be missing."""
        return self._studies / job / "images"

    def runs(self, job: str) -> Path:
        """Folder of a study's runs."""
        return self._studies / job / "runs"

    def forget_images(self, job: str) -> None:
        """Remove a study's images; what is known of it stays, so that it is not analysed again."""
        shutil.rmtree(self.images(job), ignore_errors=True)

    def _entry(self, job: str, study_uid: str) -> StudyEntry:
        return self.entry(job) if (self._studies / job / "study.json").is_file() else StudyEntry(study_uid)
