"""`python -m serve batch DIR --out DIR`."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from pool.manifest import verify_pool
from pool.member import PRETRAINED
from pool.progress import ProgressBar
from serve.batch.cohort import CohortStudy, find_studies, fingerprint, with_pseudonyms
from serve.batch.ledger import Ledger
from serve.batch.rows import Row, row_of_failure
from serve.batch.run import Workers, ray_at, run_studies
from serve.batch.settings import BatchSettings
from serve.batch.table import write_table
from serve.command_line import complain, refusals_in_words, say
from serve.settings import ServiceSettings

EXIT_SOME_FAILED, EXIT_INTERRUPTED = 3, 130
NOT_ENDED = "not analysed: its worker or its volume was lost; run the same command again"


def batch(
    cohort: Annotated[Path, typer.Argument(help="Folder of studies: DICOM folders or zips, .npz, .mat, NIfTI.")],
    out: Annotated[Path, typer.Option(help="Folder for the results: new, empty or of an earlier run.")],
    pool: Annotated[
        str, typer.Option(help="Folder with manifest.json and weights, models:/NAME@ALIAS or models:/NAME/3.")
    ] = str(PRETRAINED),
    mlflow: Annotated[str | None, typer.Option(help="MLflow registry that knows models:/...")] = None,
    rule: Annotated[str, typer.Option(help="Selection rule.")] = "min-u_pp",
    depth: Annotated[int, typer.Option(help="Levels of folders to the studies: 2 for sites, then patients.")] = 1,
    address: Annotated[str | None, typer.Option(help="Head node of a Ray cluster (default: this machine).")] = None,
    workers: Annotated[int | None, typer.Option(help="Most studies at once (default: as many as fit).")] = None,
    threads: Annotated[int, typer.Option(help="Torch threads, and CPUs, of a worker.")] = 1,
    gpus: Annotated[float, typer.Option(help="GPUs of a worker, or the part of one.")] = 0.0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Analyse failed studies again.")] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit code 0 also where studies failed.")] = False,
    stall_minutes: Annotated[float, typer.Option(help="End the run if no study ends for so long.", min=1)] = 120.0,
) -> None:
    """Analyse a cohort with Ray Data, each study as `python -m pool analyse` does. Run it again to go on.

    Exit code 0: all done; 3: some failed, each with its reason in the table; 130: interrupted, run it again.
    """
    with refusals_in_words():
        share = Workers(float(threads), gpus, workers)
        service = ServiceSettings(
            pool_dir=pool, mlflow_uri=mlflow, rule=rule, threads_per_shard=threads, gpus_per_shard=gpus
        ).with_local_pool()
        manifest = verify_pool(service.pool_dir)
        manifest.require_patches()
        settings = BatchSettings.of(out.expanduser().resolve(), service.pool_dir, manifest, service.analysis)
        cohort = cohort.expanduser().resolve()
        places = find_studies(cohort, depth)
        settings.claim_folder()
        settings.studies_dir.mkdir(exist_ok=True)
        studies = with_pseudonyms(cohort, places, settings.out_dir)
        ledger = Ledger(settings.ledger_dir)
        with ProgressBar("what has ended already"):
            left = [study for study in studies if _is_to_do(study, ledger, retry_failed)]
        for study in left:
            ledger.forget(study.id)
        n_kept = len(studies) - len(left)
        say.print(f"{len(studies)} studies, {n_kept} of them analysed before", highlight=False)
        interrupted = False
        try:
            _run(left, n_kept, settings, share, address, stall_minutes * 60)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            n_failed = _conclude(studies, ledger, settings, interrupted)
    if interrupted:
        say.print("interrupted; the same command goes on from here")
        raise typer.Exit(EXIT_INTERRUPTED)
    if n_failed and not exit_zero:
        raise typer.Exit(EXIT_SOME_FAILED)


def _run(
    left: Sequence[CohortStudy],
    n_kept: int,
    settings: BatchSettings,
    share: Workers,
    address: str | None,
    stall_deadline_s: float,
) -> None:
    if not left:
        return
    with ray_at(address), _sigterm_as_ctrl_c(), ProgressBar("studies") as bar:  # in this order: Ray sets its own
        n_ended = n_kept
        bar(n_ended, n_kept + len(left))

        def on_end(_study_id: str) -> None:
            nonlocal n_ended
            n_ended += 1
            bar(n_ended, n_kept + len(left))

        run_studies(left, settings, share, stall_deadline_s, on_end)


def _is_to_do(study: CohortStudy, ledger: Ledger, retry_failed: bool) -> bool:
    entry = ledger.read(study.id)
    return entry is None or entry.fingerprint != fingerprint(study.path) or (retry_failed and bool(entry.failure))


def _conclude(studies: Sequence[CohortStudy], ledger: Ledger, settings: BatchSettings, interrupted: bool) -> int:
    """Write the table of what has ended and say what failed; returns how many did."""
    entries = {study.id: ledger.read(study.id) for study in studies}
    failed = {study_id: entry.failure for study_id, entry in entries.items() if entry and entry.failure}
    rows = [row for entry in entries.values() if entry for row in entry.rows]
    if not interrupted:  # a study that had its turn without an end is a row too, though not for good
        missing = [study_id for study_id, entry in entries.items() if entry is None]
        rows += [row_of_failure(study_id, NOT_ENDED, settings) for study_id in missing]
        failed.update(dict.fromkeys(missing, NOT_ENDED))
    rows.sort(key=_study_of)  # stable: slices keep their order
    paths = write_table(rows, settings.out_dir)
    for study_id, reason in sorted(failed.items()):
        complain.print(f"{study_id} failed: {reason}", markup=False, highlight=False, soft_wrap=True)
    n_ended = sum(entry is not None for entry in entries.values())
    say.print(
        f"{n_ended} of {len(studies)} studies ended, {len(failed)} failed; wrote {' and '.join(p.name for p in paths)}",
        highlight=False,
    )
    return len(failed)


def _study_of(row: Row) -> str:
    return str(row["study"])


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """What a scheduler sends ends a run as Ctrl-C does: with the table of what is done."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
