"""From found studies to a labelled set on disk, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pool.errors import SettingsError
from pool.labelled_set import SIDES, LabelledSet
from pool.labelled_set_writer import LabelledSetWriter
from pool.preprocess import PreprocessSettings
from pool.shapes import CLASS_NAMES
from tune.assemble import software
from tune.own_data.collector import Collector, Rejection
from tune.own_data.layout import FoundStudy
from tune.own_data.patients import Assignments, pseudonym, split_of_patients
from tune.own_data.settings import DatasetSettings
from tune.samples import draw_held_out, refuse_too_few


@dataclass(frozen=True, eq=False)
class Dataset:
    """A set that was made, and what the user should know of it."""

    labelled_set: LabelledSet
    rejections: tuple[Rejection, ...]
    remarks: tuple[str, ...]


def build_dataset(
    found: Sequence[FoundStudy],
    out_dir: Path,
    settings: DatasetSettings,
    on_progress: Callable[[int, int], None] | None = None,
    on_rejection: Callable[[Rejection], None] | None = None,
) -> Dataset:
    """Write the labelled set of some studies, whole or not at all; memory stays that of one study and one shard.

    Args:
        found: studies with their masks, see `find_studies`.
        out_dir: folder of the set, new or empty.
        settings: labels, split, pseudonyms.
        on_progress: called with steps done and in all; every study has two.
        on_rejection: called with every rejection as it happens, also where the set fails in the end.

    Raises:
        SettingsError: a patient on both sides; nothing usable; with `strict`, any rejection.
        PoolError: a declared split that leaves a side empty.
        OutputError: the folder is in use, cannot be written or has no room.
    """
    assigned = _assigned(found, settings.assignments)
    collector = Collector(settings, on_rejection)
    sides = {pseudonym(patient, settings.salt): side for patient, side in _sides(assigned, settings).items()}
    usable = sorted((pseudonym(study.patient, settings.salt), study.key, study) for study in collector.usable(assigned))
    steps = _Steps(2 * len(usable), on_progress)
    class_names = collector.classes([study for _, _, study in usable], steps.one_done)
    with LabelledSetWriter(out_dir, class_names) as writer:
        for subject, _, study in usable:
            collector.add(study, subject, writer)
            steps.one_done()
        if settings.strict and collector.rejections:
            n = len(collector.rejections)
            raise SettingsError("dataset", "--strict allows no rejected study or slice", str(n), "Mend or remove them.")
        if not collector.n_of_subject:
            raise SettingsError("dataset", "needs at least one usable study with a mask", f"none of {len(found)}")
        subjects = sorted(collector.n_of_subject)
        split: dict[str, str] | None = {subject: sides[subject] for subject in subjects} if sides else None
        if settings.validation_share is not None:
            refuse_too_few(len(subjects))
            held_out = draw_held_out(subjects, settings.validation_share, settings.split_seed)
            split = {subject: SIDES[subject in held_out] for subject in subjects}
        origin = {
            "software": software(),
            "preprocess": asdict(PreprocessSettings()),
            "labels": {str(value): CLASS_NAMES[c] for value, c in settings.values.class_of.items()}
            if settings.values
            else "the defaults of each format",
            "n_studies": sum(collector.n_of_subject.values()),
            "n_rejected": len(collector.rejections),
        }
        made = writer.finish(split, origin)
    return Dataset(made, tuple(collector.rejections), collector.all_remarks())


def _assigned(found: Sequence[FoundStudy], assignments: Assignments | None) -> list[tuple[FoundStudy, str | None]]:
    """Studies with the patient that the CSV names, and their side."""
    if assignments is None:
        return [(study, None) for study in found]
    assignments.refuse_unknown([study.names for study in found])
    rows = [(study, assignments.of(study.names)) for study in found]
    return [(replace(study, patient=row.patient or study.patient), row.split) for study, row in rows]


def _sides(assigned: Sequence[tuple[FoundStudy, str | None]], settings: DatasetSettings) -> dict[str, str]:
    if settings.assignments is None or not settings.assignments.declares_split:
        return {}
    return split_of_patients([(study.key, study.patient, side) for study, side in assigned])


class _Steps:
    """Counts for a progress bar."""

    def __init__(self, n_total: int, on_progress: Callable[[int, int], None] | None) -> None:
        self._n_done, self._n_total, self._on_progress = 0, n_total, on_progress

    def one_done(self) -> None:
        self._n_done += 1
        if self._on_progress is not None:
            self._on_progress(self._n_done, self._n_total)
