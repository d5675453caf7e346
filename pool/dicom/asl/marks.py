"""What marks an image as arterial spin labelling: the standard's attributes, or a word; and what it says of itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from pydicom.dataset import Dataset

from pool.dicom.frames import FrameRecord
from pool.dicom.words import words_in
from pool.run_choice import Role

ARTERIAL_SPIN_LABELLING = "arterial spin labelling"
"""Reason for what a series was taken for."""
CONTEXTS = {"CONTROL": Role.CONTROL, "LABEL": Role.LABELLED, "M_ZERO_SCAN": Role.BASELINE}
"""Kind of an image by ASL Context (0018,9257), PS3.3 C.8.13.5.14."""
ASL_WORD = re.compile(r"(p|c|pc)?asl\d*|spinlabel+(ing|ed)?")
"""Words for arterial spin labelling."""
FAIR_WORD = re.compile(r"fair\d*")
"""Word for a kind of it; in English a word of its own."""
_NAMES = ("SeriesDescription", "ProtocolName")
_COMMENTS = ("ImageComments", "FrameComments", "FrameLabel")
_NEGATIONS = ("no", "non", "un", "without")
_KINDS = {
    Role.CONTROL: re.compile(r"(control|ctrl|ctl)s?\d*|(non|un)(label|tag)\w*"),
    Role.LABELLED: re.compile(r"(label|tag|lbl)(s|ed|led|ged)?\d*"),
    Role.BASELINE: re.compile(r"m0\w*|mzero|baseline\d*|(no|non|without)inv\w*"),
}
_FAIR_KINDS = {
    Role.CONTROL: re.compile(r"(slice|slab)?selective|ss"),
    Role.LABELLED: re.compile(r"nonselective|ns|global"),
}
"""Words for the inversion that count beside a word for ASL alone: FAIR's control is the selective one."""


def is_marked(record: FrameRecord) -> bool:
    """Whether an image says by the standard's attributes or its image type that it is arterial spin labelling."""
    return (
        bool(_context(record)) or record.value("ArterialSpinLabelingContrast") is not None or "ASL" in record.image_type
    )


def is_named(record: FrameRecord, rules: Sequence[re.Pattern[str]] = (ASL_WORD, FAIR_WORD)) -> bool:
    """Whether a word in the names of an image's series says so.

    Weaker than a mark: `fair` is said of a breath-hold too, and `ASL` may be a person. Comments do not count at all.
    """
    return any(rule.fullmatch(word) for rule in rules for word in _words(record, _NAMES))


def kind_said(record: FrameRecord) -> tuple[Role | None, str]:
    """Control, labelled or baseline as the image says it, and where it does; None where it does not, or says two.

    ASL Context goes before what is said of the one image (its type and comments), that before the series' names.
    """
    context = CONTEXTS.get(_context(record))
    if context is not None:
        return context, "ASL Context"
    of_image = [*_joined(words_in(" ".join(record.image_type[2:]))), *_words(record, _COMMENTS)]
    known = is_marked(record) or is_named(record)
    for words, where in ((of_image, "image type and comments"), (_words(record, _NAMES), "names of the series")):
        tables = (_KINDS, _FAIR_KINDS) if known else (_KINDS,)
        kinds = {kind for table in tables for kind, rule in table.items() if any(map(rule.fullmatch, words))}
        if len(kinds) == 1:
            return kinds.pop(), where
    return None, ""


def _context(record: FrameRecord) -> str:
    """ASL Context of a frame; some scanners write the sequence into the header of single-frame files."""
    found = record.value("ASLContext")
    held = record.value("MRArterialSpinLabelingSequence")
    if isinstance(held, Sequence) and held and isinstance(held[0], Dataset):
        found = found or held[0].get("ASLContext")
    return str(found or "").strip().upper()


def _words(record: FrameRecord, keywords: Sequence[str]) -> list[str]:
    return _joined([word for keyword in keywords for word in words_in(str(record.value(keyword) or ""))])


def _joined(words: Sequence[str]) -> list[str]:
    """Words, with `non selective`, `m zero` and `spin label` as one word each."""
    made: list[str] = []
    joins = False
    for word, following in pairwise([*words, ""]):
        made += [made.pop() + word] if joins else [word]
        joins = (
            word in _NEGATIONS
            or (word, following) == ("m", "zero")
            or (word == "spin" and following.startswith("label"))
        )
    return made
