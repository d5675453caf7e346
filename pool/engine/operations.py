"""How many operations a sweep costs, plain and shared, counted from the network's spec alone.

A multiplication and an addition count as two; convolutions only, as torch's own counter does (a test compares them).
For the compact U-Net on the 33 x 33 patches of a slice: `python -m pool bench` prints the table by level.
"""

from __future__ import annotations

from dataclasses import dataclass

from pool.engine.sharing import n_shared_levels, regions
from pool.networks import NetworkSpec
from pool.patches import PatchGrid


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of a sweep by one network over one slice."""

    encoder: tuple[float, ...]
    """Of each level's two convolutions, finest first; the last is the bottom."""
    decoder: tuple[float, ...]
    """Of each level's upsampling and two convolutions, finest first; the classification is in level 0."""

    @property
    def total(self) -> float:
        """Of the whole sweep."""
        return sum(self.encoder) + sum(self.decoder)


def plain_operations(spec: NetworkSpec, grid: PatchGrid) -> Operations:
    """Of the network as it is written, patch by patch."""
    encoder, decoder = [], []
    for level in range(spec.n_poolings + 1):
        n_px = grid.n_patches * (grid.patch_px >> level) ** 2
        width = spec.width << level
        encoder.append(n_px * _block(spec, level))
        if level < spec.n_poolings:
            upsampling = 2 * 2 * width * width
            decoder.append(n_px * (upsampling + _conv(2 * width, width) + _conv(width, width)))
    decoder[0] += grid.n_patches * grid.patch_px**2 * 2 * spec.width * spec.n_classes
    return Operations(tuple(encoder), tuple(decoder))


def engine_operations(spec: NetworkSpec, grid: PatchGrid, sharing: bool = True) -> Operations:
    """Of the same network as the engine runs it: the upsampling composed, and with `sharing`, shared regions once."""
    n_levels = n_shared_levels(grid, spec.n_poolings) if sharing else 0
    encoder, decoder = [], []
    for level in range(spec.n_poolings + 1):
        n_px = grid.n_patches * (grid.patch_px >> level) ** 2
        width = spec.width << level
        n_computed_px = n_px
        if level < n_levels:
            region = regions(grid, n_levels, level)
            n_computed_px = region.n_strip_px + region.n_side_px + grid.n_patches * region.n_corner_px
        encoder.append(n_computed_px * _block(spec, level))
        if level < spec.n_poolings:
            composed = 4 * 2 * 2 * width * width
            decoder.append(n_computed_px * _conv(width, width) + n_px * (composed + _conv(width, width)))
    decoder[0] += grid.n_patches * grid.patch_px**2 * 2 * spec.width * spec.n_classes
    return Operations(tuple(encoder), tuple(decoder))


def _block(spec: NetworkSpec, level: int) -> float:
    width = spec.width << level
    return _conv(width // 2 if level else spec.n_frames, width) + _conv(width, width)


def _conv(n_in: int, n_out: int) -> float:
    """Operations of a 3 x 3 convolution, a pixel."""
    return 2.0 * 9 * n_in * n_out
