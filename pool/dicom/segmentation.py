"""Write what was outlined as a DICOM Segmentation on the native grid of its source images (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from pool.dicom.derived import RESEARCH_ONLY, Origin, check_maps, common_arguments, derived_uid, finish, save, writing
from pool.dicom.sources import SourceImages
from pool.errors import OutputError
from pool.shapes import Bool

NativeMasks = Bool[np.ndarray, "slice row col"]
"""True where a pixel of the native grid belongs to the structure."""

SERIES_NUMBER = 9301
"""Far above what scanners count to, so that it sorts behind the images."""
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical structure")
BODY_SUBSTANCE = Code("91720002", "SCT", "Body substance")
LV_MYOCARDIUM = Code("49848007", "SCT", "Myocardium of left ventricle")
LEFT_VENTRICLE = Code("87878005", "SCT", "Left ventricle")
RIGHT_VENTRICLE = Code("53085002", "SCT", "Right ventricle")
BLOOD = Code("87612001", "SCT", "Blood")
SEGMENTATION = Code("113076", "DCM", "Segmentation")
MYOCARDIUM_SEGMENT, LV_BLOOD_SEGMENT, RV_BLOOD_SEGMENT = 1, 2, 3
"""Numbers of the segments, the same in every object."""
_KINDS = {
    MYOCARDIUM_SEGMENT: ("LV myocardium", ANATOMICAL_STRUCTURE, LV_MYOCARDIUM, None, (230, 159, 0)),
    LV_BLOOD_SEGMENT: ("LV blood pool", BODY_SUBSTANCE, BLOOD, [LEFT_VENTRICLE], (86, 180, 233)),
    RV_BLOOD_SEGMENT: ("RV blood pool", BODY_SUBSTANCE, BLOOD, [RIGHT_VENTRICLE], (0, 114, 178)),
}


@dataclass(frozen=True)
class WrittenSegmentation:
    """What other objects need to refer to a segmentation."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    frame_of: Mapping[tuple[int, int], int]
    """Number of the frame, from 1, by slice (from 0) and segment; absent where the slice lacks the structure."""


def write_segmentation(
    path: Path,
    study: SourceImages,
    myocardium: NativeMasks,
    *,
    lv_blood: NativeMasks | None = None,
    rv_blood: NativeMasks | None = None,
    labelmap: bool = False,
    origin: Origin,
) -> WrittenSegmentation:
    """Write one segmentation: segment 1 the LV myocardium, 2 the LV's and 3 the RV's blood pool.

    BINARY, a frame for every slice and structure: what every viewer and server reads. A slice without an outline has no
    frame in the object, a structure without a pixel no segment. Same study, pool and settings give the same bytes:
    UIDs come from `origin.identity`, dates and times from the source study. "Research use only, not for diagnosis"
    stands in the description of content and series and in the algorithm's parameters.

    Args:
        path: file to write; its folder must exist.
        study: source of patient, study, geometry and references.
        myocardium: mask on the native grid, slices in the order of the study.
        lv_blood: the same for the LV's cavity.
        rv_blood: the same for the RV's cavity.
        labelmap: a frame for every slice with the segments' numbers as values (Label Map Segmentation Storage), which
            older servers refuse.
        origin: what made the masks.

    Raises:
        OutputError: a mask that is not on the native grid, or structures that overlap; no outline on any slice, as an
            object without a segment would read "searched, and there is no myocardium"; a file that cannot be written.
    """
    given = {MYOCARDIUM_SEGMENT: myocardium, LV_BLOOD_SEGMENT: lv_blood, RV_BLOOD_SEGMENT: rv_blood}
    masks = {number: np.asarray(mask) for number, mask in given.items() if mask is not None}
    for mask in masks.values():
        check_maps("segmentation", mask, study)
    if not np.any(myocardium):
        raise OutputError(
            "segmentation", "needs an outline on at least one slice", "none", "See the reasons given slice by slice."
        )
    if (np.sum([mask.astype(np.uint8) for mask in masks.values()], axis=0) > 1).any():
        raise OutputError("segmentation", "structures may not overlap", "a pixel of two structures")
    masks = {number: mask for number, mask in masks.items() if mask.any()}
    labels = np.zeros(np.shape(myocardium), dtype=np.uint8)
    for number, mask in masks.items():
        labels[mask] = number
    with writing("segmentation"):
        kind = hd.seg.SegmentationTypeValues.LABELMAP if labelmap else hd.seg.SegmentationTypeValues.BINARY
        made = hd.seg.Segmentation(
            pixel_array=labels if labelmap else np.stack([labels == number for number in masks], axis=-1),
            segmentation_type=kind,
            segment_descriptions=[_segment(study, origin, number) for number in masks],
            omit_empty_frames=True,
            content_label="LV_MYOCARDIUM",
            **common_arguments(study, origin, "segmentation", SERIES_NUMBER, "LV outline"),
        )
        slices = finish(made, study, origin, "segmentation", SEGMENTATION)
        save(made, path)
    frame_of: dict[tuple[int, int], int] = {}
    for frame, (s, item) in enumerate(zip(slices, made.PerFrameFunctionalGroupsSequence, strict=True), start=1):
        if labelmap:
            frame_of |= {(s, number): frame for number, mask in masks.items() if mask[s].any()}
        else:
            holder = item if "SegmentIdentificationSequence" in item else made.SharedFunctionalGroupsSequence[0]
            frame_of[s, int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)] = frame
    return WrittenSegmentation(str(made.SOPClassUID), str(made.SOPInstanceUID), str(made.SeriesInstanceUID), frame_of)


def _segment(study: SourceImages, origin: Origin, number: int) -> hd.seg.SegmentDescription:
    label, category, kind, regions, colour = _KINDS[number]
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
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=derived_uid(study, origin, f"segmentation/{label}"),
        tracking_id=label,
        anatomic_regions=regions,
        display_color=hd.color.CIELabColor.from_rgb(*colour),
    )
