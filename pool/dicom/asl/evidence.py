"""Whether a series is arterial spin labelling: by marks, or by a word in its names with something to bear it out."""

from __future__ import annotations

from collections.abc import Sequence

from pool.dicom.asl.marks import ASL_WORD, is_marked, is_named, kind_said
from pool.dicom.asl.times import inversion_time_s
from pool.dicom.groups import Group
from pool.run_choice import Role

LEAST_SPACING_S = 3.0
"""Images of pairs lie at least this far apart in the mean, as muscle has to recover between them; those of a first pass
follow each other by a heartbeat or two [s]."""


def is_asl(group: Group, groups: Sequence[Group]) -> bool:
    """Whether the images of a group are arterial spin labelling.

    Their marks are believed. A word in their names is where some of them are called control or labelled and others on
    their slice the other; `ASL`, unlike `FAIR`, also where they may be pairs of one slice by their times or number.

    Args:
        group: one of `groups`.
        groups: all of an upload; control and labelled images may be series of their own.
    """
    if is_marked(group.first):
        return True
    return is_named(group.first) and (_says_both(group, groups) or _in_pairs(group))


def _says_both(group: Group, groups: Sequence[Group]) -> bool:
    both = {Role.CONTROL, Role.LABELLED}
    kinds = _kinds(group)
    if not kinds & both:
        return False
    beside = (_kinds(other) for other in groups if is_named(other.first) and other.shares_place(group))
    return both <= kinds.union(*beside)


def _kinds(group: Group) -> set[Role | None]:
    return {kind_said(record)[0] for record in group.records}


def _in_pairs(group: Group) -> bool:
    """Images of one slice, taken slower than a first pass; an even number without a clock, baselines not counted.

    Baselines lack the others' inversion time. A clock goes before the count, as an image may have been lost.
    """
    n, clock_s = len(group.records), group.clock_s
    if len(group.places) > 1 or n < 2 or not is_named(group.first, (ASL_WORD,)):
        return False
    if clock_s is not None:
        return (clock_s[1] - clock_s[0]) / (n - 1) >= LEAST_SPACING_S
    n_inverted = sum(inversion_time_s(record) is not None for record in group.records) or n
    return n_inverted % 2 == 0
