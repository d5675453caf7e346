"""What is said of whole studies that were timed."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from pool.engine.machine import Machine
from pool.engine.whole.sweep import WholeSettings
from pool.networks import NetworkSpec


@dataclass(frozen=True)
class Way:
    """One way to compute, tried with few members."""

    settings: WholeSettings
    slices_at_once: int
    how: str
    """What it came to in words, or why it failed."""
    prepare_s: float
    """First run: library choices and capture [s]."""
    member_s: float | None
    """Fastest later run, a member [s]; None if it failed."""

    def in_words(self) -> str:
        """One line."""
        taken = "failed   " if self.member_s is None else f"{self.member_s * 1e3:6.2f} ms"
        asked = "cuDNN measures, " if self.settings.benchmark else ""
        when = f"{self.slices_at_once} slices at once, first {self.prepare_s:5.2f} s"
        return f"  {taken} a member, {when}: {asked}{self.how}"


@dataclass(frozen=True)
class StudyReport:
    """The whole study, measured."""

    machine: Machine
    network: NetworkSpec
    n_members: int
    n_distinct: int
    """Networks with weights of their own; the members take turns with them."""
    n_slices: int
    ways: tuple[Way, ...]
    how: str
    """The way that was timed, in words."""
    settings: WholeSettings
    prepare_s: float
    """First study: weights folded, libraries warm, graph captured [s]."""
    study_s: tuple[float, ...]
    """Later studies, from frames on the host to maps on the host [s]."""
    device_s: float
    """Median of the members' part alone, without taking frames and bringing maps home [s]."""
    peak_bytes: int
    """Most device memory allocated at once, networks included [B]; 0 off a GPU."""
    reserved_bytes: int
    """Most device memory held [B]; 0 off a GPU."""
    plain_tflop: float
    """Operations of the networks as written, patch by patch [TFLOP]."""
    done_tflop: float
    """Operations left when shared work is done once [TFLOP]."""
    product_tflop_per_s: float
    """Matrix product on this device in the same dtype, best of a few [TFLOP/s]."""

    @property
    def median_s(self) -> float:
        """Median time of a study [s]."""
        return statistics.median(self.study_s)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        fields = asdict(self)
        return fields | {
            "median_s": self.median_s,
            "spread_s": [min(self.study_s), max(self.study_s)],
            "share_of_product_plain": self.plain_tflop / self.median_s / self.product_tflop_per_s,
            "share_of_product_done": self.done_tflop / self.median_s / self.product_tflop_per_s,
        }

    def in_words(self) -> str:
        """The table on the screen."""
        lines = [
            f"{self.machine.gpu or self.machine.processor}, torch {self.machine.torch_version}; U-Net of width "
            f"{self.network.width}, {self.network.n_poolings} poolings; {self.n_members} members "
            f"({self.n_distinct} with weights of their own), {self.n_slices} slices"
        ]
        rate, peak = self.plain_tflop / self.median_s, self.product_tflop_per_s
        return "\n".join(
            [
                *lines,
                f"study: median {self.median_s:.3f} s, {min(self.study_s):.3f}-{max(self.study_s):.3f} of "
                f"{len(self.study_s)}, members alone {self.device_s:.3f} s, first {self.prepare_s:.2f} s; {self.how}",
                f"{self.plain_tflop:.1f} TFLOP as written, {self.done_tflop:.1f} done: {rate:.1f} TFLOP/s of plain "
                f"work, "
                f"{rate / peak:.1%} of the matrix product's {peak:.0f} (done: "
                f"{self.done_tflop / self.median_s / peak:.1%})",
                f"device memory: {self.peak_bytes / 1e9:.2f} GB at most, {self.reserved_bytes / 1e9:.2f} GB held",
            ]
        )
