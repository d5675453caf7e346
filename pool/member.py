"""Members ready to work, and the pool that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from pool.engine import Engine, EngineSettings
from pool.errors import PoolFolderError, SettingsError
from pool.manifest import MemberEntry, PoolManifest
from pool.moments import Moments
from pool.networks import PATCH_KIND, build_network
from pool.preprocess import PreparedSlice
from pool.sweep import MemberMaps, SweepSettings, frames_on, maps_of, refine
from pool.together import READY, is_on_gpu
from pool.weights import load_weights

MOST_KEPT = 2_000_000
"""Weights of a network that are kept folded too: of larger ones they would take memory and save no time that counts."""
PRETRAINED = Path(__file__).with_name("pretrained")
"""Folder of the pool that ships; MODEL_CARD.md in it says what it was made from and what it reaches."""


@dataclass(frozen=True, eq=False)
class Member:
    """A network with its verified weights."""

    entry: MemberEntry
    network: nn.Module
    """In evaluation mode; its weights must not change any more."""
    _engines: dict[str, Engine] = field(default_factory=dict, init=False, repr=False)
    """By data type, never called, so that they hold nothing but weights made ready: a race asks for many sweeps."""

    @classmethod
    def load(cls, folder: Path, entry: MemberEntry, device: str = "cpu") -> Member:
        """Build the network and load its verified weights, in evaluation mode.

        Raises:
            PoolFolderError: weights that are missing, have another hash, or do not fit the network spec.
        """
        network = build_network(entry.network)
        try:
            network.load_state_dict(load_weights(folder, entry))
        except RuntimeError as error:
            raise PoolFolderError(
                f"member {entry.id}",
                "weights must fit the network spec",
                remedy="The manifest is of other weights.",
            ) from error
        network.requires_grad_(False).eval()
        network = network.to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        return cls(entry, network)

    def analyse(
        self, prepared: PreparedSlice, settings: SweepSettings, keep_going: Callable[[], bool] | None = None
    ) -> MemberMaps | None:
        """Segment one slice; None only where `keep_going` said stop. See `pool.sweep`.

        Raises:
            SettingsError: a slice with another number of frames than the network takes, or a network of trials.
        """
        self._check_frames(prepared)
        if is_on_gpu(self.network):
            if keep_going is not None and not keep_going():  # a sweep takes milliseconds there
                return None
            return READY.maps(self.network, prepared.frames, settings)
        tensor = frames_on(self._device, prepared.frames)
        moments = refine(self._forward(settings), tensor, settings, keep_going=keep_going)
        return None if moments is None else maps_of(moments)

    def refine(
        self,
        prepared: PreparedSlice,
        settings: SweepSettings,
        n_patches: int,
        start: Moments | None,
        keep_going: Callable[[], bool] | None = None,
    ) -> Moments | None:
        """Sweep those of the first patches that `start` lacks; None if stopped by `keep_going`. See `pool.sweep`.

        Raises:
            SettingsError: a slice with another number of frames than the network takes, or a network of trials.
        """
        self._check_frames(prepared)
        frames = frames_on(self._device, prepared.frames)
        return refine(self._forward(settings), frames, settings, n_patches, start, keep_going)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _forward(self, settings: SweepSettings) -> Engine:
        how = EngineSettings(settings.dtype, settings.batch_size)
        engine = Engine(self.network, how, self._engines.get(settings.dtype))
        if settings.dtype not in self._engines and sum(map(torch.numel, self.network.parameters())) <= MOST_KEPT:
            self._engines[settings.dtype] = Engine(self.network, how, like=engine)
        return engine

    def _check_frames(self, prepared: PreparedSlice) -> None:
        kind = self.entry.network.kind
        if kind != PATCH_KIND:
            remedy = "Those of trials outline ASL studies: `python -m pool asl`."
            raise SettingsError(f"member {self.entry.id}", "only networks of patches sweep slices", f"a {kind}", remedy)
        n_frames = prepared.frames.shape[0]
        if n_frames != self.entry.network.n_frames:
            raise SettingsError(
                f"member {self.entry.id}", f"takes {self.entry.network.n_frames} frames", f"a slice with {n_frames}"
            )


@dataclass(frozen=True, eq=False)
class Pool:
    """The members of a pool, or of one shard of it, with the whole pool's manifest."""

    manifest: PoolManifest
    members: tuple[Member, ...]

    @property
    def of_patches(self) -> tuple[Member, ...]:
        """Members that sweep patches of perfusion slices."""
        return tuple(member for member in self.members if member.entry.network.kind == PATCH_KIND)

    @property
    def of_trials(self) -> tuple[Member, ...]:
        """Members that answer by trials about ASL images."""
        return tuple(member for member in self.members if member.entry.network.kind != PATCH_KIND)

    @property
    def device_type(self) -> str:
        """Kind of device the networks are on, such as `cpu` or `cuda`."""
        return next(self.members[0].network.parameters()).device.type

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", member_ids: Sequence[str] | None = None) -> Pool:
        """Load and verify a pool folder.

        Args:
            folder: holds `manifest.json` and the weights.
            device: torch device of the networks.
            member_ids: the members to load (a shard); default all.

        Raises:
            PoolFolderError: see `PoolManifest.load`, `load_weights`; or an id the manifest does not have.
        """
        manifest = PoolManifest.load(folder)
        known = {entry.id: entry for entry in manifest.members}
        wanted = list(known) if member_ids is None else list(member_ids)
        if missing := [member_id for member_id in wanted if member_id not in known]:
            raise PoolFolderError(
                f"pool {manifest.name}", "must hold every member asked for", f"no {', '.join(missing)}"
            )
        return cls(manifest, tuple(Member.load(folder, known[member_id], device) for member_id in wanted))
