"""Distributions of hearts, what surrounds them, and readers, each with its source.

Sizes at end diastole follow Kawel-Boehm et al., J Cardiovasc Magn Reson 2020;22:87 (normal values: LV diameter about
42-58 mm, wall 6-11 mm), widened for the diseases the product meets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pool.errors import SettingsError
from pool.phantom.ranges import Range

MOST_VESSELS = 2000
"""More lung vessels than any slice shows."""


def require_share(subject: str, value: float) -> None:
    """Refuse a probability outside 0 to 1."""
    if not 0 <= value <= 1:
        raise SettingsError(subject, "is a probability and must lie within 0 and 1", f"{value:g}")


@dataclass(frozen=True)
class Anatomy:
    """Hearts at end diastole, mid level; base and apex follow from them."""

    cavity_radius_mm: Range = Range(20.0, 29.0)
    """Mean endocardial radius at end diastole [mm]."""
    wall_mm: Range = Range(7.0, 13.0)
    """Compact wall at end diastole [mm]."""
    contraction: Range = Range(0.0, 0.8)
    """Phase of a slice within the cycle: 0 end diastole, 1 end systole with the cavity's radius down by half."""
    ellipticity: Range = Range(0.86, 1.0)
    """Short over long axis of the LV's outline."""
    outline_roughness: float = 0.035
    """Standard deviation of the outline's Fourier coefficients (k = 2, divided by k for higher ones)."""
    wall_asymmetry: Range = Range(0.0, 0.25)
    """Largest relative thickening of one side of the wall."""
    trabecular_mm: Range = Range(0.5, 4.0)
    """Thickness of the trabecular layer [mm]."""
    papillary_radius_mm: Range = Range(2.5, 5.5)
    """Radius of a papillary muscle at end diastole [mm]."""
    rv_size: Range = Range(0.95, 1.5)
    """RV half-axis along the septum over the LV's epicardial radius."""
    rv_width: Range = Range(0.7, 1.2)
    """RV half-axis across the septum over the LV's epicardial radius."""
    rv_absent_at_apex: float = 0.12
    """Probability that the RV does not reach the apical slice."""
    septum_angle_rad: Range = Range(-0.6, 0.2)
    """Direction of the septum's middle from the image's left, towards the top of the image [rad]."""

    def __post_init__(self) -> None:
        self.cavity_radius_mm.require("LV cavity radius", 8, 50, "mm")
        self.wall_mm.require("LV wall", 2, 30, "mm")
        self.contraction.require("contraction", 0, 1)
        self.ellipticity.require("ellipticity", 0.5, 1)
        self.trabecular_mm.require("trabecular layer", 0, 10, "mm")
        self.papillary_radius_mm.require("papillary radius", 0.5, 12, "mm")
        self.wall_asymmetry.require("wall asymmetry", 0, 1)
        self.rv_size.require("RV size", 0.2, 4)
        self.rv_width.require("RV width", 0.2, 4)
        self.septum_angle_rad.require("direction of the septum", -math.pi, math.pi, "rad")
        if not 0 <= self.outline_roughness <= 0.2:
            raise SettingsError("outline roughness", "must lie within 0 and 0.2", f"{self.outline_roughness:g}")
        require_share("RV absent at apex", self.rv_absent_at_apex)

    @staticmethod
    def broad() -> Anatomy:
        """Beyond disease: dilated and hypertrophied hearts, any orientation within reason."""
        return Anatomy(
            cavity_radius_mm=Range(17.0, 35.0),
            wall_mm=Range(5.0, 14.0),
            contraction=Range(0.0, 1.0),
            ellipticity=Range(0.80, 1.0),
            outline_roughness=0.05,
            wall_asymmetry=Range(0.0, 0.4),
            trabecular_mm=Range(0.0, 5.5),
            papillary_radius_mm=Range(1.5, 6.5),
            rv_size=Range(0.65, 1.65),
            rv_width=Range(0.5, 1.3),
            rv_absent_at_apex=0.15,
            septum_angle_rad=Range(-1.0, 0.8),
        )


