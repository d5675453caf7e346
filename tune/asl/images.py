"""ASL images with their labels: control and labelled ones of phantom studies, standardised one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pool.errors import OutputError, SettingsError
from pool.phantom.asl import AslStudy, make_asl_study
from pool.phantom.presets import get_preset
from pool.phantom.study_files import study_seed
from pool.trials.images import standardised
from tune.asl.settings import BOTH, CONTROL, LABELLED
from tune.samples import seeded_generator

ONE_READER, MANY_READERS = "one", "many"
READERS = (ONE_READER, MANY_READERS)


@dataclass(frozen=True, eq=False)
class AslImages:
    """Images, what they show and whose they are.

    Raises:
        SettingsError: no images, or arrays that do not belong together.
    """

    pixels: np.ndarray
    """Zero mean and unit variance each, float32 `image row col`."""
    labels: np.ndarray
    """uint8 `image row col`: 0 background, 1 myocardium, 2 blood pool."""
    kinds: tuple[str, ...]
    """`control` or `labelled`, one an image."""
    studies: tuple[str, ...]
    """One an image. Images of one study never lie on both sides of a split."""

    def __post_init__(self) -> None:
        shapes = (self.pixels.shape, self.labels.shape)
        if not len(self.pixels) or shapes[0] != shapes[1] or {len(self.kinds), len(self.studies)} != {len(self.pixels)}:
            raise SettingsError("ASL images", "need labels, kind and study for every image", str(shapes))

    def __len__(self) -> int:
        return len(self.kinds)

    @classmethod
    def of_studies(cls, studies: Sequence[AslStudy], n_pairs: int) -> AslImages:
        """The first pairs of studies, control and labelled image of each.

        Raises:
            SettingsError: no studies, or one of fewer pairs.
        """
        pixels, labels, kinds, names = [], [], [], []
        for study in studies:
            if not 1 <= n_pairs <= len(study.control):
                rule = "pairs of a study must be at least 1 and at most what it has"
                raise SettingsError("ASL images", rule, f"{n_pairs} of {len(study.control)}")
            for pair in range(n_pairs):
                for kind, images in ((CONTROL, study.control), (LABELLED, study.labelled)):
                    pixels.append(standardised(images[pair][None], f"study {study.seed}, {kind} image {pair + 1}")[0])
                    labels.append(study.labels)
                    kinds.append(kind)
                    names.append(str(study.seed))
        if not pixels:
            raise SettingsError("ASL images", "need at least one study", "none")
        return cls(np.stack(pixels), np.stack(labels).astype(np.uint8), tuple(kinds), tuple(names))

    @classmethod
    def from_phantom(
        cls,
        preset: str,
        n_studies: int,
        seed: int,
        n_pairs: int = 1,
        readers: str = ONE_READER,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> AslImages:
        """Images of simulated studies; see `phantom_studies`."""
        return cls.of_studies(phantom_studies(preset, n_studies, seed, readers, on_progress), n_pairs)

    def save(self, file: Path) -> None:
        """Write all of it as a NumPy archive, for other processes; the folder is made.

        Raises:
            OutputError: the file cannot be written.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            kinds, studies = np.array(self.kinds), np.array(self.studies)
            np.savez(file, pixels=self.pixels, labels=self.labels, kinds=kinds, studies=studies)
        except OSError as error:
            found, remedy = error.strerror or str(error), "Name another folder."
            raise OutputError(f"images {file.name}", "must be written", found, remedy) from error

    @classmethod
    def load(cls, file: Path) -> AslImages:
        """From what `save` wrote."""
        with np.load(file, allow_pickle=False) as found:
            kinds, studies = (tuple(str(name) for name in found[key]) for key in ("kinds", "studies"))
            return cls(found["pixels"], found["labels"], kinds, studies)

    def of_kind(self, kind: str) -> AslImages:
        """The control or the labelled images alone, or all for `both`.

        Raises:
            SettingsError: none is of that kind.
        """
        return self if kind == BOTH else self.chosen([i for i, found in enumerate(self.kinds) if found == kind])

    def chosen(self, indices: Sequence[int]) -> AslImages:
        """Some of the images, in the order given."""
        at = list(indices)
        kinds, studies = (tuple(values[i] for i in at) for values in (self.kinds, self.studies))
        return AslImages(self.pixels[at], self.labels[at], kinds, studies)

    def split(self, validation_share: float) -> tuple[AslImages, AslImages]:
        """Training and validation images, cut between studies; the same for every seed.

        Args:
            validation_share: of the studies; at least one validates.

        Raises:
            SettingsError: no study would be left to train on.
        """
        names = sorted(set(self.studies))
        order = torch.randperm(len(names), generator=seeded_generator("asl split", 0)).tolist()
        n_validation = max(1, round(validation_share * len(names)))
        held_out = {names[i] for i in order[:n_validation]}
        if len(held_out) == len(names):
            raise SettingsError("ASL images", "need at least two studies, one of which validates", str(len(names)))
        inside = [study in held_out for study in self.studies]
        training, validation = ([i for i, held in enumerate(inside) if held is side] for side in (False, True))
        return self.chosen(training), self.chosen(validation)

    def sha256(self) -> str:
        """Hash of the content; goes into the manifest and into MLflow."""
        digest = hashlib.sha256(repr((self.pixels.shape, self.kinds, self.studies)).encode())
        digest.update(np.ascontiguousarray(self.pixels).tobytes() + np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()


def phantom_studies(
    preset: str,
    n_studies: int,
    seed: int,
    readers: str = ONE_READER,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[AslStudy]:
    """Simulated studies: one subject each, rest or stress.

    Args:
        preset: population, of `pool.phantom.presets`.
        n_studies: how many.
        seed: at least 0; another seed gives other subjects.
        readers: `one` draws all labels, as in a study of one group; of `many`, each heart has another, and whoever
            knows the heart exactly agrees with them at a mean Dice of 0.90 at most.
        on_progress: called with studies made and in all.

    Raises:
        SettingsError: no studies, a negative seed, an unknown preset or other readers.
    """
    if n_studies < 1 or seed < 0:
        raise SettingsError("ASL studies", "need at least one and a seed of at least 0", f"{n_studies}, seed {seed}")
    if readers not in READERS:
        raise SettingsError("ASL studies", f"readers must be {' or '.join(READERS)}", repr(readers))
    population, studies = get_preset(preset), []
    if readers == ONE_READER:
        population = replace(population, reader=population.reader.alone())
    for number in range(1, n_studies + 1):
        studies.append(make_asl_study(population, study_seed(seed, number)))
        on_progress(number, n_studies)
    return studies
