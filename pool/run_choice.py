"""Which run of a study is analysed, where a study holds several, and what its series are, where they do not say so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pool.errors import SettingsError

MOST_PROTON_DENSITY = 10
"""Most proton-density frames before a first pass; scanners take two or three."""


class Role(StrEnum):
    """What a series of an examination is."""

    STRESS = "stress"
    REST = "rest"
    PERFUSION = "perfusion"
    """A first pass of which nobody says whether it is stress or rest."""
    AIF = "aif"
    """The low-resolution twin that measures the arterial input."""
    PROTON_DENSITY = "proton-density"
    LOCALISER = "localiser"
    OTHER = "other"
    CONTROL = "control"
    """Control images of arterial spin labelling."""
    LABELLED = "labelled"
    """Labelled images of arterial spin labelling."""
    BASELINE = "baseline"
    """The image of an ASL study that was taken without inversion."""


RUN_ROLES = (Role.STRESS, Role.REST, Role.PERFUSION)
"""Roles that are analysed as first passes."""
ASL_ROLES = (Role.CONTROL, Role.LABELLED, Role.BASELINE)
"""Roles of the images of an ASL study."""


@dataclass(frozen=True)
class RunChoice:
    """What the user, or a program on the user's behalf, says about a study.

    Raises:
        SettingsError: a run that is neither stress nor rest, or an impossible number of frames.
    """

    run: str = ""
    """`stress` or `rest`; empty where the study holds one run, or for the only one."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Role by series number, against whatever the headers say."""
    original: bool = False
    """True for the original images where a motion-corrected twin is there too; by default the twin is taken."""
    n_proton_density: int | None = None
    """How many frames that lead every slice are proton-density frames; None finds out."""
    series_uids: tuple[str, ...] = ()
    """Only these series are looked at; empty for all."""
    pair_starts_with: str = ""
    """`control` or `labelled`: which image leads every pair of an ASL series that names none; empty finds out."""

    def __post_init__(self) -> None:
        if self.run not in ("", Role.STRESS, Role.REST):
            raise SettingsError("run", "must be stress or rest", repr(self.run))
        if self.pair_starts_with not in ("", Role.CONTROL, Role.LABELLED):
            raise SettingsError("first image of a pair", "must be control or labelled", repr(self.pair_starts_with))
        if self.n_proton_density is not None and not 0 <= self.n_proton_density <= MOST_PROTON_DENSITY:
            raise SettingsError(
                "proton-density frames", f"must be from 0 to {MOST_PROTON_DENSITY}", str(self.n_proton_density)
            )

    @staticmethod
    def parse_roles(text: str) -> dict[str, Role]:
        """From `12=stress,13=aif`.

        Raises:
            SettingsError: another form, an unknown role, or a series twice.
        """
        roles: dict[str, Role] = {}
        for part in filter(None, text.split(",")):
            number, _, name = part.strip().partition("=")
            if not re.fullmatch(r"\d{1,12}", number) or name not in list(Role) or number in roles:
                raise SettingsError(
                    "series", f"must be number=role pairs, each once, of {', '.join(Role)}", repr(part.strip())
                )
            roles[number] = Role(name)
        return roles
