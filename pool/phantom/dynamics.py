"""Distributions of blood flow, bolus and motion, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pool.phantom.populations import require_share
from pool.phantom.ranges import Range


@dataclass(frozen=True)
class Flow:
    """Myocardial blood flow [mL/min/g] and its defects.

    Rest and stress ranges span the values of Kellman et al., J Cardiovasc Magn Reson 2017;19:43 and Hsu et al., JACC
    Cardiovasc Imaging 2012;5:154.
    """

    rest_ml_min_g: Range = Range(0.5, 1.3)
    """Flow at rest."""
    stress_ml_min_g: Range = Range(1.5, 4.0)
    """Flow under vasodilation."""
    stress_share: float = 0.5
    """Probability that a study is a stress study."""
    heterogeneity: Range = Range(0.03, 0.12)
    """Relative standard deviation of flow within healthy myocardium."""
    defect_share: float = 0.4
    """Probability that a heart has a perfusion defect."""
    diffuse_share: float = 0.25
    """Of the defects, the share that is diffuse and subendocardial; the others are focal."""
    defect_flow: Range = Range(0.2, 0.75)
    """Flow inside a defect over normal flow."""
    infarct_share: float = 0.1
    """Probability that a heart with a focal defect has an infarct: very low flow and a large distribution volume."""
    infarct_without_defect: float = 0.5
    """The same probability in other hearts, relative to `infarct_share`; 1 makes that the share of all hearts."""
    infarct_flow: Range = Range(0.08, 0.3)
    """Flow of the muscle that is left among an infarct's scar, over normal flow; scar has `SCAR_FLOW`."""
    distribution_volume: Range = Range(0.22, 0.42)
    """Distribution volume of healthy myocardium relative to whole blood."""
    sharpness: Range = Range(0.5, 2.0)
    """Shape of the Fermi residue function."""
    delay_s: Range = Range(0.3, 2.0)
    """Arrival in the myocardium after the LV cavity [s]."""

    def __post_init__(self) -> None:
        for subject, interval in (("rest flow", self.rest_ml_min_g), ("stress flow", self.stress_ml_min_g)):
            interval.require(subject, 0.05, 8.0, "mL/min/g", "Human myocardium reaches about 5 mL/min/g.")
        for subject, value in (
            ("stress share", self.stress_share),
            ("defect share", self.defect_share),
            ("diffuse share", self.diffuse_share),
            ("infarct share", self.infarct_share),
            ("infarct without a defect", self.infarct_without_defect),
        ):
            require_share(subject, value)
        self.heterogeneity.require("flow heterogeneity", 0, 1)
        self.defect_flow.require("flow in a defect", 0.02, 1)
        self.infarct_flow.require("flow in an infarct", 0.02, 1)
        self.distribution_volume.require("distribution volume", 0.05, 1)
        self.sharpness.require("Fermi sharpness", 0.1, 20)
        self.delay_s.require("arrival delay", 0, 10, "s")

    @staticmethod
    def broad() -> Flow:
        """Rest and stress, half of the hearts with defects."""
        return Flow(
            rest_ml_min_g=Range(0.4, 1.6),
            stress_ml_min_g=Range(1.2, 4.5),
            heterogeneity=Range(0.02, 0.2),
            defect_share=0.5,
            infarct_share=0.15,
            defect_flow=Range(0.1, 0.85),
            distribution_volume=Range(0.14, 0.5),
            sharpness=Range(0.4, 5.0),
            delay_s=Range(0.0, 3.0),
        )


