"""A service on a real local Ray goes from pool to pool and from K to K while studies run; numbers stay those of one
process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pool.analysis import analyse
from pool.errors import SettingsError
from pool.inputs import open_study
from pool.manifest import PoolManifest
from pool.member import Pool
from pool.results import maps_npz, members_npz, result_json
from serve.client import ServiceClient
from serve.errors import StudyFailedError
from serve.generations import application_of, basis_of
from serve.http.schemas import StudyView
from serve.local import free_port, running_service
from serve.rolling import roll_to, settings_for_roll
from serve.settings import ServiceSettings
from tests.samples import bolus_series, tiny_pool, write_npz

pytestmark = [pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(1200)]
N_MEMBERS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rolling")
    for name, n_members in (("first", N_MEMBERS), ("second", N_MEMBERS + 1)):
        tiny_pool(folder / name, n_members)
    write_npz(folder / "study.npz", bolus_series(n_slices=1, n_frames=16))
    return folder


@pytest.fixture(scope="module")
def settings(folder: Path) -> ServiceSettings:
    return ServiceSettings(
        pool_dir=folder / "first",
        studies_dir=folder / "studies",
        port=free_port(),
        n_shards=1,
        cpus_per_shard=0.2,
        stride_px=8,
    )


@pytest.fixture(scope="module")
def url(local_ray: None, settings: ServiceSettings) -> Iterator[str]:
    with running_service(settings) as url:
        yield url


def expect_the_bytes_of_one_process(url: str, settings: ServiceSettings, study: Path, out: Path) -> str:
    """Send a study and compare its results; returns its id."""
    with ServiceClient(url, patience_s=600) as client:
        sent = client.send(study)
        client.wait(sent.id, deadline_s=900)
        client.fetch(sent.id, out)
    before = torch.get_num_threads()
    found = analyse(open_study(study).series, Pool.load(settings.pool_dir), settings.analysis)
    torch.set_num_threads(before)
    for name, as_bytes in (("result.json", result_json), ("maps.npz", maps_npz), ("members.npz", members_npz)):
        assert (out / name).read_bytes() == as_bytes(found), name
    return sent.id


def test_from_one_shard_and_one_pool_to_five_shards_and_another_while_a_study_runs(
    url: str, settings: ServiceSettings, folder: Path, tmp_path: Path
) -> None:
    from ray import serve as ray_serve

    first = expect_the_bytes_of_one_process(url, settings, folder / "study.npz", tmp_path / "one-shard")
    slow = write_npz(tmp_path / "slow.npz", bolus_series(n_slices=4, n_frames=16))
    with ServiceClient(url) as client:
        in_flight = client.send(slow).id
        second = settings_for_roll(settings.studies_dir, str(folder / "second"), n_shards=N_MEMBERS)
        progress: list[tuple[int, int]] = []
        roll_to(second, lambda *found: progress.append(found))
        assert client.wait(in_flight, deadline_s=900).state == "done"
        result = json.loads(client.result(in_flight, "result.json"))
        assert result["pool"]["sha256"] == PoolManifest.load(settings.pool_dir).sha256()
        assert client.pool()["sha256"] == PoolManifest.load(second.pool_dir).sha256()
        applications = set(ray_serve.status().applications)
        assert applications == {"perfusion-pool", application_of(basis_of(second, PoolManifest.load(second.pool_dir)))}
        assert client.send(slow).id != in_flight  # another pool gives another answer
    again = expect_the_bytes_of_one_process(url, second, folder / "study.npz", tmp_path / "five-shards")
    assert again != first
    back = settings_for_roll(settings.studies_dir, str(folder / "first"), n_shards=2)
    roll_to(back)
    write_npz(tmp_path / "new.npz", bolus_series(n_slices=2, n_frames=20))
    expect_the_bytes_of_one_process(url, back, tmp_path / "new.npz", tmp_path / "two-shards")
    with ServiceClient(url) as client:
        assert client.send(folder / "study.npz").id == first  # this pool has answered before


def test_a_pool_that_does_not_fit_beside_the_present_one_changes_nothing(
    url: str, settings: ServiceSettings, folder: Path, tmp_path: Path
) -> None:
    tiny_pool(tmp_path / "third", 3)
    with ServiceClient(url) as client:
        present = client.pool()["sha256"]
        fits = settings_for_roll(settings.studies_dir, str(tmp_path / "third"), n_shards=3)
        wide = fits.model_copy(update={"cpus_per_shard": 1.0})
        with pytest.raises(SettingsError, match=r"3 shards of 1 CPU must fit into the cluster; found .* CPU"):
            roll_to(wide)
        assert client.pool()["sha256"] == present


def test_a_study_is_cancelled_while_it_runs(url: str, folder: Path, tmp_path: Path) -> None:
    study = write_npz(tmp_path / "long.npz", bolus_series(n_slices=20, n_frames=16))
    with ServiceClient(url) as client:
        sent = client.send(study).id
        cancelled: list[int] = []

        def cancel_once(view: StudyView) -> None:
            if view.n_sweeps_done and not cancelled:
                cancelled.append(view.n_sweeps_done)
                client.end(sent)

        with pytest.raises(StudyFailedError, match="ended as cancelled"):
            client.wait(sent, cancel_once, deadline_s=900)
        after = client.get(sent)
        assert cancelled[0] <= after.n_sweeps_done < after.n_sweeps
        other = client.send(write_npz(tmp_path / "other.npz", bolus_series(n_slices=1, n_frames=18)))
        client.wait(other.id, deadline_s=900)
        assert client.get(sent) == after


def test_a_store_of_no_service_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="study store: must be that of a running service"):
        settings_for_roll(tmp_path, "pool")
