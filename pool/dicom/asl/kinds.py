"""Control, labelled or baseline: what every image of an ASL study is, by what it says or by the order of the pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pool.dicom.asl.marks import ARTERIAL_SPIN_LABELLING, is_marked, is_named, kind_said
from pool.dicom.asl.times import inversion_time_s, order_of
from pool.dicom.frames import FrameRecord
from pool.dicom.geometry import same_grid, same_place
from pool.dicom.stacks import holds_run, named_first_passes
from pool.errors import InconsistentStudyError
from pool.run_choice import ASL_ROLES, Role, RunChoice

SAY_IT = (
    "Say what a series is by --series NUMBER=control, NUMBER=labelled or NUMBER=baseline, or which image leads every "
    "pair by --pair-starts-with control or labelled."
)


@dataclass(frozen=True, eq=False)
class AslFrame:
    """One image of an ASL study."""

    record: FrameRecord
    """Its headers."""
    kind: Role | None
    """Control, labelled or baseline; None where nothing says."""
    how: str
    """What says so."""


def holds_asl(records: Sequence[FrameRecord], choice: RunChoice) -> bool:
    """Whether a study is ASL, no first pass; where it holds both, the first pass is meant unless the choice says ASL.

    Args:
        records: all frames.
        choice: a role of ASL in it, or which image leads a pair, means ASL; a stress or rest series means a first pass.
    """
    if choice.pair_starts_with or any(role in ASL_ROLES for role in choice.roles.values()):
        return True
    frames = asl_frames(records, choice)
    mine = {id(frame.record) for frame in frames} - {id(record) for record in named_first_passes(records)}
    return bool(frames) and not holds_run([record for record in records if id(record) not in mine], choice)


def asl_frames(records: Sequence[FrameRecord], choice: RunChoice) -> list[AslFrame]:
    """The frames of arterial spin labelling among all; empty where there is none.

    These are the frames that the choice calls so; those that are marked or named so, but for a first pass that a word
    alone calls so; without any, control and labelled images of one slice by word, or else that first pass; and what is
    called a baseline on the slice of one of them.
    """
    said: dict[int, tuple[Role | None, str]] = {}
    for record in records:
        role = choice.roles.get(record.series_number)
        if role is None:
            said[id(record)] = kind_said(record)
        elif role in ASL_ROLES:
            said[id(record)] = role, "the user's word"
    known = [record for record in records if id(record) in said]  # the user calls the others something else
    named = [r for r in known if is_named(r)]
    passes = {id(record) for record in named_first_passes(named)}
    of_names = {id(record) for record in named} - passes
    marked = [r for r in known if is_marked(r) or id(r) in of_names or said[id(r)][1] == "the user's word"]
    if not marked:
        control, labelled = ([r for r in known if said[id(r)][0] is kind] for kind in (Role.CONTROL, Role.LABELLED))
        if control and any(_same_slice(control[0], record) for record in labelled):
            marked = [*control, *labelled]
    marked = marked or named
    if not marked and choice.pair_starts_with:
        marked = known
    of_asl = {id(record) for record in marked}
    for record in known:
        baseline = said[id(record)][0] is Role.BASELINE
        if id(record) not in of_asl and baseline and any(_same_slice(record, other) for other in marked[:1]):
            of_asl.add(id(record))
    return [AslFrame(record, *said[id(record)]) for record in known if id(record) in of_asl]


def told_apart(frames: Sequence[AslFrame], choice: RunChoice) -> tuple[list[AslFrame], list[str]]:
    """The frames with a kind each, and remarks: as they say, or by their order where none says control or labelled.

    Frames that say nothing beside others that do are maps that the scanner made of them: they are left out.

    Args:
        frames: of one run and slice.
        choice: which image leads a pair, for frames that say nothing; of no effect on others.

    Raises:
        InconsistentStudyError: control or labelled images that nothing tells.
    """
    counts = Counter(frame.kind for frame in frames)
    if counts[Role.CONTROL] and counts[Role.LABELLED]:
        how = sorted({frame.how for frame in frames if frame.kind is not None})
        remarks = [f"control, labelled and baseline images told by {' and '.join(how)}"]
        if choice.pair_starts_with:
            remarks.append("--pair-starts-with was not needed: the images say what they are")
        if counts[None]:
            remarks.append(f"left out {_images(counts[None])} that {_say(counts[None])} neither control nor labelled")
        return [frame for frame in frames if frame.kind is not None], remarks
    untold = [frame for frame in frames if frame.kind is None]
    if counts[Role.CONTROL] or counts[Role.LABELLED] or not untold:
        listed = [f"{counts[kind]} {kind}" for kind in ASL_ROLES]
        raise InconsistentStudyError(
            ARTERIAL_SPIN_LABELLING,
            "needs control and labelled images, each said to be one",
            f"{', '.join(listed)} and {counts[None]} that say nothing ({_series_of(frames)})",
            SAY_IT,
        )
    return _by_order(untold, [frame for frame in frames if frame.kind is Role.BASELINE], choice)


def _by_order(
    untold: Sequence[AslFrame], baseline: Sequence[AslFrame], choice: RunChoice
) -> tuple[list[AslFrame], list[str]]:
    """Pairs one after the other; images without an inversion time among others that have one are baselines."""
    inverted = [frame for frame in untold if inversion_time_s(frame.record) is not None]
    rest = [frame for frame in untold if inversion_time_s(frame.record) is None]
    if not inverted or baseline:
        inverted, rest = list(untold), []
    order = order_of([frame.record for frame in inverted])
    if not choice.pair_starts_with or order is None or len(inverted) % 2:
        found = f"{_images(len(inverted))} without a word of it ({_series_of(untold)})"
        if choice.pair_starts_with:
            found += ", an odd number" if len(inverted) % 2 else ", and no times or numbers that order them"
        raise InconsistentStudyError(
            ARTERIAL_SPIN_LABELLING, "needs to know its control images from its labelled ones", found, SAY_IT
        )
    first = Role(choice.pair_starts_with)
    second = Role.LABELLED if first is Role.CONTROL else Role.CONTROL
    told = [AslFrame(inverted[i].record, second if place % 2 else first, "order") for place, i in enumerate(order)]
    told += [AslFrame(frame.record, Role.BASELINE, "no inversion time") for frame in rest]
    remarks = [f"control and labelled images told by their order, {first} first, as the user said"]
    if rest:
        remarks.append("baseline told by its missing inversion time")
    return [*told, *baseline], remarks


def _same_slice(one: FrameRecord, other: FrameRecord) -> bool:
    return same_grid(one, other) and same_place(one, other)


def _series_of(frames: Sequence[AslFrame]) -> str:
    numbers = sorted({frame.record.series_number for frame in frames})
    return f"series {', '.join(numbers[:5])}" + (" and more" if len(numbers) > 5 else "")


def _images(n: int) -> str:
    return f"{n} image" if n == 1 else f"{n} images"


def _say(n: int) -> str:
    return "says it is" if n == 1 else "say they are"
