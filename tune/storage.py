"""The storage folder of a training, wherever it lies: through the file systems of pyarrow, as Ray Tune itself."""

from __future__ import annotations

import os
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from pool.errors import OutputError, SettingsError
from tune.assemble import refuse_used_folder

EXPERIMENT_FOLDER = "seeds"
"""Where Ray Tune keeps the trials, inside the storage folder."""
RECORD_NAME = "training.json"
"""What the trials were started with, inside the storage folder."""
MOST_CHARACTERS = 300
"""Of what a file system says about a failure."""
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray's: set in the driver of a submitted job, which runs in a copy of the working directory."""


@dataclass(frozen=True)
class Storage:
    """A folder that the driver and every trial write to; the same one on every node of a cluster."""

    filesystem: FileSystem
    """Of pyarrow: local, S3, GCS, any other that Ray Tune takes as `storage_filesystem`."""
    path: str
    """Of the folder, inside that file system; absolute for a local one."""

    @classmethod
    def at(cls, place: str | Path | Storage) -> Storage:
        """The storage at a path or a URI (`s3://bucket/folder`, `gs://...`, `file:///...`).

        Raises:
            SettingsError: a URI of a scheme that is not known.
        """
        if isinstance(place, Storage):
            return place
        if "://" not in str(place):
            return cls(LocalFileSystem(), str(Path(place).resolve()))
        scheme = str(place).split("://", 1)[0]
        try:
            filesystem, path = FileSystem.from_uri(str(place))
        except (ValueError, NotImplementedError, OSError) as error:
            rule = "must be a path or a URI such as s3://bucket/folder, gs://bucket/folder or file:///folder"
            raise SettingsError("storage", rule, f"{scheme}://... ({_in_words(error)})") from error
        if not path.strip("/"):
            raise SettingsError("storage", "must name a folder, not a whole file system", f"{scheme}://")
        return cls(filesystem, path.rstrip("/"))

    @property
    def name(self) -> str:
        """Last part of the path: what errors call it, since URIs may hold keys."""
        return PurePosixPath(self.path).name

    @property
    def local(self) -> Path | None:
        """The folder on this machine; None for any other file system."""
        return Path(self.path) if isinstance(self.filesystem, LocalFileSystem) else None

    def folder(self, name: str) -> Storage:
        """One of its folders."""
        return Storage(self.filesystem, self.inside(name))

    def inside(self, name: str) -> str:
        """Path of a file or folder in the storage, inside its file system."""
        return f"{self.path}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the storage has that file or folder."""
        return bool(self.filesystem.get_file_info(self.inside(name)).type != FileType.NotFound)

    def names(self) -> list[str]:
        """Names in the folder, sorted; none where it does not exist."""
        found = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def read_bytes(self, name: str) -> bytes:
        """Content of a small file."""
        with self.filesystem.open_input_stream(self.inside(name)) as file:
            return bytes(file.read())

    def read_text(self, name: str) -> str:
        """Content of a small text file."""
        return self.read_bytes(name).decode()

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a small file, whole or not at all; the folder is made.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self.filesystem.create_dir(self.path, recursive=True)
            with self.filesystem.open_output_stream(self.inside(f"{name}.part")) as file:
                file.write(data)
            self.filesystem.move(self.inside(f"{name}.part"), self.inside(name))
        except OSError as error:
            raise unwritable(f"storage folder {self.name}", error) from error

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file, as `write_bytes`."""
        self.write_bytes(name, text.encode())

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.filesystem.delete_file(self.inside(name))


def refuse_unusable_places(out_dir: Path, storage_path: str | Path | Storage | None, resume: bool) -> None:
    """Refuse folders that a training could not use; asked before anything is simulated or trained.

    Args:
        out_dir: the pool folder, which must be new or empty; on a resume it may hold weights without a manifest.
        storage_path: the storage folder or its URI, if one was named.
        resume: whether the storage must hold a training, or must not.

    Raises:
        OutputError: a folder that is in use, is a file or cannot be written.
        SettingsError: nothing to resume, or a URI of an unknown scheme.
    """
    refuse_unwritable(f"pool folder {out_dir.name}", out_dir)
    refuse_used_folder(out_dir, may_be_cut_short=resume)
    if storage_path is None:
        if resume:
            remedy = "Name the one it was started with."
            raise SettingsError("training", "can be resumed only from a storage folder", "none", remedy)
        return
    storage = Storage.at(storage_path)
    subject = f"storage folder {storage.name}"
    if isinstance(storage_path, str | Path) and "://" not in str(storage_path):
        _refuse_relative_in_job(subject, Path(storage_path))
    _refuse_unwritable_storage(subject, storage)
    if not resume and storage.exists(EXPERIMENT_FOLDER):
        raise OutputError(subject, "must not hold another training", "one", "Resume it, or name another folder.")
    if resume and not storage.exists(RECORD_NAME):
        remedy = "Name the folder it was started with, or start a new training."
        raise SettingsError(subject, "must hold the training to resume", f"no {RECORD_NAME}", remedy)


def refuse_unwritable(subject: str, folder: Path) -> None:
    """Refuse a folder of this machine that could not be written, or would not outlive a submitted job.

    Args:
        subject: the folder, in words.
        folder: need not exist.

    Raises:
        OutputError: it is a file, cannot be written, or is relative in a job.
    """
    _refuse_relative_in_job(subject, folder)
    _refuse_unwritable_folder(subject, folder)


def unwritable(subject: str, error: OSError) -> OutputError:
    """The refusal for a folder that could not be written."""
    return OutputError(subject, "must be writable", _in_words(error), "Name another folder.")


def _refuse_relative_in_job(subject: str, folder: Path) -> None:
    if JOB_VARIABLE in os.environ and not folder.is_absolute():
        remedy = "Ray deletes the job's working directory: name a folder on a volume that outlives it."
        raise OutputError(subject, "must be an absolute path in a submitted job", "a relative one", remedy)


def _refuse_unwritable_storage(subject: str, storage: Storage) -> None:
    if storage.local is not None:
        _refuse_unwritable_folder(subject, storage.local)
        return
    probe = f"probe-{uuid.uuid4().hex}"  # credentials and rights are told by an object alone
    storage.write_text(probe, "")
    storage.remove(probe)


def _refuse_unwritable_folder(subject: str, folder: Path) -> None:
    try:
        nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not nearest.is_dir():
            raise OutputError(subject, "must be a folder", "a file" if nearest == folder.absolute() else "a file above")
        with tempfile.TemporaryFile(dir=nearest):  # permission bits alone miss read-only and full disks
            pass
    except OSError as error:
        raise unwritable(subject, error) from error


def _in_words(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(said.split())[:MOST_CHARACTERS].rstrip(".")
