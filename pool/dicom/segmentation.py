"""Write the outlined myocardium as a DICOM Segmentation on the native grid of its source images (PS3.3 A.51)."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from pool.dicom.derived import RESEARCH_ONLY, Origin, check_maps, common_arguments, derived_uid, finish, save, writing
from pool.dicom.read import DicomStudy
from pool.errors import OutputError
from pool.shapes import Bool

NativeMasks = Bool[np.ndarray, "slice row col"]
"""True where a pixel of the native grid belongs to the structure."""

SERIES_NUMBER = 9301
"""Far above what scanners count to, so that it sorts behind the images."""
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical structure")
BODY_SUBSTANCE = Code("91720002", "SCT", "Body substance")
LV_MYOCARDIUM = Code("49848007", "SCT", "Myocardium of left ventricle")
BLOOD = Code("87612001", "SCT", "Blood")
HEART = Code("80891009", "SCT", "Heart")
SEGMENTATION = Code("113076", "DCM", "Segmentation")


def write_segmentation(
    path: Path,
    study: DicomStudy,
    myocardium: NativeMasks,
    *,
    blood_pool: NativeMasks | None = None,
    origin: Origin,
) -> None:
    """Write one BINARY segmentation: segment 1 the myocardium, segment 2 the blood pool of both ventricles if given.

    A slice without an outline has no frame in the object. Same study, pool and settings give the same bytes: UIDs come
    from `origin.identity`, dates and times from the source study. "Research use only, not for diagnosis" stands in the
    description of content and series and in the algorithm's parameters.

    Args:
        path: file to write; its folder must exist.
        study: source of patient, study, geometry and references.
        myocardium: mask on the native grid, slices in the order of `study.series`.
        blood_pool: the same for the cavities.
        origin: what made the masks.

    Raises:
        OutputError: a mask that is not on the native grid; no outline on any slice, as an object without a segment
            would read "searched, and there is no myocardium"; a file that cannot be written.
    """
    masks = [myocardium] if blood_pool is None else [myocardium, blood_pool]
    for mask in masks:
        check_maps("segmentation", mask, study)
    if not np.any(myocardium):
        raise OutputError(
            "segmentation", "needs an outline on at least one slice", "none", "See the reasons given slice by slice."
        )
    with writing("segmentation"):
        made = hd.seg.Segmentation(
            pixel_array=np.stack([np.asarray(mask, dtype=np.uint8) for mask in masks], axis=-1),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_segments(study, origin, len(masks)),
            omit_empty_frames=True,
            content_label="LV_MYOCARDIUM",
            **common_arguments(study, origin, "segmentation", SERIES_NUMBER, "LV outline"),
        )
        finish(made, study, origin, "segmentation", SEGMENTATION)
        save(made, path)


def _segments(study: DicomStudy, origin: Origin, n_segments: int) -> list[hd.seg.SegmentDescription]:
    algorithm = hd.AlgorithmIdentificationSequence(
        name="DAUGS pool",
        family=codes.cid7162.ArtificialIntelligence,
        version=origin.version,
        parameters={
            "pool_sha256": origin.pool_sha256,
            "use": RESEARCH_ONLY,
            **({"incomplete": origin.few_answers} if origin.few_answers else {}),
        },
    )
    kinds = [
        ("LV myocardium", ANATOMICAL_STRUCTURE, LV_MYOCARDIUM, None),
        ("Blood pool (LV and RV)", BODY_SUBSTANCE, BLOOD, [HEART]),
    ]
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=derived_uid(study, origin, f"segmentation/{label}"),
            tracking_id=label,
            anatomic_regions=regions,
        )
        for number, (label, category, kind, regions) in enumerate(kinds[:n_segments], start=1)
    ]
