from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tune.__main__ import app
from tune.progress import SeedProgress, TrainingDisplay, TrainingProgress


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "training: needs either --data or --phantom; found neither."),
        (["--phantom", "mars"], "mars"),
        (["--phantom", "broad", "--preset", "fast"], "preset must be one of paper, quick; found 'fast'."),
        (["--data", ".", "--width", "0"], "network spec: width must be a whole number from 1 to 256; found 0."),
        (["--data", ".", "--resume"], "training: can be resumed only from a storage folder; found none."),
        (["--data", ".", "--storage", __file__], "must be a folder; found a file."),
    ],
)
def test_the_command_line_refuses_in_one_sentence(arguments: list[str], text: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "pool"), *arguments])
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--resume", "--storage", "."], "training: can be resumed only with --data: slices of --phantom are deleted"),
        (["--storage", __file__], "must be a folder; found a file."),
        (["--out", "."], "must be new or empty; found other files."),
    ],
)
def test_nothing_is_simulated_for_a_training_that_cannot_start(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.phantom.labelled_set.write_labelled_set", lambda *_: pytest.fail("slices were simulated"))
    monkeypatch.chdir(Path(__file__).parent)
    result = CliRunner().invoke(app, ["train", "--phantom", "broad", "--out", str(tmp_path / "pool"), *arguments])
    assert result.exit_code == 2
    assert text in result.output


def test_without_a_terminal_progress_is_plain_lines() -> None:
    text = io.StringIO()
    state = SeedProgress(seed=1, n_epochs=4, epoch=2, n_steps_done=5, n_steps=20, train_loss=0.5, validation_dice=0.25)
    with TrainingDisplay(Console(file=text)) as display:
        display(TrainingProgress((state,), elapsed_s=10.0))
    assert "seed 1: epoch 2/4 loss 0.500 Dice 0.250   30 s left" in text.getvalue()
