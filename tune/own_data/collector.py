"""Takes one study after the other into a set: read, mask laid, prepared, written; or rejected with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pool.errors import InconsistentStudyError, MaskError, PoolError, SettingsError
from pool.inputs import StudyInput, open_study
from pool.labelled_set import SliceEntry
from pool.labelled_set_writer import LabelledSetWriter
from pool.masks.study import prepared_labels, read_labels, read_volumes
from pool.preprocess import prepare
from pool.shapes import BACKGROUND, BLOOD_POOL, CLASS_NAMES, MYOCARDIUM
from tune.own_data.kinds import stem_of
from tune.own_data.layout import FoundStudy
from tune.own_data.patients import level_of_name
from tune.own_data.settings import DatasetSettings


@dataclass(frozen=True)
class Rejection:
    """A study or slice that did not become part of the set."""

    study: str
    """Its path below the folder of studies."""
    error: PoolError
    """Why."""


class Collector:
    """Takes studies into a set that is being written, and keeps what could not be taken.

    Args:
        settings: labels and sides.
        on_rejection: called with every rejection as it happens.
    """

    def __init__(self, settings: DatasetSettings, on_rejection: Callable[[Rejection], None] | None) -> None:
        self.settings, self._on_rejection = settings, on_rejection
        self.rejections: list[Rejection] = []
        self.n_of_subject: Counter[str] = Counter()
        self._remarks: Counter[str] = Counter()
        self._notes: list[str] = []
        self._subject_of_content: dict[str, str] = {}
        self._two_classes = False

    def reject(self, study: FoundStudy, error: PoolError) -> None:
        """Keep a rejection."""
        self.rejections.append(Rejection(study.key, error))
        if self._on_rejection is not None:
            self._on_rejection(self.rejections[-1])

    def usable(self, assigned: Sequence[tuple[FoundStudy, str | None]]) -> list[FoundStudy]:
        """Studies without a problem that shows before they are read; the others are rejected."""
        kept = []
        assignments = self.settings.assignments
        split_declared = assignments is not None and assignments.declares_split
        patients_with_side = {study.patient for study, side in assigned if side is not None}
        for study, _ in assigned:
            if study.problem is not None:
                self.reject(study, study.problem)
            elif split_declared and study.patient not in patients_with_side:
                rule = "needs a side, as the CSV declares the split"
                self.reject(study, SettingsError("study", rule, "none", "Add its row to the CSV."))
            elif not study.masks:
                self.reject(
                    study, MaskError("study", "needs a mask", "none", "Put its mask beside it, or name it alike.")
                )
            else:
                kept.append(study)
        return kept

    def classes(self, studies: Sequence[FoundStudy], one_done: Callable[[], None]) -> tuple[str, ...]:
        """Three classes if every readable mask has blood pool, else two: unlabelled blood is no background."""
        n_readable = n_without = 0
        for study in studies:
            try:
                volumes = [volume for path in study.masks for volume in read_volumes(path, None, self.settings.values)]
            except PoolError:
                volumes = []  # rejected with its reason when it is laid
            present = {int(c) for volume in volumes for c in np.unique(volume.classes)}
            if MYOCARDIUM in present:
                n_readable += 1
                n_without += BLOOD_POOL not in present
            one_done()
        self._two_classes = n_without > 0
        if self._two_classes:
            found = f"{n_without} of {n_readable} masks have no blood pool"
            self._notes.append(f"{found}: the set has two classes, background and myocardium")
        return CLASS_NAMES[:2] if self._two_classes else CLASS_NAMES

    def add(self, study: FoundStudy, subject: str, writer: LabelledSetWriter) -> None:
        """Read, lay, prepare and write one study."""
        try:
            opened = open_study(study.sources if len(study.sources) > 1 else study.sources[0])
            self._refuse_twice(opened, subject)
            laid = read_labels(opened, study.masks, self.settings.values)
            prepared = prepare(opened.series)
        except PoolError as error:
            self.reject(study, error)
            return
        frames, labels, entries = [], [], []
        name_level = level_of_name(stem_of(study.sources[0])) if len(prepared) == 1 else None
        for s, item in enumerate(prepared):
            try:
                labels.append(prepared_labels(item, laid.classes[s]))
            except MaskError as error:
                self.reject(study, error)
                continue
            frames.append(item.frames)
            level = item.name if len(prepared) == 3 else name_level
            entries.append(SliceEntry(subject, f"{subject}/{self.n_of_subject[subject] + 1}/{item.name}", level))
        if not entries:
            return
        stacked = np.stack(labels)
        if self._two_classes:
            stacked[stacked == BLOOD_POOL] = BACKGROUND
        writer.add(np.stack(frames), stacked, entries)
        self.n_of_subject[subject] += 1
        self._subject_of_content[opened.series.content_sha256()] = subject
        self._remarks.update({*opened.series.remarks, *laid.remarks})

    def _refuse_twice(self, opened: StudyInput, subject: str) -> None:
        """The same pixels under two patients may end up on both sides of a split; twice under one weigh double."""
        twin = self._subject_of_content.get(opened.series.content_sha256())
        if twin is not None:
            whose = "this patient" if twin == subject else "another patient"
            raise InconsistentStudyError(
                "study", "may be in the set once", f"the same frames under {whose}", "Remove one."
            )

    def all_remarks(self) -> tuple[str, ...]:
        """What the readers remarked, with the number of studies, and what was decided for all of them."""
        counted = (f"{n} {'study' if n == 1 else 'studies'}: {text}" for text, n in self._remarks.most_common())
        return (*self._notes, *counted)
