"""The Ray Tune seam of experiments on ASL images: a trial is one network, and as many run at once as resources allow.

Tune places the trials and takes up again those that died. What is kept is no concern of it: every network's state and
pool lie in the experiment's folder, so a trial goes on where it was, whoever starts it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from ray import tune as ray_tune

from pool.trials.settings import TrialSettings
from tune.asl.images import AslImages
from tune.asl.networks import TestedNetwork, device_of, train_and_test
from tune.asl.settings import AslTrainingSettings
from tune.asl.sweep_folder import GO_ON, IMAGES_FOLDER, SCRATCH, TRIALS_FOLDER, remove_scratch
from tune.cluster import running_ray
from tune.failures import error_of
from tune.gpu import take_gpu
from tune.live_callback import LiveCallback
from tune.nodes import refuse_unshared
from tune.ray_trials import run_experiment
from tune.resources import Resources
from tune.storage import Storage

_TRAINING, _TESTED = "training.npz", "tested.npz"
_ANSWER = "network"


def network_trial(config: dict[str, Any]) -> None:
    """One network. Runs in a worker process of Ray.

    Args:
        config: `number` of the network, `networks` with `name` and `settings` of each, `folder` of the experiment,
            `trials` of a test image, and the resources.
    """
    torch.set_num_threads(config["n_threads"])
    if config["device"] == "cuda":
        take_gpu(config["n_gpus"])
    network, folder = config["networks"][config["number"]], Path(config["folder"])
    found = train_and_test(
        network["name"],
        AslTrainingSettings.from_dict(network["settings"]),
        AslImages.load(folder / IMAGES_FOLDER / _TRAINING),
        AslImages.load(folder / IMAGES_FOLDER / _TESTED),
        folder,
        TrialSettings(**config["trials"]),
        config["device"],
    )
    ray_tune.report({_ANSWER: found.to_dict()})


class NetworksCallback(LiveCallback):
    """Runs in the driver and passes on what a trial found.

    Args:
        on_network: called with every network that has been tested.
    """

    def __init__(self, on_network: Callable[[TestedNetwork], None]) -> None:
        super().__init__()
        self._on_network = on_network

    def on_trial_result(self, *_: Any, **info: Any) -> None:
        """Tune's hook for every `report` of a trial."""
        if _ANSWER in info["result"]:
            self._on_network(TestedNetwork.from_dict(info["result"][_ANSWER]))


def run_networks(
    recipes: Mapping[str, AslTrainingSettings],
    images: AslImages,
    tested: AslImages,
    folder: Path,
    trials: TrialSettings,
    resources: Resources,
    on_network: Callable[[TestedNetwork], None] = lambda _found: None,
) -> dict[str, TestedNetwork]:
    """Train and test networks as trials of Ray Tune, all else equal.

    Args:
        recipes: by the network's name.
        images: to train on.
        tested: images of other studies.
        folder: claimed by the sweep, at the same path on every node; networks that are whole stay as they are.
        trials: of each test image.
        resources: of one trial, and the cluster's address.
        on_network: called with every network that has been tested.

    Raises:
        SettingsError: a state kept that was begun otherwise, or more resources than the cluster has.
        TrainingError: a trial failed more often than `resources.n_retries`.
        OutputError: the folder cannot be written.
        KeyboardInterrupt: Ctrl-C; what was trained stays.
    """
    folder = folder.resolve()
    shutil.rmtree(folder / TRIALS_FOLDER, ignore_errors=True)  # of an experiment that was killed
    images.save(folder / IMAGES_FOLDER / _TRAINING)
    tested.save(folder / IMAGES_FOLDER / _TESTED)
    names = list(recipes)
    config = {
        "number": ray_tune.grid_search(list(range(len(names)))),
        "networks": [{"name": name, "settings": recipes[name].to_dict()} for name in names],
        "folder": str(folder),
        "trials": trials.to_dict(),
        "n_threads": max(1, int(resources.cpus_per_trial)),
        "device": device_of(resources),
        "n_gpus": resources.gpus_per_trial,
    }
    with running_ray(resources):
        refuse_unshared(resources, {"folder of images": folder / IMAGES_FOLDER}, Storage.at(folder))
        experiment = Storage.at(folder / TRIALS_FOLDER)
        results = run_experiment(
            network_trial, config, experiment, resources, NetworksCallback(on_network), go_on=GO_ON
        )
        found = {}
        for result in results:
            name = names[(result.config or {})["number"]]
            if result.error is not None:
                raise error_of(result, f"network {name}", f"folder {folder.name}/{SCRATCH}", GO_ON)
            found[name] = TestedNetwork.from_dict((result.metrics or {})[_ANSWER])
    remove_scratch(folder)
    return {name: found[name] for name in names}
