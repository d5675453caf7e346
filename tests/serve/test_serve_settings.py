"""Nonsense is refused in words, from whichever door it comes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pool.errors import SettingsError
from pool.manifest import PoolManifest
from pool.race_settings import RaceSettings
from serve.generations import basis_of
from serve.settings import ServiceSettings
from tests.asl_samples import N_TRIALS, trials_manifest
from tests.serve.fakes import manifest_of


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"n_shards": 0}, "service setting n_shards: input should be greater than or equal to 1; found 0."),
        ({"port": 70_000}, "service setting port: input should be less than or equal to 65535; found 70000."),
        ({"slice_deadline_s": 0}, "service setting slice_deadline_s: input should be greater than 0; found 0."),
        (
            {"slice_deadline_s": float("nan")},
            "service setting slice_deadline_s: input should be a finite number; found nan.",
        ),
        ({"rule": "best"}, "rule: must be one of min-u_pp, min-u_tot, best-validation, min-u_pp-race; found 'best'."),
        ({"host": "0.0.0.0"}, "host: must be a loopback address, unless token_file says who may ask"),
        ({"host": "example.org"}, "host: must be a loopback address"),
        ({"colour": "red"}, "service setting colour: extra inputs are not permitted; found 'red'."),
    ],
)
def test_nonsense_is_refused_in_words(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ServiceSettings(**{"pool_dir": "pool", **fields})
    assert sentence in str(caught.value)


def test_a_missing_pool_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"service setting pool_dir: field required; found none\."):
        ServiceSettings()


def test_a_configuration_file_is_checked_as_arguments_are() -> None:
    with pytest.raises(SettingsError, match="service setting n_shards"):
        ServiceSettings.model_validate({"pool_dir": "pool", "n_shards": 0})


def test_environment_variables_are_read_and_folders_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POOL_SERVE_POOL_DIR", "mine")
    monkeypatch.setenv("POOL_SERVE_N_SHARDS", "3")
    settings = ServiceSettings()
    assert (settings.pool_dir, settings.n_shards) == (tmp_path / "mine", 3)
    assert ServiceSettings(n_shards=4).n_shards == 4


@pytest.mark.parametrize("field", ["n_shards", "least_members"])
def test_more_shards_or_answers_than_members_are_refused(field: str) -> None:
    settings = ServiceSettings(pool_dir=Path("pool"), **{field: 4})
    settings.check_pool(manifest_of(4))
    with pytest.raises(
        SettingsError, match=f"service setting {field}: must be from 1 to the pool's 3 members; found 4"
    ):
        settings.check_pool(manifest_of(3))


def test_of_members_of_trials_every_shard_makes_some() -> None:
    settings = ServiceSettings(pool_dir=Path("pool"), n_shards=9)
    mixed = PoolManifest("mixed", (*manifest_of(2).members, *trials_manifest().members))
    settings.check_pool(mixed)
    assert settings.asl(mixed).trials.n_trials == N_TRIALS
    assert ServiceSettings(pool_dir=Path("pool"), asl_trials=7).asl(mixed).trials.n_trials == 7
    with pytest.raises(SettingsError, match="asl_field_t: .*1.5.*; found 0.3"):
        ServiceSettings(pool_dir=Path("pool"), asl_field_t=0.3)


def test_members_of_trials_that_could_never_be_believed_are_refused_at_the_start() -> None:
    settings, manifest = ServiceSettings(pool_dir=Path("pool"), n_shards=1), trials_manifest()
    first, second = manifest.members
    series = replace(first, network=replace(first.network, n_frames=30))
    with pytest.raises(SettingsError, match="member mcd-unet: must take one image if it makes trials; found 30 frames"):
        settings.check_pool(replace(manifest, members=(series, second)))
    bare = tuple(replace(entry, calibration=None) for entry in manifest.members)
    with pytest.raises(SettingsError, match="pool trials: needs .* found no calibrated one. Calibrate them: "):
        settings.check_pool(replace(manifest, members=bare))
    few = ServiceSettings(pool_dir=Path("pool"), n_shards=1, asl_trials=7)
    with pytest.raises(SettingsError, match=f"asl_trials: must be .* found 7, and {N_TRIALS} of mcd-unet"):
        few.check_pool(manifest)
    with pytest.raises(SettingsError, match=f"found {N_TRIALS}, and None of prob-unet"):
        settings.check_pool(replace(manifest, members=(first, bare[1])))


def test_settings_of_asl_belong_to_the_basis_of_pools_that_have_members_for_it() -> None:
    few, many = (ServiceSettings(pool_dir=Path("pool"), asl_trials=n) for n in (7, 8))
    assert basis_of(few, manifest_of(2)) == basis_of(many, manifest_of(2))
    assert basis_of(few, trials_manifest()) != basis_of(many, trials_manifest())


@pytest.mark.parametrize(
    ("fields", "resources", "fits"),
    [
        ({"n_shards": 2}, {"CPU": 2.0}, True),
        ({"n_shards": 3}, {"CPU": 2.0}, False),
        ({"n_shards": 4, "cpus_per_shard": 0.5}, {"CPU": 2.0}, True),
        ({"n_shards": 4, "cpus_per_shard": 0}, {"CPU": 1.0}, True),
        ({"n_shards": 2, "gpus_per_shard": 1}, {"CPU": 8.0}, False),
        ({"n_shards": 4, "gpus_per_shard": 0.5}, {"CPU": 8.0, "GPU": 2.0}, True),
        ({"n_shards": 5, "gpus_per_shard": 0.4}, {"CPU": 8.0, "GPU": 2.0}, False),
    ],
)
def test_what_the_cluster_cannot_hold_is_refused(
    fields: dict[str, Any], resources: dict[str, float], fits: bool
) -> None:
    settings = ServiceSettings(pool_dir=Path("pool"), **fields)
    if fits:
        settings.check_cluster(resources)
        return
    with pytest.raises(
        SettingsError, match=r"shards of .* must fit into the cluster; found .* [CG]PU\. Lower n_shards or"
    ):
        settings.check_cluster(resources)


def test_an_audit_is_of_the_race_alone(tmp_path: Path) -> None:
    settings = ServiceSettings(pool_dir=tmp_path, rule="min-u_pp-race", race_audit=True)
    assert settings.analysis.race == RaceSettings(audit=True)
    assert ServiceSettings(pool_dir=tmp_path, rule="min-u_pp-race").analysis.race == RaceSettings()
    with pytest.raises(SettingsError, match="setting race_audit: is of the rule min-u_pp-race alone; found True"):
        ServiceSettings(pool_dir=tmp_path, race_audit=True)
