"""The folder of a result: it appears whole or not at all, and never replaces anything but an earlier result."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pool.errors import OutputError

RESULT_NAMES = (
    *("result.json", "maps.npz", "members.npz", "overlay.png", "members.png", "flow.png"),
    *("segmentation.dcm", "umap.dcm", "mbf.dcm", "report.dcm", "contours.dcm", "segmentation.nii.gz", "umap.nii.gz"),
)
"""Every file that a result may hold; where slices are not equally spaced, NIfTI files are written slice by slice."""
_SLICE_NAME = re.compile(r"(segmentation|umap)-[a-z0-9-]{1,40}\.nii\.gz")


def is_result_name(name: str) -> bool:
    """Whether a result may hold a file of this name."""
    return name in RESULT_NAMES or _SLICE_NAME.fullmatch(name) is not None


@contextmanager
def whole_folder(out_dir: Path) -> Iterator[Path]:
    """A folder to fill that becomes `out_dir` at the end of the block, or vanishes if the block fails.

    Args:
        out_dir: new, empty, or holding an earlier result, which is then replaced.

    Raises:
        OutputError: `out_dir` is a file, holds other files, or cannot be written.
    """
    out_dir = out_dir.resolve()
    _check_replaceable(out_dir)
    staging = _staging_for(out_dir)
    try:
        yield staging
        _put_in_place(staging, out_dir)
    except OSError as error:
        raise OutputError(f"folder {out_dir.name}", "must be writable", error.strerror or "") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_writable(out_dir: Path) -> None:
    """Refuse early, before minutes of work, what would be refused late.

    Raises:
        OutputError: see `whole_folder`.
    """
    out_dir = out_dir.resolve()
    _check_replaceable(out_dir)
    shutil.rmtree(_staging_for(out_dir), ignore_errors=True)


def _check_replaceable(out_dir: Path) -> None:
    try:
        names = sorted(path.name for path in out_dir.iterdir()) if out_dir.exists() else []
    except NotADirectoryError:
        raise OutputError(f"{out_dir.name}", "must be a folder", "a file", "Give another --out.") from None
    except OSError as error:
        raise OutputError(f"folder {out_dir.name}", "must be readable", error.strerror or "") from error
    if foreign := [name for name in names if not is_result_name(name)]:
        raise OutputError(
            f"folder {out_dir.name}", "must be new, empty or an earlier result", foreign[0], "Give another --out."
        )


def _staging_for(out_dir: Path) -> Path:
    """A folder to fill: beside `out_dir`, or inside it where only that can be written (a mounted volume)."""
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        try:
            staging = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", suffix=".partial", dir=out_dir.parent))
        except PermissionError:
            staging = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=out_dir))
        staging.chmod(0o755)
    except OSError as error:
        raise OutputError(f"folder {out_dir.name}", "must be writable", error.strerror or "") from error
    return staging


def _put_in_place(staging: Path, out_dir: Path) -> None:
    """Rename the finished folder into place; an earlier result is moved aside first and removed last.

    A folder that cannot be renamed (a mounted volume) gets the files one by one, `result.json` last: without it there
    is no result.
    """
    if staging.parent == out_dir or out_dir.is_mount():
        (out_dir / "result.json").unlink(missing_ok=True)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == "result.json"):
            shutil.move(path, out_dir / path.name)
        return
    if not out_dir.exists():
        staging.rename(out_dir)
        return
    aside = staging.with_suffix(".old")
    out_dir.rename(aside)
    try:
        staging.rename(out_dir)
    except OSError:
        aside.rename(out_dir)
        raise
    shutil.rmtree(aside, ignore_errors=True)