@dataclass(frozen=True)
class Surroundings:
    """What lies around the heart."""

    chest_wall_gap_mm: Range = Range(-3.0, 10.0)
    """From the RV's free wall to the inside of the chest wall [mm]."""
    chest_muscle_mm: Range = Range(12.0, 24.0)
    """Ribs and muscle [mm]."""
    chest_fat_mm: Range = Range(6.0, 35.0)
    """Subcutaneous fat [mm]."""
    chest_angle_rad: Range = Range(0.2, 1.0)
    """Direction of the nearest chest wall from the image's left, towards the top [rad]."""
    epicardial_fat_mm: Range = Range(1.0, 9.0)
    """Fat around the heart [mm]."""
    liver_gap_mm: Range = Range(-4.0, 5.0)
    """From the heart's lower edge to the diaphragm [mm]."""
    liver_tilt_rad: Range = Range(-0.7, 0.35)
    """Slope of the diaphragm in the image [rad]."""
    liver_share: float = 0.9
    """Probability that the diaphragm is in the picture."""
    n_vessels: int = 80
    """Lung vessels drawn, of which a random part is visible."""
    clutter: float = 0.0
    """Strength of random regions of any brightness, to randomise beyond anatomy."""

    def __post_init__(self) -> None:
        self.chest_fat_mm.require("chest fat", 0, 120, "mm")
        self.chest_muscle_mm.require("chest muscle", 0, 60, "mm")
        self.epicardial_fat_mm.require("epicardial fat", 0, 30, "mm")
        self.chest_wall_gap_mm.require("chest wall gap", -20, 100, "mm")
        self.chest_angle_rad.require("direction of the chest wall", -math.pi, math.pi, "rad")
        self.liver_gap_mm.require("liver gap", -40, 100, "mm")
        self.liver_tilt_rad.require("slope of the diaphragm", -1.4, 1.4, "rad")
        require_share("liver share", self.liver_share)
        require_share("clutter", self.clutter)
        if not 1 <= self.n_vessels <= MOST_VESSELS:
            raise SettingsError("lung vessels", f"must lie within 1 and {MOST_VESSELS}", str(self.n_vessels))

    @staticmethod
    def broad() -> Surroundings:
        """Any chest, and clutter besides."""
        return Surroundings(
            chest_wall_gap_mm=Range(-4.0, 30.0),
            chest_muscle_mm=Range(6.0, 30.0),
            chest_fat_mm=Range(3.0, 50.0),
            chest_angle_rad=Range(-0.6, 1.8),
            epicardial_fat_mm=Range(0.0, 12.0),
            liver_gap_mm=Range(-3.0, 18.0),
            liver_tilt_rad=Range(-1.0, 0.7),
            liver_share=0.85,
            clutter=0.5,
        )


@dataclass(frozen=True)
class Reader:
    """How an expert draws, relative to the compact wall's borders; one reader a heart.

    Experts draw inside the visible wall and count papillary muscles and trabeculae as blood pool.
    """

    endo_inset_mm: Range = Range(1.5, 3.5)
    """Contour outside the cavity's border, into the wall, at end diastole [mm]."""
    systolic_growth: float = 1.5
    """How much the endocardial inset grows up to end systole, relative: the trabecular layer, which readers leave out,
    is then pressed together into what looks like wall."""
    endo_free_wall_share: float = 0.18
    """How much the endocardial inset rises from the middle of the circumference to the free wall, relative, and falls
    to the septum: papillary muscles and trabeculae, which readers leave out, hang on the free wall."""
    epi_inset_mm: Range = Range(1.2, 2.5)
    """Contour inside the epicardial border [mm]."""
    epi_septal_share: float = 0.33
    """How much the epicardial inset rises to the septum, relative, and falls to the free wall: the RV's bright blood
    between its trabeculae makes the septum look thinner than it is, dark lung does the opposite."""
    rv_inset_mm: Range = Range(0.0, 1.2)
    """Contour inside the RV cavity [mm]."""
    corner_rest: float = 0.3
    """What is left in the endocardial contour of the wall's corners, harmonics of the angle above the second: readers
    draw a smooth curve past what hangs on the wall."""
    wobble_mm: Range = Range(0.1, 0.5)
    """Smooth random deviation of a contour along its way: standard deviation [mm]."""
    least_wall_mm: float = 2.8
    """No contour pair is drawn closer than this [mm]."""

    def __post_init__(self) -> None:
        for subject, interval in (("endocardial inset", self.endo_inset_mm), ("epicardial inset", self.epi_inset_mm)):
            interval.require(subject, 0, 10, "mm", "Contours lie inside the visible wall.")
        self.rv_inset_mm.require("RV inset", -5, 10, "mm")
        self.wobble_mm.require("wobble of a contour", 0, 5, "mm")
        if not 0 <= self.systolic_growth <= 2:
            raise SettingsError("systolic growth of the inset", "must lie within 0 and 2", f"{self.systolic_growth:g}")
        for subject, share in (
            ("rise of the endocardial inset to the free wall", self.endo_free_wall_share),
            ("rise of the epicardial inset to the septum", self.epi_septal_share),
        ):
            require_share(subject, share)
        require_share("rest of corners in the contour", self.corner_rest)
        if not 0.5 <= self.least_wall_mm <= 10:
            raise SettingsError("least wall", "must lie within 0.5 and 10 mm", f"{self.least_wall_mm:g} mm")

    def alone(self) -> Reader:
        """One of them, in the middle: always the same insets, the wobble still another in every heart."""
        endo, epi, rv = (Range(r.middle, r.middle) for r in (self.endo_inset_mm, self.epi_inset_mm, self.rv_inset_mm))
        return replace(self, endo_inset_mm=endo, epi_inset_mm=epi, rv_inset_mm=rv)

    @staticmethod
    def broad() -> Reader:
        """The middle of the readers' convention, so that one network learns one convention."""
        return replace(Reader(), wobble_mm=Range(0.0, 0.4))
