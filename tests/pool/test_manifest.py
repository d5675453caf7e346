import hashlib
import json
from pathlib import Path

import pytest
import torch

from pool.errors import PoolFolderError, SettingsError, WeightsHashError
from pool.manifest import MemberEntry, PoolManifest, verify_pool
from pool.member import Member, Pool
from pool.networks import NetworkSpec, build_network
from pool.networks.mcd_unet import MCDUNet
from pool.preprocess import prepare
from pool.sweep import SweepSettings
from pool.weights import load_weights, save_weights
from tests.samples import TINY, bolus_series, tiny_pool


def test_a_pool_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = tiny_pool(tmp_path, 2)
    loaded = verify_pool(tmp_path)
    assert loaded == saved
    assert loaded.sha256() == saved.sha256()
    pool = Pool.load(tmp_path)
    assert [member.entry.id for member in pool.members] == ["s0-e01", "s1-e01"]
    weights = load_weights(tmp_path, saved.members[1])
    assert torch.equal(pool.members[1].network.state_dict()["classify.weight"], weights["classify.weight"])


def test_members_of_another_kind_come_back_as_such_and_sweep_no_patches(tmp_path: Path) -> None:
    spec = NetworkSpec(kind="mcd-unet", width=2, n_poolings=1, n_frames=1)
    saved = tiny_pool(tmp_path, 1, spec)
    assert PoolManifest.load(tmp_path) == saved
    (member,) = Pool.load(tmp_path).members
    assert isinstance(member.network, MCDUNet)
    assert member.entry.network == spec
    (prepared,) = prepare(bolus_series())
    with pytest.raises(SettingsError, match="member s0-e01: only networks of patches sweep slices; found a mcd-unet"):
        member.analyse(prepared, SweepSettings())
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace("mcd-unet", "hourglass"))
    with pytest.raises(PoolFolderError, match="kind must be one of unet, mcd-unet, prob-unet; found 'hourglass'"):
        PoolManifest.load(tmp_path)


def test_a_shard_holds_some_members_and_the_whole_manifest(tmp_path: Path) -> None:
    tiny_pool(tmp_path, 3)
    shard = Pool.load(tmp_path, member_ids=["s2-e01"])
    assert [member.entry.id for member in shard.members] == ["s2-e01"]
    assert shard.manifest.n_members == 3
    with pytest.raises(PoolFolderError, match="must hold every member asked for; found no s9"):
        Pool.load(tmp_path, member_ids=["s9"])


def test_half_weights_take_half_the_room_and_segment_alike(tmp_path: Path) -> None:
    network = build_network(TINY, torch.Generator().manual_seed(1)).eval()
    files = {}
    for half in (False, True):
        sha256 = save_weights(tmp_path / str(half), "m", network.state_dict(), half)
        entry = MemberEntry("m", 1, 1, 0.9, TINY, sha256)
        files[half] = Member.load(tmp_path / str(half), entry).network
    sizes = [(tmp_path / str(half) / "m.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.6 * sizes[0]
    assert {parameter.dtype for parameter in files[True].parameters()} == {torch.float32}
    patches = torch.rand(2, TINY.n_frames, 64, 64, generator=torch.Generator().manual_seed(2))
    whole, half = (files[half](patches).softmax(dim=1) for half in (False, True))
    assert 0 < (whole - half).abs().max() < 5e-3


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    tiny_pool(tmp_path, 2)
    path = tmp_path / "s1-e01.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsHashError, match=r"member s1-e01: weights must have SHA-256 .*changed or damaged"):
        Pool.load(tmp_path)
    verify_pool(tmp_path, ["s0-e01"])


def test_weights_that_are_no_safetensors_are_refused_though_their_hash_fits(tmp_path: Path) -> None:
    garbage = b"no tensors here"
    (tmp_path / "a.safetensors").write_bytes(garbage)
    entry = MemberEntry("a", 0, 1, 0.9, TINY, hashlib.sha256(garbage).hexdigest())
    with pytest.raises(PoolFolderError, match="member a: weights must be a safetensors file"):
        load_weights(tmp_path, entry)


@pytest.mark.parametrize("value", [None, 7, "abc", "g" * 64])
def test_a_manifest_without_a_real_hash_is_refused(tmp_path: Path, value: object) -> None:
    tiny_pool(tmp_path, 1)
    path = tmp_path / "manifest.json"
    fields = json.loads(path.read_text())
    fields["members"][0]["weights_sha256"] = value
    path.write_text(json.dumps(fields))
    with pytest.raises(PoolFolderError, match="weights_sha256 must be 64 hexadecimal digits"):
        PoolManifest.load(tmp_path)


def test_missing_pieces_are_named(tmp_path: Path) -> None:
    with pytest.raises(PoolFolderError, match=r"needs a manifest.json; found none\. Train a pool"):
        PoolManifest.load(tmp_path / "nowhere")
    tiny_pool(tmp_path, 1)
    (tmp_path / "s0-e01.safetensors").unlink()
    with pytest.raises(PoolFolderError, match=r"member s0-e01: needs its weights s0-e01.safetensors"):
        Pool.load(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    tiny_pool(tmp_path, 1)
    path = tmp_path / "manifest.json"
    fields = json.loads(path.read_text())
    fields["members"][0]["network"]["width"] = 8
    path.write_text(json.dumps(fields))
    with pytest.raises(PoolFolderError, match="weights must fit the network spec"):
        Pool.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 100_000, '{"manifest_version": 99}', '{"manifest_version": 1, "name": "x"}']
)
def test_broken_manifests_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(PoolFolderError, match="manifest"):
        PoolManifest.load(tmp_path)


def test_ids_cannot_leave_the_folder() -> None:
    for member_id in ("../x", "a/b", "", ".hidden", "a" * 65):
        with pytest.raises(PoolFolderError, match="id must be letters, digits, dots and dashes"):
            MemberEntry(member_id, 0, 1, 0.9, TINY, "0" * 64)
    with pytest.raises(PoolFolderError, match=r"validation Dice lies in \[0, 1\]; found 1.5"):
        MemberEntry("a", 0, 1, 1.5, TINY, "0" * 64)
    entry = MemberEntry("a", 0, 1, 0.9, NetworkSpec(), "0" * 64)
    with pytest.raises(PoolFolderError, match="member ids must differ; found a, a"):
        PoolManifest("p", (entry, entry))
