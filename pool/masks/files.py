"""Read drawn masks from array files: NIfTI (ITK-SNAP), `.mat` (`final_mask`), `.npz` (`labels` or `final_mask`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pool.errors import MaskError, PoolError
from pool.limits import refuse_large
from pool.masks.values import DRAWN_VALUES, PUBLISHED_VALUES, MaskValues
from pool.masks.volume import MaskVolume
from pool.matfile import read_mat_array
from pool.npzfile import read_npz_arrays

MASK_KEYS = ("labels", "final_mask")
"""Arrays of an `.npz` that are masks: `slice row col` (or `row col`), and the published `row col`."""
MAT_MASK = "final_mask"
"""Array of a `.mat` that is a mask, `row col`."""


def read_mask_file(path: Path, values: MaskValues | None = None) -> MaskVolume:
    """Read one array file.

    Args:
        path: `.nii`, `.nii.gz`, `.mat` or `.npz`.
        values: classes by stored value; default 1 myocardium and 2 blood pool, in `final_mask` 1 and 3 as published.

    Raises:
        MaskError: not a mask, values that nobody declared, or a file that is damaged.
        PoolError: a file that announces more than `pool.limits` allows.
    """
    subject, name = f"mask {path.name}", path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            stored, affine = _nifti(path, subject)
            return MaskVolume(subject, (values or DRAWN_VALUES).to_classes(stored, subject), affine)
        if name.endswith(".mat"):
            found = {MAT_MASK: read_mat_array(path, MAT_MASK, n_axes=2, logical=True)}
        else:
            found = dict(read_npz_arrays(path, MASK_KEYS))
    except PoolError:
        raise
    except Exception as error:
        found_error = f"{type(error).__name__} while reading it"
        raise MaskError(subject, "must be a whole, readable file", found_error, "Save it again.") from error
    key, array = next(((key, array) for key, array in found.items() if array is not None), ("", None))
    if array is None or array.dtype.kind not in "buif" or array.ndim not in (2, 3) or not array.size:
        raise MaskError(
            subject,
            f"needs {MAT_MASK} (row col)" if name.endswith(".mat") else "needs labels (slice row col)",
            "none" if array is None else f"{array.dtype} {array.shape}",
            "Save the labels under this name.",
        )
    default = PUBLISHED_VALUES if key == MAT_MASK else DRAWN_VALUES
    classes = (values or default).to_classes(array, subject)
    return MaskVolume(subject, classes[None] if classes.ndim == 2 else classes, None)


def _nifti(path: Path, subject: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Values `slice row col` and the affine from (col, row, slice) to LPS, None where the header knows no place."""
    import nibabel

    image: Any = nibabel.load(path)  # nibabel types the base class only
    shape = tuple(int(n) for n in image.shape)
    refuse_large(path.name, shape, image.header.get_data_dtype().itemsize)
    if len(shape) not in (2, 3) and shape[3:] != (1,) * (len(shape) - 3):
        raise MaskError(subject, "must be 3D: x y slice", f"shape {shape}", "Save the mask of one frame alone.")
    if not np.prod(shape):
        raise MaskError(subject, "must hold voxels", f"shape {shape}")
    values = np.asarray(image.dataobj).reshape((*shape, 1)[:3]).transpose(2, 1, 0)
    header, affine = image.header, np.asarray(image.affine, dtype=float)
    placed = int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0
    # programs that know no place write voxel sizes about the origin, with a code that claims a place
    if not placed or np.array_equal(affine, np.diag(np.diag(affine))):
        return values, None
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise MaskError(subject, "the qform or sform must be a place in space", "one that is not finite or is flat")
    return values, np.diag([-1.0, -1.0, 1.0]) @ affine[:3]  # NIfTI's world is RAS
