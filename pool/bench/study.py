"""A whole study on a GPU: all members over all slices, from frames on the host to maps on the host."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from pool.bench.study_report import StudyReport, Way
from pool.engine.machine import Machine
from pool.engine.operations import engine_operations, plain_operations
from pool.engine.whole.sweep import WholeSettings
from pool.networks import NetworkSpec
from pool.patches import PatchGrid
from pool.shapes import SliceFrames
from pool.sweep import MemberMaps, SweepSettings
from pool.together import SweptTogether

FEW_MEMBERS = 4
"""With which ways to compute are compared before the whole study is timed."""
BATCHES = (297, 1089, 3267)
"""Patches, compared; 33 are a row of one slice."""
BUDGET_S = 20.0
"""No further way is tried after so long [s]."""
PRODUCT_SIZES = {"cuda": 8192, "cpu": 1024}
"""Rows of the matrices whose product is the measured peak."""


def measure_study(
    networks: Sequence[nn.Module],
    spec: NetworkSpec,
    slices: Sequence[SliceFrames],
    settings: WholeSettings,
    n_members: int,
    n_rounds: int,
    on_way: Callable[[str], None] | None,
) -> StudyReport:
    """Time whole studies.

    Args:
        networks: of the spec, on their device; the members take turns with them.
        spec: of the networks.
        slices: prepared.
        settings: dtype, and how unless `on_way`.
        n_members: of the study.
        n_rounds: studies timed after one that is not.
        on_way: where given, ways to compute are compared with a few members first, each told here in words, and the
            fastest is taken that gives the same bytes in every process.
    """
    device = next(networks[0].parameters()).device
    ways = []
    for way in _ways(networks, slices, settings) if on_way else ():
        ways.append(way)
        if on_way:
            on_way(way.in_words())
    timed = [way for way in ways if way.member_s is not None and not way.settings.benchmark]
    at_once = len(slices)
    if timed:
        best = min(timed, key=lambda way: way.member_s or 0.0)
        settings, at_once = best.settings, best.slices_at_once
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    members = [networks[i % len(networks)] for i in range(n_members)]
    started = time.perf_counter()
    together = SweptTogether(members, SweepSettings(), slices[0].shape[1], settings, at_once)
    together(slices)
    prepare_s = time.perf_counter() - started
    study_s, device_s = [], []
    for _ in range(n_rounds):
        _wait(device)
        started = time.perf_counter()
        together(slices)
        study_s.append(time.perf_counter() - started)
        device_s.append(_members_alone_s(together, len(slices), device))
    grid, n = PatchGrid(), n_members * len(slices) / 1e12
    with _matmul_precision(settings.dtype):
        product = _product_tflop_per_s(settings.dtype, device)
    return StudyReport(
        machine=Machine.here(device),
        network=spec,
        n_members=n_members,
        n_distinct=len({id(network) for network in members}),
        n_slices=len(slices),
        ways=tuple(ways),
        how=together.sweep.whole.how,
        settings=settings,
        prepare_s=prepare_s,
        study_s=tuple(study_s),
        device_s=statistics.median(device_s),
        peak_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
        reserved_bytes=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0,
        plain_tflop=n * plain_operations(spec, grid).total,
        done_tflop=n * engine_operations(spec, grid, settings.sharing).total,
        product_tflop_per_s=product,
    )


def _ways(networks: Sequence[nn.Module], slices: Sequence[SliceFrames], settings: WholeSettings) -> Iterator[Way]:
    started = time.perf_counter()
    tried: list[Way] = []

    def attempt(candidate: WholeSettings, at_once: int = len(slices)) -> Iterator[Way]:
        new = all((way.settings, way.slices_at_once) != (candidate, at_once) for way in tried)
        if new and time.perf_counter() - started < BUDGET_S:
            tried.append(_tried(networks, slices, candidate, at_once))
            yield tried[-1]

    def best() -> WholeSettings:
        timed = [way for way in tried if way.member_s is not None]
        return min(timed, key=lambda way: way.member_s or 0.0).settings if timed else settings

    for sharing in (True, False):
        for fused in (True, False):
            yield from attempt(replace(settings, sharing=sharing, fused=fused, batch_size=BATCHES[1]))
    for batch_size in BATCHES:
        yield from attempt(replace(best(), batch_size=batch_size))
    chosen = best()
    yield from attempt(replace(chosen, benchmark=True))
    yield from attempt(replace(chosen, graph=False))
    yield from attempt(replace(chosen, batch_size=None), 1)  # as `pool.analysis` does


def _tried(networks: Sequence[nn.Module], slices: Sequence[SliceFrames], settings: WholeSettings, at_once: int) -> Way:
    device = next(networks[0].parameters()).device
    members = [networks[i % len(networks)] for i in range(FEW_MEMBERS)]
    started = time.perf_counter()
    try:
        together = SweptTogether(members, SweepSettings(), slices[0].shape[1], settings, at_once)
        together(slices)
        prepare_s = time.perf_counter() - started
        taken_s = min(_members_alone_s(together, len(slices), device) for _ in range(2))
    except RuntimeError as error:  # this way does not work here; torch.OutOfMemoryError is one too
        words = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
        return Way(settings, at_once, f"{settings}: {words}", time.perf_counter() - started, None)
    return Way(settings, at_once, together.sweep.whole.how, prepare_s, taken_s / FEW_MEMBERS)


def _members_alone_s(together: SweptTogether, n_slices: int, device: torch.device) -> float:
    """Time of the members' work on as many slices [s]."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(0, n_slices, together.sweep.whole.n_slices):
        together.run_all()
    _wait(device)
    return time.perf_counter() - started


def _product_tflop_per_s(dtype: str, device: torch.device) -> float:
    torch_dtype = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    size, n_products = PRODUCT_SIZES[device.type if device.type in PRODUCT_SIZES else "cpu"], 10
    a, b = (torch.randn(size, size, device=device).to(torch_dtype) for _ in range(2))
    best_s = float("inf")
    for _ in range(4):
        _wait(device)
        started = time.perf_counter()
        for _ in range(n_products):
            torch.mm(a, b)
        _wait(device)
        best_s = min(best_s, (time.perf_counter() - started) / n_products)
    return 2.0 * size**3 / best_s / 1e12


@contextmanager
def _matmul_precision(dtype: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def largest_differences(found: MemberMaps, expected: MemberMaps) -> tuple[float, float, float]:
    """Of the U-map, of the mean probability, and of U_pp as a share (0 where either has none)."""
    of_map = float(abs(found.uncertainty - expected.uncertainty).max())
    of_probability = float(abs(found.probability - expected.probability).max())
    if found.u_pp is None or expected.u_pp is None:
        return of_map, of_probability, 0.0
    return of_map, of_probability, abs(found.u_pp / max(expected.u_pp, 1e-30) - 1)
