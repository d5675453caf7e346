"""The MLflow seam. Everything is written to a durable journal first and sent from there, in order, by one thread.

recorder   what a training logs: a parent run a pool, a run a seed, a run a checkpoint
entries    what is logged, as values
journal    the values on disk, and the files that go with them
sender     from the journal to the store; sending twice changes nothing
delivery   the thread that sends while training goes on
registry   a pool as a version of a registered model
facts      code and library versions
overlays   every member's contours on validation slices

MLflow is a witness, never a condition: where it cannot be reached, training goes on and its log is sent later.
"""

from tune.tracking.recorder import EXPERIMENT, LOG_FOLDER, Tracking, save_unsent_log

__all__ = ["EXPERIMENT", "LOG_FOLDER", "Tracking", "save_unsent_log"]
