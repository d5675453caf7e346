"""What the service costs: the same study through HTTP and in one process, on as many threads, in turn."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deploy.trials.nodes import free_ports
from deploy.trials.one_service import OneService
from pool.analysis import AnalysisSettings, analyse
from pool.errors import SettingsError
from pool.inputs import open_study
from pool.manifest import PoolManifest, save_manifest
from pool.member import PRETRAINED, Pool
from pool.phantom.presets import get_preset
from pool.phantom.study import make_study
from pool.phantom.study_files import write_npz
from pool.results import write_results
from serve.client import ServiceClient
from serve.settings import ServiceSettings
from serve.store.records import StudyState

MOST_RATIO = 1.10
"""Of the service's time to that of one process."""
POLL_S = 0.1


def measure_overhead(
    folder: Path, n_members: int, n_shards: int, n_rounds: int, stride_px: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Time both ways with `n_shards` threads each: shards of one thread, and one process of as many.

    Every round has a study of its own, because the service recognises one that it knows; who goes first alternates.
    The service's time is from the first byte of the upload until it says that the study is done, polled ten times a
    second; that of one process from opening the same file until all results are on disk.

    Args:
        folder: to work in.
        n_members: the first of the pool that ships.
        n_shards: shards of the service, and threads of the one process.
        n_rounds: studies.
        stride_px: of the U-map.
        say: takes a line a round.

    Raises:
        SettingsError: fewer members than shards.
    """
    if n_members < n_shards:
        raise SettingsError("overhead", "needs at least one member a shard", f"{n_members} for {n_shards}")
    cut_pool(folder / "pool", n_members)
    settings = ServiceSettings(
        pool_dir=folder / "pool",
        studies_dir=folder / "studies",
        n_shards=n_shards,
        stride_px=stride_px,
        port=free_ports(1)[0],
    )
    pool = Pool.load(folder / "pool")
    in_one = replace(settings.analysis, n_threads=n_shards)
    rounds: list[dict[str, float]] = []
    with OneService(settings, folder / "serve.log") as service, ServiceClient(service.url) as client:
        for number in range(n_rounds + 1):  # the first one warms up both and does not count
            study = write_npz(make_study(get_preset("exD-1"), seed=100 + number), folder / f"{number}.npz")
            ways: list[tuple[str, Callable[[], float]]] = [
                ("service_s", lambda study=study: _through_http(client, study)),  # type: ignore[misc]
                ("one_process_s", lambda study=study: _in_one_process(study, pool, in_one, folder)),  # type: ignore[misc]
            ]
            times = {name: way() for name, way in (ways if number % 2 else reversed(ways))}
            if number:
                rounds.append(times)
                say(f"round {number}: service {times['service_s']:.1f} s, one process {times['one_process_s']:.1f} s")
    ratios = [times["service_s"] / times["one_process_s"] for times in rounds]
    return {
        "n_members": n_members,
        "n_shards": n_shards,
        "stride_px": stride_px,
        "rounds": rounds,
        "ratio_median": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_greatest": max(ratios),
        "most_ratio": MOST_RATIO,
        "holds": statistics.median(ratios) <= MOST_RATIO,
    }


def cut_pool(folder: Path, n_members: int) -> PoolManifest:
    """The first members of the pool that ships, as a pool."""
    whole = PoolManifest.load(PRETRAINED)
    manifest = replace(whole, name=f"{whole.name}-{n_members}", members=whole.members[:n_members])
    folder.mkdir(parents=True)
    for entry in manifest.members:
        shutil.copy(PRETRAINED / f"{entry.id}.safetensors", folder)
    save_manifest(folder, manifest)
    return manifest


def _through_http(client: ServiceClient, study: Path) -> float:
    started_s = time.monotonic()
    sent = client.send(study)
    while (view := client.get(sent.id)).state is not StudyState.DONE:
        if view.state.is_final:
            raise RuntimeError(f"the study ended as {view.state}: {view.reason}")
        time.sleep(POLL_S)
    return time.monotonic() - started_s


def _in_one_process(study: Path, pool: Pool, settings: AnalysisSettings, folder: Path) -> float:
    before = torch.get_num_threads()
    started_s = time.monotonic()
    opened = open_study(study)
    write_results(analyse(opened.series, pool, settings), folder / "in-one", opened.dicom)
    took_s = time.monotonic() - started_s
    torch.set_num_threads(before)
    return took_s
