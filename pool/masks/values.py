"""Which stored value of a mask is which class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pool.errors import MaskError, SettingsError
from pool.shapes import BACKGROUND, BLOOD_POOL, CLASS_NAMES, MYOCARDIUM

_OPTION_NAMES = {name.replace(" ", "-"): number for number, name in enumerate(CLASS_NAMES)}
_MOST_VALUES_SHOWN = 5


@dataclass(frozen=True)
class MaskValues:
    """Class of every value that a mask may hold beside 0, which is background.

    Raises:
        SettingsError: no value for the myocardium, or 0 as something else than background.
    """

    class_of: Mapping[int, int]
    """`pool.shapes` class by stored value."""

    def __post_init__(self) -> None:
        if MYOCARDIUM not in self.class_of.values():
            raise SettingsError("labels", "must say which value is myocardium", "none", "Say, e.g., myocardium=1.")
        if self.class_of.get(0, BACKGROUND) != BACKGROUND:
            raise SettingsError("labels", "0 is background", f"0 as {CLASS_NAMES[self.class_of[0]]}")

    @classmethod
    def parse(cls, text: str) -> MaskValues:
        """From `myocardium=1,blood-pool=2+3,background=4`: several values may be one class.

        Raises:
            SettingsError: another form, an unknown class, or a value twice.
        """
        class_of: dict[int, int] = {}
        for part in text.split(","):
            name, _, values = part.strip().partition("=")
            if name not in _OPTION_NAMES or not re.fullmatch(r"\d{1,6}(\+\d{1,6})*", values):
                raise SettingsError(
                    "labels",
                    f"must be class=value pairs of {', '.join(_OPTION_NAMES)}",
                    repr(part.strip()),
                    "For example myocardium=1,blood-pool=2+3.",
                )
            for value in map(int, values.split("+")):
                if value in class_of:
                    raise SettingsError("labels", "a value may have one class", f"{value} twice")
                class_of[value] = _OPTION_NAMES[name]
        return cls(class_of)

    def to_classes(self, values: np.ndarray, subject: str) -> np.ndarray:
        """Classes of stored values, uint8.

        Args:
            values: whole numbers of any shape, possibly stored as floating point.
            subject: the mask, in words.

        Raises:
            MaskError: numbers that are not whole, or a value that nobody declared.
        """
        found = np.unique(values)
        if not np.isfinite(found).all() or (found != np.round(found)).any():
            raise MaskError(
                subject, "values must be whole numbers", "fractions", "Save the labels, not a smoothed map."
            )
        declared = {0: BACKGROUND, **self.class_of}
        unknown = [int(value) for value in found if int(value) not in declared]
        if unknown:
            listed = ", ".join(map(str, unknown[:_MOST_VALUES_SHOWN]))
            raise MaskError(
                subject,
                f"values must be declared: {', '.join(map(str, sorted(declared)))} are",
                listed
                + (f" and {len(unknown) - _MOST_VALUES_SHOWN} more" if len(unknown) > _MOST_VALUES_SHOWN else ""),
                "Declare them, e.g. --labels myocardium=1,blood-pool=2+3,background=4.",
            )
        classes = np.zeros(values.shape, dtype=np.uint8)
        for value, number in declared.items():
            classes[values == value] = number
        return classes


DRAWN_VALUES = MaskValues({1: MYOCARDIUM, 2: BLOOD_POOL})
"""What is assumed of drawn masks (ITK-SNAP's first two labels) unless declared otherwise."""
PUBLISHED_VALUES = MaskValues({1: MYOCARDIUM, 3: BLOOD_POOL})
"""Of `final_mask` in the `.mat` files published with the DAUGS paper: 3 is the LV blood pool."""
