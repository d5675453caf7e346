"""`python -m deploy.generate [--check]`, or `... --gpus 8 --gpus-per-shard 0.5 --out DIR` for another size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.generate.files import all_files, manifests_of
from deploy.generate.sizes import ClusterSize
from pool.errors import OutputError
from serve.command_line import refusals_in_words, say

DEPLOY = Path(__file__).parents[1]
EXIT_STALE = 1


def generate(
    check: Annotated[bool, typer.Option("--check", help="Only say which files are not as they would be made.")] = False,
    gpus: Annotated[
        int | None, typer.Option(help="Instead: manifests for a cluster of so many GPUs, into --out.")
    ] = None,
    gpus_per_shard: Annotated[float, typer.Option(help="GPUs of a shard, or the part of one.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Folder for these manifests.")] = Path("my-cluster"),
) -> None:
    """Write the files of `deploy/` that follow from the service's settings."""
    with refusals_in_words():
        if gpus is not None:
            files = {out / name: text for name, text in manifests_of(ClusterSize(gpus, gpus_per_shard)).items()}
        else:
            files = {DEPLOY / path: text for path, text in all_files().items()}
        stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        if check:
            for path in stale:
                say.print(f"not as it would be made: {path}", highlight=False)
            raise typer.Exit(EXIT_STALE if stale else 0)
        for path in stale:
            _write(path, files[path])
        say.print(f"wrote {len(stale)} of {len(files)} files, the others were so already", highlight=False)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"file {path.name}", "must be writable", error.strerror or "") from error


if __name__ == "__main__":
    typer.run(generate)
