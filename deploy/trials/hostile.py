"""`make hostile`: requests made up from the OpenAPI document, and thousands of damaged uploads.

No answer may be a 5xx, none may show a path or a stack, and the memory of front and proxy stays within bounds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated

import httpx
import numpy as np
import torch
import typer
from rich.console import Console

from deploy.trials.memory import MemoryWatch
from deploy.trials.mutations import Upload, mutated, originals
from deploy.trials.studies import write_tiny_pool
from pool.progress import ProgressBar
from serve.local import free_port, running_service
from serve.settings import ServiceSettings

N_MEMBERS = 2
MOST_GROWTH_MB = 600.0
"""How much the front and the proxy may grow together [MB]."""
LEAK = re.compile(r"/tmp/|/home/|/root|/usr/|/work/|site-packages|Traceback|File \"|\.py\b|0x[0-9a-f]{8}|SECRET", re.I)
"""What no answer may hold: paths, stacks, addresses, and the patient of the damaged files."""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
console = Console()


@dataclass
class Outcome:
    """What came of the damaged uploads."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Of all answers."""
    faults: list[str] = field(default_factory=list)
    """What must not be, in words."""
    growth_mb: float = 0.0
    """Memory of front and proxy, greatest minus first [MB]."""
    memory: str = ""
    """The same in words."""


def fault_of(answer: httpx.Response) -> str:
    """What is wrong with an answer; empty if nothing."""
    if answer.status_code >= 500:
        return f"HTTP {answer.status_code}"
    if found := LEAK.search(answer.text):
        return f"HTTP {answer.status_code} shows {found.group()!r}"
    if answer.status_code >= 400 and not {"error", "message"} <= set(answer.json()):
        return f"HTTP {answer.status_code} without words"
    return ""


def send_all(url: str, uploads: Iterator[Upload], n_uploads: int, n_threads: int) -> Outcome:
    """Send damaged uploads from several threads; what is accepted by chance is cancelled at once."""
    outcome, lock = Outcome(), threading.Lock()
    left: SimpleQueue[Upload] = SimpleQueue()
    for _, upload in zip(range(n_uploads), uploads):
        left.put(upload)

    def work() -> None:
        with httpx.Client(base_url=url, timeout=300) as http:
            while True:
                try:
                    upload = left.get_nowait()
                except Empty:
                    return
                answer = http.post("/v1/studies", files=[("files", file) for file in upload.files])
                while answer.status_code == 429:
                    time.sleep(1)
                    answer = http.post("/v1/studies", files=[("files", file) for file in upload.files])
                if answer.status_code in (200, 202):
                    http.delete(answer.json()["links"]["self"])
                with lock:
                    outcome.statuses[answer.status_code] += 1
                    bar(sum(outcome.statuses.values()), n_uploads)
                    if fault := fault_of(answer):
                        outcome.faults.append(f"{upload.what}: {fault}")

    with ProgressBar("damaged uploads") as bar:
        threads = [threading.Thread(target=work) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return outcome


def run_schemathesis(url: str, n_examples: int, seed: int) -> bool:
    """Requests made up from the document; True if every check held. Its report goes to this process's output."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
    options = [
        f"--checks={CHECKS}",
        f"--max-examples={n_examples}",
        f"--seed={seed}",
        "--phases=examples,coverage,fuzzing",
    ]
    quiet = ["--generation-database=none", "--no-color", "--workers=2", "--request-timeout=120"]
    return subprocess.run([*command, *options, *quiet], check=False).returncode == 0


def run(folder: Path, n_uploads: int, n_examples: int, seed: int, n_threads: int = 4) -> tuple[Outcome, bool]:
    """Both trials in a folder of their own."""
    torch.set_num_threads(1)
    write_tiny_pool(folder / "pool", N_MEMBERS)
    settings = ServiceSettings(
        pool_dir=folder / "pool",
        studies_dir=folder / "studies",
        port=free_port(),
        cpus_per_shard=0.5,
        stride_px=16,
        answer_deadline_s=0.5,
        max_upload_mb=64,
    )
    samples = originals(folder / "originals")
    with running_service(settings) as url, MemoryWatch() as watch:
        fine = run_schemathesis(url, n_examples, seed) if n_examples else True
        outcome = send_all(url, mutated(samples, np.random.default_rng(seed)), n_uploads, n_threads)
        outcome.growth_mb, outcome.memory = watch.growth_mb, watch.in_words()
        if httpx.get(f"{url}/readyz").status_code != 200:
            outcome.faults.append("the service is not ready afterwards")
    if outcome.growth_mb > MOST_GROWTH_MB:
        outcome.faults.append(f"front and proxy grew by {outcome.growth_mb:.0f} MB")
    return outcome, fine


def main(
    uploads: Annotated[int, typer.Option(help="Damaged uploads.")] = 2000,
    examples: Annotated[int, typer.Option(help="Requests that schemathesis makes up for each operation.")] = 40,
    seed: Annotated[int, typer.Option(help="Decides what is damaged and how.")] = 1,
) -> None:
    """Attack and judge; exit code 1 where anything went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    started_s = time.monotonic()
    try:
        outcome, fine = run(folder, uploads, examples, seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    statuses = ", ".join(f"{n} x {status}" for status, n in sorted(outcome.statuses.items()))
    console.print(f"{uploads} damaged uploads: {statuses}", highlight=False)
    console.print(f"memory {outcome.memory}", highlight=False)
    console.print(f"requests from the OpenAPI document: {'as documented' if fine else 'see above'}", highlight=False)
    console.print(f"took {time.monotonic() - started_s:.0f} s", highlight=False)
    for fault in outcome.faults[:20]:
        console.print(f"wrong: {fault}", highlight=False, markup=False)
    if outcome.faults or not fine:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
