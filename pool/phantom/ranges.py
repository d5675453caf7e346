"""Parameters as intervals, and how they are drawn for a batch of slices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.errors import SettingsError

LEVELS = ("base", "mid", "apex")
"""Slice levels of one heart; slice i of a batch has level i modulo 3."""
N_LEVELS = len(LEVELS)
LARGEST_SEED = 2**63 - 1
"""Of a generator."""


def require_seed(seed: int) -> None:
    """Refuse a number that no generator takes as its seed."""
    if seed < 0:
        raise SettingsError("seed", "must not be negative", str(seed))
    if seed > LARGEST_SEED:
        raise SettingsError("seed", f"must be at most {LARGEST_SEED}", str(seed))


@dataclass(frozen=True)
class Range:
    """A closed interval, drawn uniformly; low equals high for a fixed value.

    Raises:
        SettingsError: an interval that is not finite or runs backwards.
    """

    low: float
    """Smallest value, in the unit of the field that holds the interval."""
    high: float
    """Largest value."""

    def __post_init__(self) -> None:
        if not (float("-inf") < self.low <= self.high < float("inf")):
            raise SettingsError("parameter range", "needs finite bounds in rising order", f"{self.low} .. {self.high}")

    @property
    def middle(self) -> float:
        """Centre of the interval."""
        return 0.5 * (self.low + self.high)

    def require(self, subject: str, low: float, high: float, unit: str = "", remedy: str = "") -> None:
        """Refuse an interval that leaves what is physically possible.

        Args:
            subject: the parameter's name, for the error text.
            low, high: the limits, in the unit of the interval.
            unit: the unit, for the error text.
            remedy: what the user can do about it.
        """
        if self.low < low or self.high > high:
            raise SettingsError(
                subject,
                f"must lie within {low:g} and {high:g} {unit}".rstrip(),
                f"{self.low:g} .. {self.high:g}",
                remedy,
            )


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws values for `n_subjects` hearts of three slices each; every answer has one entry a slice.

    Numbers come from one explicit generator in the order of the calls, so the same seed and the same calls give
    the same values.
    """

    generator: torch.Generator
    """Source of all numbers; values live on its device."""
    n_subjects: int
    """Number of hearts."""

    @property
    def n_slices(self) -> int:
        """Number of slices, three a heart."""
        return self.n_subjects * N_LEVELS

    @property
    def device(self) -> torch.device:
        """Where the values live."""
        return self.generator.device

    def uniform(self, n: int) -> Tensor:
        """`n` numbers in [0, 1)."""
        return torch.rand(n, generator=self.generator, device=self.device)

    def subject(self, interval: Range) -> Tensor:
        """One value a heart, repeated for its three slices: `slice`."""
        u = self.uniform(self.n_subjects).repeat_interleave(N_LEVELS)
        return interval.low + (interval.high - interval.low) * u

    def slice(self, interval: Range) -> Tensor:
        """One value a slice: `slice`."""
        return interval.low + (interval.high - interval.low) * self.uniform(self.n_slices)

    def slices(self, interval: Range, *shape: int) -> Tensor:
        """Several values a slice: `slice *shape`."""
        u = torch.rand(self.n_slices, *shape, generator=self.generator, device=self.device)
        return interval.low + (interval.high - interval.low) * u

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers a slice: `slice *shape`."""
        return torch.randn(self.n_slices, *shape, generator=self.generator, device=self.device)

    def child(self) -> torch.Generator:
        """A generator of its own for a part whose amount of numbers must not shift all later ones."""
        seed = torch.randint(2**62, (1,), generator=self.generator, device=self.device)
        return torch.Generator(self.device).manual_seed(int(seed.item()))

    def subject_phase(self) -> Tensor:
        """A number in [0, 1) a heart: `slice`."""
        return self.subject(Range(0.0, 1.0))

    def subject_happens(self, probability: float) -> Tensor:
        """True for hearts in which something of this probability happens: bool `slice`."""
        return (self.uniform(self.n_subjects) < probability).repeat_interleave(N_LEVELS)

    def happens(self, probability: float) -> Tensor:
        """True for slices in which something of this probability happens: bool `slice`."""
        return self.uniform(self.n_slices) < probability

    @staticmethod
    def largest_of_subject(values: Tensor) -> Tensor:
        """The largest value of a heart's three slices, for each of them: `slice`."""
        return values.view(-1, N_LEVELS).amax(1).repeat_interleave(N_LEVELS)

    def by_level(self, base: float, mid: float, apex: float) -> Tensor:
        """A value that depends on the slice level: `slice`."""
        return torch.tensor([base, mid, apex], device=self.device).repeat(self.n_subjects)


def generator_on(device: torch.device | str, generator: torch.Generator) -> torch.Generator:
    """The generator itself if it lives on `device`, else one there, seeded by its next number."""
    if torch.device(device).type == generator.device.type:
        return generator
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return torch.Generator(device).manual_seed(int(seed.item()))