@dataclass(frozen=True)
class Bolus:
    """Injection, circulation and timing of the series.

    Transit times follow Shors et al., J Nucl Cardiol 2003 and the pulmonary transit of 4-8 s of Houbois et al., JACC
    Cardiovasc Imaging 2020;13:2082, widened.
    """

    dose_mmol_kg: Range = Range(0.05, 0.1)
    """Dose per body weight [mmol/kg]."""
    weight_kg: Range = Range(55.0, 105.0)
    """Body weight [kg]."""
    cardiac_output_l_min: Range = Range(4.0, 9.0)
    """Cardiac output [L/min]."""
    infusion_s: Range = Range(1.0, 3.5)
    """Duration of the injection [s]."""
    venous_mean_s: Range = Range(2.5, 6.0)
    """Spread of the bolus on its way to the right ventricle [s]."""
    lung_delay_s: Range = Range(1.5, 4.0)
    """Shortest transit through the lung [s]."""
    lung_mean_s: Range = Range(2.0, 5.0)
    """Further mean transit through the lung [s]."""
    return_fraction: Range = Range(0.55, 0.85)
    """Share of the bolus that recirculates."""
    heart_rate_bpm: Range = Range(55.0, 105.0)
    """Heart rate [1/min]."""
    rate_variation: Range = Range(0.01, 0.06)
    """Relative standard deviation of the RR interval."""
    missed_trigger: float = 0.02
    """Probability that a heart beat yields no image."""
    start_before_arrival_s: Range = Range(-2.0, 9.0)
    """First frame of a prepared slice before the bolus reaches the right ventricle; negative: after [s]."""
    span_s: Range = Range(30.0, 65.0)
    """From the first to the last frame of a prepared slice [s]."""

    def __post_init__(self) -> None:
        self.dose_mmol_kg.require("dose", 0.001, 0.4, "mmol/kg")
        self.weight_kg.require("body weight", 20, 250, "kg")
        self.cardiac_output_l_min.require("cardiac output", 0.5, 25, "L/min")
        self.infusion_s.require("infusion", 0.2, 30, "s")
        self.venous_mean_s.require("venous transit", 0.5, 30, "s")
        self.lung_delay_s.require("lung delay", 0, 20, "s")
        self.lung_mean_s.require("lung transit", 0.3, 30, "s")
        self.return_fraction.require("return fraction", 0, 1)
        self.heart_rate_bpm.require("heart rate", 25, 220, "1/min")
        self.rate_variation.require("heart-rate variation", 0, 0.5)
        self.start_before_arrival_s.require("start before the bolus", -60, 12, "s")
        self.span_s.require("span of the series", 8, 300, "s")
        require_share("missed trigger", self.missed_trigger)

    @staticmethod
    def broad() -> Bolus:
        """Sharp and slow boluses, series that begin late or end early."""
        return Bolus(
            dose_mmol_kg=Range(0.025, 0.12),
            cardiac_output_l_min=Range(3.0, 11.0),
            infusion_s=Range(0.8, 6.0),
            venous_mean_s=Range(1.5, 10.0),
            lung_delay_s=Range(1.0, 5.0),
            lung_mean_s=Range(1.2, 8.0),
            return_fraction=Range(0.5, 0.97),
            heart_rate_bpm=Range(45.0, 125.0),
            rate_variation=Range(0.0, 0.12),
            start_before_arrival_s=Range(-5.0, 10.0),
            span_s=Range(20.0, 70.0),
        )


@dataclass(frozen=True)
class Motion:
    """What breathing and missed triggers leave behind."""

    breathing_mm: Range = Range(2.0, 12.0)
    """Amplitude of free breathing, mostly along the image's rows [mm]."""
    breathing_period_s: Range = Range(3.0, 6.0)
    """Duration of a breath [s]."""
    uncorrected: Range = Range(0.0, 0.08)
    """Share of the motion that motion correction leaves: 0 perfect, 1 none (the paper's Appendix D as a dial)."""
    jitter_mm: Range = Range(0.1, 0.6)
    """Standard deviation of a frame's random shift [mm]."""
    failed_share: float = 0.03
    """Probability that motion correction fails in a slice."""
    failed_jitter_mm: Range = Range(1.0, 3.0)
    """The jitter where it failed [mm]."""
    gain_variation: Range = Range(0.0, 0.02)
    """Relative standard deviation of a frame's brightness."""
    centre_jitter_mm: Range = Range(2.0, 6.0)
    """Standard deviation of the crop's centre from the LV's [mm]."""

    def __post_init__(self) -> None:
        self.breathing_mm.require("breathing", 0, 40, "mm")
        self.breathing_period_s.require("breathing period", 1, 20, "s")
        self.uncorrected.require("uncorrected motion", 0, 1)
        self.jitter_mm.require("jitter", 0, 10, "mm")
        self.failed_jitter_mm.require("jitter of failed correction", 0, 20, "mm")
        self.gain_variation.require("gain variation", 0, 0.5)
        self.centre_jitter_mm.require("centre jitter", 0, 60, "mm")
        require_share("failed motion correction", self.failed_share)

    def with_correction(self, left: float) -> Motion:
        """The same breathing with another quality of motion correction, in every slice.

        Args:
            left: share of the motion that is left: 0 perfect correction, 0.3 some, 1 none.

        Raises:
            SettingsError: a share outside 0 to 1.
        """
        require_share("motion left", left)
        jitter = Range(self.jitter_mm.low + 0.5 * left, self.jitter_mm.high + 1.5 * left)
        return replace(self, uncorrected=Range(left, left), jitter_mm=jitter, failed_share=0.0)

    def failed(self) -> Motion:
        """The same breathing where motion correction fails in every slice and makes frames jump."""
        return replace(self, failed_share=1.0)

    @staticmethod
    def broad() -> Motion:
        """From perfect to failed correction."""
        return Motion(
            uncorrected=Range(0.0, 0.2),
            jitter_mm=Range(0.0, 1.2),
            failed_share=0.1,
            gain_variation=Range(0.0, 0.05),
            centre_jitter_mm=Range(2.0, 8.0),
        )
