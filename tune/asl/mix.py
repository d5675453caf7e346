"""A mixed pool: members of several pools in one folder, each calibrated on images that none of them was trained on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pool.asl.analysis import mean_control
from pool.calibration import FEWEST_IMAGES, Calibration
from pool.errors import OutputError, SettingsError
from pool.evaluation.overlap import dice
from pool.manifest import PoolManifest, save_manifest, verify_pool
from pool.member import Member
from pool.networks import PATCH_KIND
from pool.phantom.asl import AslStudy
from pool.shapes import MYOCARDIUM
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials
from pool.trials.samplers import Sampler, sampler_of
from pool.trials.settings import TrialSettings
from tune.assemble import refuse_used_folder, software

SCORE = "mcd_uncertainty"
"""What members of trials are calibrated by."""


def mix_pools(
    folders: Sequence[Path],
    out_dir: Path,
    studies: Sequence[AslStudy],
    trials: TrialSettings,
    name: str = "asl-mixed",
    device: str = "cpu",
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> PoolManifest:
    """Write all members of some pools as one pool, with calibrations learned on studies of known truth.

    Members that sweep patches are taken as they are: ASL images are nothing to them. A member's id becomes `POOL-ID`,
    POOL being its pool's name, as two pools may know the same id. The curve of a member of trials is from its MCD
    Uncertainty to Dice, over the mean control image of every study, the one that an analysis outlines; images without
    an outline have no score and are left out.

    Args:
        folders: of the pools.
        out_dir: new or empty.
        studies: that no member was trained on.
        trials: of every image; an analysis must make as many.
        name: of the mixed pool.
        device: torch's.
        on_progress: called with images done and in all.

    Raises:
        SettingsError: no pools, none with members of trials, or too few images with an outline.
        PoolFolderError: a pool that is not what its manifest says, or two members that would have one id.
        OutputError: `out_dir` is in use.
    """
    refuse_used_folder(out_dir, may_be_cut_short=False)
    pools = [(folder, PoolManifest.load(folder)) for folder in folders]
    found = [
        (folder, entry, replace(entry, id=f"{manifest.name}-{entry.id}"))
        for folder, manifest in pools
        for entry in manifest.members
    ]
    if not found or len(studies) < FEWEST_IMAGES:
        rule = f"needs at least one pool, and {FEWEST_IMAGES} studies to learn from"
        raise SettingsError("mixed pool", rule, f"{len(pools)} pools, {len(studies)} studies")
    mixed = PoolManifest(
        name, tuple(renamed for _, _, renamed in found)
    )  # refuses ids that clash, before minutes of work
    mixed.require_trials()
    data_sha256, n_calibrated = _sha256(studies), 0
    members = []
    for folder, entry, renamed in found:
        if entry.network.kind == PATCH_KIND:
            members.append(renamed)
            continue
        sampler = sampler_of(Member.load(folder, entry, device).network)

        def count(n_done: int, before: int = n_calibrated * len(studies)) -> None:
            on_progress(before + n_done, len(studies) * len(mixed.of_trials))

        n_calibrated += 1
        members.append(replace(renamed, calibration=_calibrated(sampler, studies, trials, data_sha256, count)))
    provenance = {
        "software": software(),
        "pools": {manifest.name: manifest.sha256() for _, manifest in pools},
        "calibrated_on": data_sha256,
        "trials": trials.to_dict(),
    }
    manifest = PoolManifest(name, tuple(members), provenance)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for folder, entry, renamed in found:
            shutil.copyfile(folder / entry.weights_name, out_dir / renamed.weights_name)
        save_manifest(out_dir, manifest)
    except OSError as error:
        raise OutputError(f"pool folder {out_dir.name}", "must be writable", error.strerror or str(error)) from error
    return verify_pool(out_dir)


def _calibrated(
    sampler: Sampler,
    studies: Sequence[AslStudy],
    trials: TrialSettings,
    data_sha256: str,
    on_study: Callable[[int], None],
) -> Calibration:
    """What a member's score means on these studies."""
    scores, dices = [], []
    for number, study in enumerate(studies, 1):
        sums = run_trials(sampler, mean_control(study.control), trials)
        assert sums is not None  # only `keep_going` makes it None
        maps = TrialMaps.of(sums)
        if maps.mcd_uncertainty is not None:
            scores.append(maps.mcd_uncertainty)
            dices.append(dice(maps.mask, study.labels == MYOCARDIUM))
        on_study(number)
    return Calibration.learn(SCORE, scores, dices, data_sha256, trials.n_trials)


def _sha256(studies: Sequence[AslStudy]) -> str:
    digest = hashlib.sha256()
    for study in studies:
        digest.update(study.control.tobytes() + study.labels.tobytes())
    return digest.hexdigest()
