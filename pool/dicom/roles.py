"""What a series is: stress or rest, AIF, motion-corrected, proton density, localiser; by codes, names, pixel size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pool.dicom.asl.evidence import is_asl
from pool.dicom.asl.marks import ARTERIAL_SPIN_LABELLING
from pool.dicom.frames import FrameRecord
from pool.dicom.groups import Group
from pool.dicom.words import words_in
from pool.run_choice import RUN_ROLES, Role, RunChoice

STATE_OF_CODE = {
    ("128975004", "SCT"): Role.REST,
    ("F-01604", "SRT"): Role.REST,
    ("109091", "DCM"): Role.STRESS,
}
"""Role by code of PatientPhysiologicalStateCodeSequence."""
COARSER = 1.6
"""A dynamic series whose pixels are so many times larger than those of one taken together with it measures the AIF."""
_WORDS = {
    Role.AIF: re.compile(r"aif"),
    Role.PROTON_DENSITY: re.compile(r"pd|pdw|protondensity"),
    Role.LOCALISER: re.compile(r"loc|locs|locali[sz]er\w*|scouts?|survey|3plane|planscan"),
}
_STRESS = re.compile(r"(stress|adeno|regad|dipyr|vasodil|hyper[a]?em|belast)\w*")
_REST = re.compile(r"(rest|resting|ruhe)\d*")
_MOTION_CORRECTED = re.compile(r"moco\w*|motioncorrected")


@dataclass(frozen=True)
class SortedSeries:
    """A series of an upload, and what it was taken for."""

    number: str
    """Series number, as the operator knows it."""
    uid: str
    """Series Instance UID."""
    role: Role
    """What it is."""
    motion_corrected: bool
    """True where the images were registered by the scanner."""
    reason: str
    """Why, in words; quotes no name of the series, as operators write patients' names there."""
    n_slices: int
    """Places that it shows."""
    n_frames: int
    """Most frames of one place."""

    @classmethod
    def of(cls, group: Group) -> SortedSeries:
        """From a group that has its role."""
        first = group.first
        places = len(group.places)
        return cls(
            first.series_number,
            first.series_uid,
            group.role,
            group.motion_corrected,
            group.reason,
            places,
            group.n_frames,
        )


def assign_roles(groups: Sequence[Group], dynamic: Sequence[Group], choice: RunChoice) -> None:
    """Give every group its role and the reason for it; what the choice says goes before everything.

    Args:
        groups: all groups of an upload.
        dynamic: those of them with the times of a first pass.
        choice: the user's word.
    """
    n_of_series: dict[str, int] = {}
    for group in groups:
        n_of_series[group.first.series_uid] = n_of_series.get(group.first.series_uid, 0) + 1
    for group in groups:
        group.motion_corrected = is_motion_corrected(group.first)
        said = choice.roles.get(group.first.series_number)
        if said is not None:
            group.role, group.reason = said, "as the user said"
        elif is_asl(group, groups):
            group.role, group.reason = Role.OTHER, ARTERIAL_SPIN_LABELLING
        elif any(group is other for other in dynamic):
            group.role, group.reason = _role_of_dynamic(group, dynamic)
        else:
            group.role, group.reason = _role_of_static(group, dynamic, n_of_series[group.first.series_uid])


def without_twins(groups: Sequence[Group], original: bool) -> list[Group]:
    """Groups of which none is the motion-corrected or original twin of another: the same slices in the same run.

    The twin that is left takes over a role that the other one alone knew; the other one's reason says so.
    """
    dropped: list[Group] = []
    for corrected in (group for group in groups if group.motion_corrected):
        for other in (group for group in groups if not group.motion_corrected):
            roles = {corrected.role, other.role} - {Role.PERFUSION}
            timed = corrected.clock_s is not None and other.clock_s is not None
            alike = len(roles) < 2 and (timed or corrected.role is other.role) and corrected.same_run(other)
            if alike and corrected.shares_place(other):
                kept, gone = (other, corrected) if original else (corrected, other)
                if kept.role is Role.PERFUSION and gone.role is not Role.PERFUSION:
                    kept.role, kept.reason = gone.role, f"twin of series {gone.first.series_number}, {gone.reason}"
                kind = "the motion-corrected twin" if gone.motion_corrected else "the original"
                gone.reason = f"{gone.reason}; {kind} of series {kept.first.series_number}, which was taken"
                dropped.append(gone)
    return [group for group in groups if not any(group is gone for gone in dropped)]


def state_of(record: FrameRecord) -> tuple[Role, str]:
    """Stress, rest or neither, and why: the code if there is one, otherwise a guess from names that say one of them."""
    for item in record.state_codes:
        code = (str(item.get("CodeValue") or ""), str(item.get("CodingSchemeDesignator") or ""))
        if role := STATE_OF_CODE.get(code):
            return role, f"PatientPhysiologicalStateCodeSequence says {role}"
    words = _words_of(record)
    stress = any(_STRESS.fullmatch(word) for word in words)
    rest = any(_REST.fullmatch(word) for word in words)
    if stress != rest:
        role = Role.STRESS if stress else Role.REST
        return role, f"guessed from its names, which say {role}"
    return Role.PERFUSION, f"{'its names say both' if stress else 'neither a code nor its names say'} stress and rest"


def _role_of_dynamic(group: Group, dynamic: Sequence[Group]) -> tuple[Role, str]:
    if _named(group, Role.AIF):
        return Role.AIF, "its name says AIF"
    for other in dynamic:
        coarser = min(a / b for a, b in zip(group.first.spacing_mm, other.first.spacing_mm)) >= COARSER
        if coarser and group.same_run(other):
            return Role.AIF, f"of low resolution, taken together with series {other.first.series_number}"
    return state_of(group.first)


def _role_of_static(group: Group, dynamic: Sequence[Group], n_groups: int) -> tuple[Role, str]:
    if _named(group, Role.LOCALISER) or "LOCALIZER" in group.first.image_type:
        return Role.LOCALISER, "its name or image type says localiser"
    if _named(group, Role.PROTON_DENSITY):
        return Role.PROTON_DENSITY, "its name says proton density"
    if group.is_long:
        return Role.OTHER, "its frames span no first pass"
    for other in dynamic:
        if group.shares_place(other) and group.first.preparation != other.first.preparation:
            return Role.PROTON_DENSITY, "few frames on slices of the run, taken with another preparation"
    if n_groups > 1:
        return Role.LOCALISER, "few images in several orientations"
    return Role.OTHER, "too few frames for a first pass"


def _named(group: Group, role: Role) -> bool:
    return any(_WORDS[role].fullmatch(word) for word in _words_of(group.first))


def is_motion_corrected(record: FrameRecord) -> bool:
    """Whether the scanner registered the series' images, by its names or image type."""
    words = [*_words_of(record), *(re.sub(r"[^a-z]", "", part.lower()) for part in record.image_type)]
    return any(_MOTION_CORRECTED.fullmatch(word) for word in (*words, *map("".join, pairwise(words))))


def _words_of(record: FrameRecord) -> list[str]:
    """Words of the series' and protocol's names."""
    words = words_in(record.names)
    return [*words, *(a + b for a, b in pairwise(words) if (a, b) == ("proton", "density"))]


def is_run(group: Group) -> bool:
    """Whether the group is analysed, if it is chosen."""
    return group.role in RUN_ROLES
