"""The share of a training's time that the network has: pairs of runs, their median, and the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from pool.errors import SettingsError
from tune.cli.bench import bench
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.throughput import Throughput, measure_throughput


def test_the_share_is_the_median_of_the_pairs() -> None:
    throughput = Throughput(real_patches_per_s=(8.0, 90.0, 1.0), ready_patches_per_s=(10.0, 100.0, 100.0))
    assert throughput.share == pytest.approx(0.8)


def test_every_pair_but_the_first_is_told_and_counts(rings: Samples, changed: Callable[..., TrainingSettings]) -> None:
    told: list[tuple[float, float]] = []
    throughput = measure_throughput(
        changed(), rings, n_steps=2, n_pairs=2, on_pair=lambda real, ready: told.append((real, ready))
    )
    assert told == list(zip(throughput.real_patches_per_s, throughput.ready_patches_per_s, strict=True))
    assert len(told) == 2
    assert throughput.share > 0
    with pytest.raises(SettingsError, match=r"needs at least one step and one pair; found 0 steps, 5 pairs\."):
        measure_throughput(changed(), rings, n_steps=0)


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(bench)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_the_command_prints_pairs_and_their_median(data: Path) -> None:
    small = ("--preset", "quick", "--width", "4", "--poolings", "2", "--batch", "4", "--steps", "2", "--pairs", "1")
    code, output = run("--data", str(data), *small)
    assert code == 0
    pair, last = output.splitlines()
    assert pair.startswith("training ")
    assert last.endswith("median of 1 pairs; 0.85 or more is wanted")
    assert pair.split()[-1] == last.split()[1].rstrip(",")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "throughput: needs either --data or --phantom; found neither."),
        (("--phantom", "mars"), "mars"),
        (("--phantom", "inD", "--threads", "0"), "throughput: threads must be at least 1; found 0."),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments: tuple[str, ...], text: str) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert text in output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    code, output = run("--phantom", "inD", "--device", "cuda")
    assert code == 2
    assert "--device: must be a device torch can use here; found 'cuda'. Try cpu." in " ".join(output.split())
