"""A callback of Ray Tune that lives in the driver's process and outlives a resume."""

from __future__ import annotations

from collections.abc import Callable

from ray import tune as ray_tune


class LiveCallback(ray_tune.Callback):
    """Tune pickles callbacks with the experiment; a restored one is the callback of the process that restores."""

    current: LiveCallback | None = None

    def __init__(self) -> None:
        LiveCallback.current = self

    def __reduce__(self) -> tuple[Callable[[], LiveCallback | None], tuple[()]]:
        """Stands for whatever callback the restoring process has made."""
        return _current_callback, ()


def _current_callback() -> LiveCallback | None:
    return LiveCallback.current
