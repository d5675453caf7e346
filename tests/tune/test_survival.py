"""Driver, trial and node are really killed; the pool comes out with the bits of a training that was never stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray.tune.utils.serialization import TuneFunctionDecoder
from typer.testing import CliRunner

from pool.manifest import PoolManifest, verify_pool
from pool.weights import save_weights
from tests.tune.ray_nodes import PATIENCE_S, RayNodes, run_python, runs, wait_until
from tests.tune.watched import GO, epochs_trained, watched_trial
from tune.__main__ import app
from tune.run import train_pool
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.training import SeedTraining

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(3600)  # each step has its own limit, and slow machines are no failures


@pytest.fixture(scope="module")
def settings(tiny: TrainingSettings) -> TrainingSettings:
    return dataclasses.replace(tiny, n_epochs=3, n_checkpoints=3)


@pytest.fixture(scope="module")
def never_stopped(data: Path, settings: TrainingSettings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SHA-256 of the weights after every epoch of both seeds, trained in plain torch."""
    folder, samples = tmp_path_factory.mktemp("never-stopped"), Samples.open(data)
    found = {}
    for seed in settings.seeds:
        training = SeedTraining(settings, seed, samples, samples.split(settings))
        for report in training.epochs():
            member_id = f"s{seed}-e{report.epoch:02d}"
            found[member_id] = save_weights(folder, member_id, training.weights())
    return found


def weights_of(manifest: PoolManifest) -> dict[str, str]:
    return {member.id: member.weights_sha256 for member in manifest.members}


@dataclass(frozen=True)
class Place:
    """Where a training reads and writes."""

    data: Path
    folder: Path

    @property
    def watched(self) -> Path:
        """Where its trials tell what they do, and wait."""
        return self.folder / "watched"

    @property
    def pool(self) -> Path:
        return self.folder / "pool"

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    def words(self, settings: TrainingSettings, *more: str) -> list[str]:
        """Arguments of `python -m tune`."""
        recipe = self.folder / "settings.json"
        recipe.write_text(json.dumps(settings.to_dict()))
        places = ["--data", str(self.data), "--out", str(self.pool), "--storage", str(self.storage)]
        return ["train", *places, "--settings", str(recipe), *more]

    def epochs_in_state(self) -> list[int]:
        """Epoch of every trial's last checkpoint in the whole copy of Tune's state: what a resume goes on from."""
        states = (self.storage / "seeds" / "kept-state").glob("experiment_state-*.json")
        rows = [trial[1] for state in states for trial in json.loads(state.read_text())["trial_data"]]
        trials = [json.loads(row, cls=TuneFunctionDecoder, allow_cloudpickle=True) for row in rows]
        found = [trial["checkpoint_manager"].latest_checkpoint_result for trial in trials]
        return [saved.metrics["epoch_report"]["epoch"] if saved else 0 for saved in found]


@pytest.fixture
def place(data: Path, tmp_path: Path) -> Place:
    made = Place(data, tmp_path)
    made.watched.mkdir()
    return made


