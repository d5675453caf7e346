"""One call from a labelled set to a table of configurations: trials, ranking, files, MLflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pool.errors import OutputError, SettingsError
from tune.cluster import running_ray
from tune.errors import TrainingError
from tune.nodes import refuse_unshared
from tune.record import differing_fields
from tune.resources import Resources
from tune.samples import Samples
from tune.search_outcome import RankedConfiguration, TrialOutcome, rank
from tune.search_space import SearchSettings
from tune.search_table import RESULT_NAME, write_search
from tune.search_tracking import SearchTracking
from tune.storage import Storage, refuse_unwritable
from tune.suitable import refuse_unsuitable

STARTED_NAME = "search-started.json"
"""What the trials were started with, inside the folder of the search."""
TRIALS_FOLDER = "trials"
"""Where Ray Tune keeps the trials, inside the folder of the search, until they have all ended."""
_PARENT_RUN = "mlflow-parent-run.txt"


def run_search(
    search: SearchSettings,
    data: Path,
    out_dir: Path,
    tracking_uri: str | None = None,
    on_trial: Callable[[TrialOutcome, bool], None] | None = None,
    resources: Resources | None = None,
    name: str = "search",
    resume: bool = False,
) -> tuple[RankedConfiguration, ...]:
    """Train every configuration, stop the bad ones early, rank all by validation Dice, and write what was found.

    Which trials are stopped depends on which come to a check first, so on how fast they run; the Dice of an epoch
    does not.

    Args:
        search: what is tried.
        data: folder of a labelled set.
        out_dir: new or empty, or that of the search to resume; on a cluster, at the same path on every node.
        tracking_uri: MLflow's; None tracks nothing.
        on_trial: called in this process with every trial that has ended an epoch, or (True) ended.
        resources: of one trial, and the cluster's address.
        name: of the search's parent run.
        resume: continue the search that `out_dir` holds.

    Returns:
        The configurations, best first.

    Raises:
        SettingsError: a configuration that the set cannot give, more resources than the cluster has, or a resume of
            another search.
        PoolError: the labelled set is not what its manifest says.
        OutputError: `out_dir` is in use, or cannot be written.
        TrainingError: every configuration failed.
        KeyboardInterrupt: Ctrl-C; what was trained stays in `out_dir`, so that it can be resumed.
    """
    resources = resources or Resources()
    refuse_unusable_folder(out_dir, resume)
    samples = Samples.open(data, verify=True)
    search = replace(search, base=samples.settings_for_classes(search.base))
    for configuration in search.configurations():
        recipe = search.trial_settings(configuration)
        refuse_unsuitable(samples, samples.split(recipe), recipe)
    folder = Storage.at(out_dir)
    record = {
        "search": search.to_dict(),
        "data": str(data.resolve()),
        "data_sha256": samples.data_sha256,
        "resources": {key: value for key, value in asdict(resources).items() if key != "address"},
    }
    if resume:
        _refuse_another_search(folder, record)
    with running_ray(resources), SearchTracking(tracking_uri) as tracking:
        refuse_unshared(resources, {f"labelled set {data.name}": data.resolve()}, folder)
        folder.write_text(STARTED_NAME, json.dumps(record, indent=1) + "\n")
        run_id = folder.read_text(_PARENT_RUN) if resume and folder.exists(_PARENT_RUN) else None
        tracking.start(name, search, samples.data_sha256, run_id)
        if tracking.run_id is not None:
            folder.write_text(_PARENT_RUN, tracking.run_id)

        def on_change(trial: TrialOutcome, ended: bool) -> None:
            tracking.log_trial(trial, ended)
            if on_trial is not None:
                on_trial(trial, ended)

        from tune.search_trials import run_search_trials

        outcomes = run_search_trials(search, data, folder.folder(TRIALS_FOLDER), resources, on_change, resume)
        for outcome in outcomes:
            if outcome.failure is not None:
                tracking.log_trial(outcome, True)
        ranked = rank(outcomes)
        if ranked[0].failure is not None:
            remedy = "Mend that, or try other configurations, in another folder."
            raise TrainingError("search", "needs one configuration that can be trained", ranked[0].failure, remedy)
        tracking.log_best(ranked[0])
    write_search(out_dir, search, ranked, samples.data_sha256)
    shutil.rmtree(out_dir / TRIALS_FOLDER)  # a network and its optimiser a trial, of no use to a finished search
    return ranked


def refuse_unusable_folder(out_dir: Path, resume: bool) -> None:
    """Refuse a folder that a search could not use.

    Raises:
        OutputError: in use, a file, or a folder that cannot be written or would not outlive a submitted job.
        SettingsError: nothing to resume in it.
    """
    subject = f"search folder {out_dir.name}"
    refuse_unwritable(subject, out_dir)
    if (out_dir / RESULT_NAME).exists():
        remedy = "Read its table, or name another folder."
        raise OutputError(subject, "must not hold a finished search", RESULT_NAME, remedy)
    if resume and not (out_dir / STARTED_NAME).is_file():
        remedy = "Name the folder it was started with, or start a new one."
        raise SettingsError(subject, "must hold the search to resume", f"no {STARTED_NAME}", remedy)
    if not resume and out_dir.is_dir() and any(out_dir.iterdir()):
        found = "a search" if (out_dir / STARTED_NAME).exists() else "other files"
        raise OutputError(subject, "must be new or empty", found, "Resume it with --resume, or name another folder.")


def _refuse_another_search(folder: Storage, record: dict[str, Any]) -> None:
    """Ray would go on with what the search was started with, unasked."""
    differing = differing_fields(folder, STARTED_NAME, record, f"search folder {folder.name}", "search")
    rows = [f"{key} {asked} instead of {stored}" for key, (asked, stored) in differing.items()]
    if rows:
        remedy = "Give what it was started with, or start another one in another folder."
        raise SettingsError("search", "can be resumed only as it was started", ", ".join(rows), remedy)
