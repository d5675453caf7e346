"""Ranges of the augmentation, as data."""

from __future__ import annotations

from dataclasses import dataclass

from pool.errors import SettingsError


@dataclass(frozen=True)
class AugmentSettings:
    """Ranges of the augmentation. The defaults are the paper's (Yalcinkaya et al. 2024, Appendix A, and Methods).

    The paper names additive noise, contrast and coil-sensitivity modulation without figures; ours are stated here.

    Raises:
        SettingsError: a range the wrong way round, a probability outside [0, 1], a factor that is not positive.
    """

    rotation_deg: float = 60.0
    """Rotation about the slice's centre, uniform in +- this [degrees]."""
    shear_deg: float = 10.0
    """Shear angle, uniform in +- this [degrees]."""
    translation_px: float = 2.0
    """Translation along rows and columns, uniform in +- this [pixels]."""
    scale: tuple[float, float] = (0.8, 1.2)
    """Uniform scaling; above 1 enlarges the heart."""
    flat_field_p: float = 0.5
    """Probability of a flat-field correction (MATLAB's `imflatfield`)."""
    flat_field_sigma_px: tuple[float, float] = (0.0, 5.0)
    """Standard deviation of the Gaussian that estimates the shading [pixels]."""
    gamma_p: float = 0.5
    """Probability of a gamma correction."""
    gamma: tuple[float, float] = (0.5, 1.5)
    """Exponent of the gamma correction."""
    contrast: tuple[float, float] = (0.7, 1.3)
    """Factor on all intensities; results above 1 are kept, as a curve cut off at 1 would look like saturation."""
    noise_sd: tuple[float, float] = (0.0, 0.02)
    """Standard deviation of additive Gaussian noise, in units of the [0, 1] intensity range."""
    coil_log_range: float = 0.5
    """Largest |log gain| of the coil-sensitivity map over the slice; 0 leaves the slice alone."""

    def __post_init__(self) -> None:
        for name in ("scale", "flat_field_sigma_px", "gamma", "contrast", "noise_sd"):
            low, high = getattr(self, name)
            least = 0.0 if name in ("flat_field_sigma_px", "noise_sd") else 1e-3
            if not least <= low <= high < float("inf"):
                raise SettingsError("augmentation", f"{name} must rise from at least {least:g}", f"{low} to {high}")
        for name in ("flat_field_p", "gamma_p"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SettingsError("augmentation", f"{name} is a probability from 0 to 1", repr(getattr(self, name)))
        for name, most in (
            ("rotation_deg", 180.0),
            ("shear_deg", 60.0),
            ("translation_px", 64.0),
            ("coil_log_range", 3.0),
        ):
            if not 0.0 <= getattr(self, name) <= most:
                raise SettingsError("augmentation", f"{name} must lie from 0 to {most:g}", repr(getattr(self, name)))
