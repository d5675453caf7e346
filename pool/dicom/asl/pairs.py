"""Which control image belongs to which labelled one: both are taken in one breath-hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pool.dicom.asl.marks import ARTERIAL_SPIN_LABELLING
from pool.dicom.asl.times import clocks_s, order_of
from pool.dicom.frames import FrameRecord
from pool.errors import InconsistentStudyError

CLEARLY_CLOSER = 1.2
"""Where halves are missing, the images of a pair lie this many times closer in time than under another pairing."""
_REMEDY = "Send all images of the run, or take out the ones whose partner is missing."

Pairs = list[tuple[int, int]]
"""Indices of a control and of a labelled image, in order of time."""


def pairs_of(control: Sequence[FrameRecord], labelled: Sequence[FrameRecord]) -> tuple[Pairs, list[str]]:
    """Pairs, and a remark where images without a partner were left out, as the field does.

    Images belong together that share a temporal position. Without these, neighbours in time do where the two kinds
    alternate; where all of one kind come first, the first of one belongs to the first of the other.

    Args:
        control, labelled: at least one of each.

    Raises:
        InconsistentStudyError: images without a partner that nothing tells.
    """
    found = _by_position(control, labelled) or _by_order(control, labelled)
    if not found:
        raise InconsistentStudyError(
            ARTERIAL_SPIN_LABELLING,
            "needs a labelled image to every control image",
            f"{len(control)} control and {len(labelled)} labelled, and nothing that tells which ones lack a partner",
            _REMEDY,
        )
    left = [
        f"{n} {kind}"
        for n, kind in ((len(control) - len(found), "control"), (len(labelled) - len(found), "labelled"))
        if n
    ]
    n_left = len(control) + len(labelled) - 2 * len(found)
    plural = "images without their partners" if n_left > 1 else "image without its partner"
    return found, [f"left out {' and '.join(left)} {plural}"] if left else []


def _by_position(control: Sequence[FrameRecord], labelled: Sequence[FrameRecord]) -> Pairs:
    """By TemporalPositionIndex or TemporalPositionIdentifier, where every image of a kind has one of its own."""
    ours, theirs = ({_position(record): i for i, record in enumerate(records)} for records in (control, labelled))
    if len(ours) < len(control) or len(theirs) < len(labelled) or "" in ours or "" in theirs:
        return []
    return [(ours[position], theirs[position]) for position in sorted(ours.keys() & theirs.keys(), key=float)]


def _position(record: FrameRecord) -> str:
    """A number as text; empty where the header has none."""
    found = str(record.value("TemporalPositionIndex", record.value("TemporalPositionIdentifier", "")))
    return found if found.isdecimal() else ""


def _by_order(control: Sequence[FrameRecord], labelled: Sequence[FrameRecord]) -> Pairs:
    records = [*control, *labelled]
    order = order_of(records)
    if order is None:  # two series without a clock: each counts on its own
        orders = order_of(control), order_of(labelled)
        if len(control) != len(labelled) or orders[0] is None or orders[1] is None:
            return []
        return list(zip(orders[0], orders[1]))
    n = len(control)
    # with either kind in the lead; of an unbroken run of pairs the right lead leaves nothing out
    either = [_neighbours(order, n, lead) for lead in (True, False)]
    best = max(len(pairs) for pairs in either)
    if 4 * best <= len(records):  # no more than half of the images: the kinds do not alternate
        n_control_first = sum(i < n for i in order[:n])
        in_blocks = n == len(labelled) and n_control_first in (0, n)
        ours, theirs = [i for i in order if i < n], [i - n for i in order if i >= n]
        return list(zip(ours, theirs)) if in_blocks else []
    good = [pairs for pairs in either if len(pairs) == best]
    if len(good) == 1:
        return good[0]
    clock = clocks_s(records)
    if clock is None:
        return []
    near, far = sorted(good, key=lambda pairs: _gap_s(pairs, clock, n))
    return near if _gap_s(far, clock, n) >= CLEARLY_CLOSER * _gap_s(near, clock, n) else []


def _neighbours(order: Sequence[int], n_control: int, control_leads: bool) -> Pairs:
    """Pairs of neighbours of which one kind leads; an image whose neighbour does not follow has no partner."""
    pairs, at = [], 0
    while at < len(order) - 1:
        one, two = order[at], order[at + 1]
        if (one < n_control) == control_leads and (two < n_control) != control_leads:
            pairs.append((one, two - n_control) if control_leads else (two, one - n_control))
            at += 2
        else:
            at += 1
    return pairs


def _gap_s(pairs: Pairs, clock_s: np.ndarray, n_control: int) -> float:
    """Mean time between the images of a pair [s]."""
    return float(np.mean([abs(clock_s[c] - clock_s[n_control + t]) for c, t in pairs]))
