"""Every error the product raises on purpose.

    PoolError                     anything below; `except PoolError` is the outermost net of a command line
    |-- SettingsError             a parameter that makes no sense
    |-- OutputError               results cannot be put where they were asked for
    |-- MaskError                 a drawn mask that cannot be read or does not fit its study
    |-- PoolFolderError           a pool folder that is missing, incomplete or not what its manifest says
    |   `-- WeightsHashError      weights whose SHA-256 is not the one in the manifest
    `-- StudyError                a study that cannot be analysed; over HTTP these are 4xx
        |-- EmptyStudyError       nothing was sent
        |-- UnsupportedFileError  a file type that is not read
        |-- UnreadableFileError   a file that is broken, truncated or not what it claims to be
        |-- InconsistentStudyError  files that contradict each other (two patients, unequal frame counts, ...)
        |-- TooFewFramesError     a series too short to show a first pass
        |-- NonFiniteError        NaN or infinite pixels or times
        `-- HeartNotFoundError    a slice in which no heart could be located

An error names the subject, the rule, what was found and the remedy. `tune.errors` and `serve.errors` hang theirs under
the same root: training that failed; requests, studies and services over HTTP. No error text holds a patient's name,
identifier or dates: subjects are slices, files by their position or base name, and members by their id.
"""

from __future__ import annotations


class PoolError(Exception):
    """Subject, rule, found value and remedy, as fields and as one sentence.

    Args:
        subject: what is at fault, for example ``slice 2``.
        rule: what must hold, as a full clause.
        found: the offending value; empty where the rule says it all.
        remedy: what the user can do about it.
    """

    def __init__(self, subject: str, rule: str, found: str = "", remedy: str = "") -> None:
        self.subject, self.rule, self.found, self.remedy = subject, rule, found, remedy
        text = f"{subject}: {rule}"
        if found:
            text += f"; found {found}"
        text += "."
        if remedy:
            text += f" {remedy}"
        super().__init__(text)

    def __reduce__(self) -> tuple[type[PoolError], tuple[str, str, str, str]]:
        """Survive pickling: Ray carries errors between processes."""
        return type(self), (self.subject, self.rule, self.found, self.remedy)

    def to_dict(self) -> dict[str, str]:
        """The error as JSON-ready fields, the body of every HTTP refusal."""
        return {
            "error": type(self).__name__,
            "message": str(self),
            "subject": self.subject,
            "rule": self.rule,
            "found": self.found,
            "remedy": self.remedy,
        }


class SettingsError(PoolError):
    """A parameter that makes no sense."""


class OutputError(PoolError):
    """Results cannot be put where they were asked for."""


class MaskError(PoolError):
    """A drawn mask that cannot be read or does not fit its study."""


class PoolFolderError(PoolError):
    """A pool folder that is missing, incomplete or not what its manifest says."""


class WeightsHashError(PoolFolderError):
    """Weights whose SHA-256 is not the one in the manifest."""


class StudyError(PoolError):
    """A study that cannot be analysed."""


class EmptyStudyError(StudyError):
    """Nothing was sent."""


class UnsupportedFileError(StudyError):
    """A file type that is not read."""


class UnreadableFileError(StudyError):
    """A file that is broken, truncated or not what it claims to be."""


class InconsistentStudyError(StudyError):
    """Files that contradict each other."""


class TooFewFramesError(StudyError):
    """A series too short to show a first pass."""


class NonFiniteError(StudyError):
    """NaN or infinite pixels or times."""


class HeartNotFoundError(StudyError):
    """A slice in which no heart could be located."""