@pytest.mark.usefixtures("local_ray")
def test_a_killed_driver_goes_on_where_it_was(
    place: Place, settings: TrainingSettings, never_stopped: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-m", "tests.tune.watched", str(place.watched), "2", *place.words(settings)]
    with run_python(words, os.environ | {"OMP_NUM_THREADS": "1"}) as driver:
        wait_until("epoch 2 is in the state", lambda: place.epochs_in_state() == [2, 2], driver)
        driver.kill()
        driver.wait()
    before = epochs_trained(place.watched)
    assert [row[:2] for row in before] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    trials = {row[2] for row in before}
    wait_until("its trials are gone too", lambda: not any(runs(pid) for pid in trials))
    assert not place.pool.exists()

    (place.watched / GO).touch()
    monkeypatch.setattr("tune.trainable.train_trial", watched_trial(place.watched, 2))
    manifest = train_pool(settings, place.data, place.pool, storage_path=place.storage, resume=True)
    assert [row[:2] for row in epochs_trained(place.watched) if row not in before] == [(1, 3), (2, 3)]
    assert weights_of(manifest) == never_stopped


@pytest.mark.usefixtures("local_ray")
def test_sigterm_stops_as_ctrl_c_does_and_the_same_command_resumes(
    place: Place, settings: TrainingSettings, never_stopped: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one_seed = dataclasses.replace(settings, seeds=(2,))
    monkeypatch.setattr("tune.trainable.train_trial", watched_trial(place.watched, 1))

    def send_sigterm() -> None:
        wait_until("epoch 1 is in the state", lambda: place.epochs_in_state() == [1])
        os.kill(os.getpid(), signal.SIGTERM)

    scheduler = threading.Thread(target=send_sigterm)
    scheduler.start()
    words = place.words(one_seed)
    before = signal.getsignal(signal.SIGTERM)
    stopped = CliRunner().invoke(app, words)
    scheduler.join()
    assert stopped.exit_code == 143
    assert f"kept in {place.storage}; the same command with --resume continues it." in stopped.output
    assert signal.getsignal(signal.SIGTERM) == before

    (place.watched / GO).touch()
    resumed = CliRunner().invoke(app, [*words, "--resume"])
    assert resumed.exit_code == 0, resumed.output
    assert [row[:2] for row in epochs_trained(place.watched)] == [(2, 1), (2, 2), (2, 3)]
    expected = {member_id: sha256 for member_id, sha256 in never_stopped.items() if member_id.startswith("s2")}
    assert weights_of(verify_pool(place.pool)) == expected


@dataclass(frozen=True)
class TwoNodes:
    cluster: RayNodes
    second: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[TwoNodes]:
    """A head and a node, one CPU each."""
    cluster = RayNodes()
    try:
        cluster.start_head()
        yield TwoNodes(cluster, cluster.add_node())
    finally:
        cluster.stop()


def documented_submission() -> list[str]:
    """The words before `train` of the command in the operator's guide."""
    guide = (ROOT / "deploy" / "cluster" / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ray (job submit .*?) train ", guide, flags=re.MULTILINE | re.DOTALL)
    return shlex.split(command.replace("\\\n", " "))


def test_the_job_of_the_guide_leaves_the_pool(
    two_nodes: TwoNodes, place: Place, settings: TrainingSettings, never_stopped: dict[str, str]
) -> None:
    command = ["-m", "ray.scripts.scripts", *documented_submission(), *place.words(settings)]
    with two_nodes.cluster.run(*command, RAY_ADDRESS=two_nodes.cluster.job_server) as submitted:
        output, _ = submitted.communicate(timeout=PATIENCE_S)
    assert submitted.returncode == 0, output
    assert f"6 members in {place.pool}" in output
    assert "succeeded" in output
    assert weights_of(verify_pool(place.pool)) == never_stopped


def test_two_trials_share_a_gpu_at_the_same_time(
    two_nodes: TwoNodes, place: Place, settings: TrainingSettings, never_stopped: dict[str, str]
) -> None:
    shares = ("--cpus", "0.5", "--gpus", "0.5", "--address", two_nodes.cluster.address)
    words = place.words(settings, *shares)
    with two_nodes.cluster.run("-m", "tests.tune.watched", str(place.watched), "1", *words) as driver:
        wait_until("both seeds wait", lambda: len(epochs_trained(place.watched)) == 2, driver)
        (place.watched / GO).touch()
        output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output
    assert sorted(path.name for path in place.watched.glob("gpu.*")) == ["gpu.1.0", "gpu.2.0"]
    assert weights_of(verify_pool(place.pool)) == never_stopped


def test_the_trials_of_a_lost_node_go_on_elsewhere(
    two_nodes: TwoNodes, place: Place, settings: TrainingSettings, never_stopped: dict[str, str]
) -> None:
    words = place.words(settings, "--address", two_nodes.cluster.address)
    with two_nodes.cluster.run("-m", "tests.tune.watched", str(place.watched), "2", *words) as driver:
        wait_until("epoch 2 is in the state", lambda: place.epochs_in_state() == [2, 2], driver)
        before = epochs_trained(place.watched)
        two_nodes.second.kill()
        two_nodes.second.wait()
        trials = {row[2] for row in before}
        wait_until("its trial is gone", lambda: not all(runs(pid) for pid in trials), driver)
        (place.watched / GO).touch()
        output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output
    assert [row[:2] for row in epochs_trained(place.watched) if row not in before] == [(1, 3), (2, 3)]
    assert weights_of(verify_pool(place.pool)) == never_stopped
    assert re.search(r"Seed [12] failed: its .* has died", output), output
