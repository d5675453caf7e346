"""What a training logs: one parent run a pool, under it a run a seed with its curves and a run a checkpoint.

Members are the checkpoints tagged `member` = `true`, and they alone carry weights and an overlay.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from pool.manifest import MANIFEST_NAME, PoolManifest
from pool.networks import NetworkSpec
from tune.assemble import Candidate
from tune.recipe import Recipe
from tune.tracking.compose import POOL, checkpoint_run, epoch_done, points_of, seed_run, training_started
from tune.tracking.delivery import Delivery
from tune.tracking.entries import Entry, FileLogged, PoolRegistered, RunLogged, RunStatus, RunTagged
from tune.tracking.history import History
from tune.tracking.journal import Journal
from tune.tracking.registry import POOL_TAG, RegistryName
from tune.tracking.sender import Sender
from tune.training import EpochReport

EXPERIMENT = "perfusion-pool"
LOG_FOLDER = "mlflow-log"
"""The journal's folder, inside the storage folder."""
MOST_TAG_CHARACTERS = 5000
_log = logging.getLogger("tune.tracking")


class Tracking:
    """Logs a pool's training; nothing that goes wrong with it stops the training.

    A context manager: leaving it ends all runs that are open, as `FAILED` with the reason if by an error, Ctrl-C
    included, and sends what is left.

    Args:
        uri: tracking URI, for example `sqlite:////abs/path/mlflow.db` or `http://host:5000`; None logs nothing.
        folder: of the journal; one that an earlier training left is continued.
        experiment: name of MLflow's experiment, made if it does not exist.
        now_ms: the time [ms since 1970].
    """

    def __init__(
        self,
        uri: str | None,
        folder: Path,
        experiment: str = EXPERIMENT,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._now_ms, self._folder = now_ms, folder
        self._journal: Journal | None = None
        self._warned = False
        if uri is None:
            return
        with self._harmless():
            journal = Journal(folder)
            self._history = History(journal.entries)
            self._sender = Sender(journal, uri, experiment)
            self._delivery = Delivery(self._sender)
            self._journal = journal

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal is None:
            return
        status = "FINISHED" if error is None else "FAILED"
        entries: list[Entry] = [RunStatus(run, status, self._now_ms()) for run in self._history.open_runs]
        if error is not None and POOL in self._history.open_runs:
            reason = f"{type(error).__name__}: {error}"
            entries.insert(0, RunTagged(POOL, {"failure": reason[:MOST_TAG_CHARACTERS]}))
        self._append(*entries)
        try:
            self._delivery.finish()
        finally:
            self._journal.close()
        if self._sender.n_left:
            text = (
                "%d entries of the training's log still wait for MLflow, in %s: `python -m tune send-logs` sends them."
            )
            _log.warning(text, self._sender.n_left, self._folder)

    @property
    def n_unsent(self) -> int:
        """Entries that MLflow has not taken yet."""
        return self._sender.n_left if self._journal is not None else 0

    def start(self, name: str, settings: Recipe, data_sha256: str, start_sha256: str | None = None) -> None:
        """Begin the parent run and a run a seed, or go on with those of the training that is resumed.

        Args:
            name: of the pool.
            settings: become parameters of the parent run.
            data_sha256: hash of the labelled set, a tag.
            start_sha256: hash of the pool that weights come from, a tag if there is one.
        """
        if self._journal is None:
            return
        if POOL in self._history.runs:
            self._append(*self._resumed(settings))
        else:
            self._append(*training_started(name, settings, data_sha256, start_sha256, self._now_ms()))

    def log_epoch(self, report: EpochReport) -> None:
        """A point of the seed's curves; an epoch that is trained again after a resume is the same point."""
        if self._journal is None or (report.seed, report.epoch) in self._history.epoch_times_ms:
            return
        self._append(epoch_done(report, self._now_ms()))

    def log_checkpoints(self, candidates: Sequence[Candidate], network: NetworkSpec) -> None:
        """A finished run a checkpoint, tagged `member` = `false`: its curves up to its own epoch, same names for all.

        Args:
            candidates: all checkpoints of all seeds, those before a resume included; one that has a run keeps it.
            network: of all of them.
        """
        if self._journal is None:
            return
        for run in sorted({seed_run(candidate.report.seed) for candidate in candidates} & {*self._history.open_runs}):
            self._append(RunStatus(run, "FINISHED", self._now_ms()))
        in_order = sorted(candidates, key=lambda c: (c.report.seed, c.report.epoch))
        logged_ms = self._history.epoch_times_ms
        for candidate in in_order:
            seed, epoch = candidate.report.seed, candidate.report.epoch
            if candidate.member_id not in self._history.runs:
                reports = [c.report for c in in_order if c.report.seed == seed and c.report.epoch <= epoch]
                times_ms = {r.epoch: logged_ms.get((seed, r.epoch), self._now_ms()) for r in reports}
                self._append(*checkpoint_run(candidate.member_id, reports, network, times_ms))

    def log_pool(
        self,
        manifest: PoolManifest,
        pool_dir: Path,
        overlays: Iterable[tuple[str, bytes]],
        register: RegistryName | None,
    ) -> None:
        """Weights, overlay and `member` = `true` to the runs of the members, the pool's identity to the parent run.

        Args:
            manifest: of the pool.
            pool_dir: its folder.
            overlays: member id and picture (PNG), made while they are taken.
            register: the registered model that the pool becomes a version of.
        """
        if self._journal is None:
            return
        for member in manifest.members:
            with self._harmless():
                kept = self._journal.keep(pool_dir / member.weights_name, member.weights_name)
                tags: dict[str, str | None] = {"weights_sha256": member.weights_sha256, "member": "true"}
                self._append(FileLogged(member.id, kept, "weights"), RunTagged(member.id, tags))
        for run in sorted(self._history.members - {member.id for member in manifest.members}):
            self._append(RunTagged(run, {"member": "false"}))  # a member of the pool before a resume
        with self._harmless():
            for member_id, png in overlays:
                self._append(FileLogged(member_id, self._journal.keep(png, "overlay.png"), "figures"))
        best = max(member.validation_dice for member in manifest.members)
        values = {"n_members": float(manifest.n_members), "best_validation_dice": best}
        self._append(
            RunLogged(POOL, points=points_of(values, 0, self._now_ms())), RunTagged(POOL, {POOL_TAG: manifest.sha256()})
        )
        if register is not None:
            with self._harmless():
                names = [*(member.weights_name for member in manifest.members), MANIFEST_NAME]
                files = tuple(self._journal.keep(pool_dir / name, name) for name in names)
                self._append(PoolRegistered(POOL, files, register.name, register.alias))

    def move_unsent_log(self, folder: Path) -> None:
        """Save a log that was not sent from a storage folder that is about to be deleted; call after the block's end.

        Args:
            folder: new.
        """
        with self._harmless():
            shutil.move(self._folder, folder / LOG_FOLDER)
            _log.warning("The log was moved to %s, because its storage folder was temporary.", folder)

    def _resumed(self, settings: Recipe) -> list[Entry]:
        now_ms = self._now_ms()
        # MLflow never changes a parameter, and these two may differ from what the runs were started with
        chosen_by = f"n_checkpoints {settings.n_checkpoints}, least_validation_dice {settings.least_validation_dice:g}"
        tags = {"failure": None, "resumed_with": chosen_by, "settings_sha256": settings.sha256()}
        unfinished = [run for run in map(seed_run, settings.seeds) if self._history.statuses.get(run) != "FINISHED"]
        return [*(RunStatus(run, "RUNNING", now_ms) for run in (POOL, *unfinished)), RunTagged(POOL, tags)]

    def _append(self, *entries: Entry) -> None:
        with self._harmless():
            if self._journal is not None and entries:
                self._journal.append(*entries)
                for entry in entries:
                    self._history.add(entry)
                self._delivery.wake()

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self._warned:
                reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
                _log.warning("The training's log for MLflow has a gap (%s); training goes on.", reason)
            self._warned = True


def save_unsent_log(tracking: Tracking, out_dir: Path) -> None:
    """Move what MLflow has not taken from a temporary storage folder to one beside the pool; nothing if it took all.

    Args:
        tracking: whose block has ended.
        out_dir: the pool's folder.
    """
    if tracking.n_unsent:
        folder = Path(tempfile.mkdtemp(prefix=f"{out_dir.name}-unsent-log-", dir=out_dir.resolve().parent))
        tracking.move_unsent_log(folder)
