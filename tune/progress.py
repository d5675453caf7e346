"""How far the training of all seeds has come, and its display: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LINE_EVERY_S = 4.0
"""Time between two plain lines [s]."""


@dataclass(frozen=True)
class SeedProgress:
    """How far one seed has come."""

    seed: int
    n_epochs: int
    epoch: int = 0
    """The epoch it is in, from 1; 0 before its first report."""
    n_steps_done: int = 0
    n_steps: int = 0
    """Steps in all; 0 before the first report."""
    train_loss: float | None = None
    validation_dice: float | None = None
    """Of the last finished epoch."""
    finished: bool = False
    n_reports: int = 0
    share_before: float = 0.0
    """Done before the trials were started, from 0 to 1; above 0 where a training is resumed."""

    @property
    def share(self) -> float:
        """Done, from 0 to 1."""
        if self.finished:
            return 1.0
        return self.n_steps_done / self.n_steps if self.n_steps else 0.0

    def __str__(self) -> str:
        loss = f" loss {self.train_loss:.3f}" if self.train_loss is not None else ""
        dice = f" Dice {self.validation_dice:.3f}" if self.validation_dice is not None else ""
        state = "done" if self.finished else f"epoch {self.epoch}/{self.n_epochs}" if self.epoch else "waiting"
        return f"seed {self.seed}: {state}{loss}{dice}"


@dataclass(frozen=True)
class TrainingProgress:
    """How far all seeds have come."""

    seeds: tuple[SeedProgress, ...]
    elapsed_s: float
    """Since the trials were started [s]."""

    @property
    def share(self) -> float:
        """Done, from 0 to 1."""
        return sum(seed.share for seed in self.seeds) / len(self.seeds)

    @property
    def remaining_s(self) -> float | None:
        """Time left at the pace so far [s]; None before there is a pace."""
        gained = self.share - sum(seed.share_before for seed in self.seeds) / len(self.seeds)
        return self.elapsed_s * (1.0 - self.share) / gained if gained > 0.02 else None


class TrainingDisplay:
    """Context manager; call it with every `TrainingProgress`. Without a terminal it writes a line every 4 s.

    Args:
        console: where to write; default standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._latest: TrainingProgress | None = None
        self._started_s = time.monotonic()
        self._stop = threading.Event()
        self._tasks: dict[int, TaskID] = {}
        self._bars: Progress | None = None
        self._lines: threading.Thread | None = None

    def __enter__(self) -> TrainingDisplay:
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
            )
            self._bars = Progress(*columns, TextColumn("{task.fields[left]}"), console=self.console)
            self._bars.start()
        else:
            self._lines = threading.Thread(target=self._write_lines, daemon=True)
            self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._bars is not None:
            self._bars.stop()
        if self._lines is not None:
            self._lines.join()
            if self._latest is not None:
                self.console.print(self._line(), highlight=False, soft_wrap=True)

    def __call__(self, progress: TrainingProgress) -> None:
        """Take up the latest state."""
        self._latest = progress
        if self._bars is None:
            return
        left = _left(progress.remaining_s)
        for seed in progress.seeds:
            if seed.seed not in self._tasks:
                self._tasks[seed.seed] = self._bars.add_task(str(seed), total=1.0, left=left)
            self._bars.update(self._tasks[seed.seed], description=str(seed), completed=seed.share, left=left)

    def _write_lines(self) -> None:
        while not self._stop.wait(LINE_EVERY_S):
            self.console.print(self._line(), highlight=False, soft_wrap=True)

    def _line(self) -> str:
        elapsed_s = time.monotonic() - self._started_s
        if self._latest is None:
            return f"{elapsed_s:4.0f} s  starting the trials"
        seeds = "   ".join(str(seed) for seed in self._latest.seeds)
        return f"{elapsed_s:4.0f} s  {seeds}   {_left(self._latest.remaining_s)}"


def _left(remaining_s: float | None) -> str:
    return f"{remaining_s:.0f} s left" if remaining_s is not None else ""
