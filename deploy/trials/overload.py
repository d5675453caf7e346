"""Many clients at once against a short queue: nothing but 429 and 503 is refused, and all that is accepted is done.

Every client sends its own study in one attempt after the other, with no patience of its own, and notes each status. The
memory of the front and of the proxy is watched meanwhile.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import torch
import typer
from rich.console import Console

from deploy.trials.memory import MemoryWatch
from deploy.trials.studies import write_small_study, write_tiny_pool
from serve.client import ServiceClient
from serve.local import free_port, running_service
from serve.settings import ServiceSettings

N_MEMBERS = 2
MOST_GROWTH_MB = 400.0
"""How much the front and the proxy may grow together [MB]."""
console = Console()


@dataclass
class Outcome:
    """What came of it."""

    statuses: Counter[str] = field(default_factory=Counter)
    """Of all attempts: an HTTP status, or the name of what went wrong instead."""
    no_retry_after: int = 0
    """429 and 503 that did not say when to come again."""
    accepted: set[str] = field(default_factory=set)
    """Ids of studies."""
    not_done: list[str] = field(default_factory=list)
    """Accepted studies that did not end as done."""
    growth_mb: float = 0.0
    """Memory of front and proxy, greatest minus first [MB]."""
    memory: str = ""
    """The same in words."""

    @property
    def faults(self) -> list[str]:
        """What must not be, in words."""
        others = {status: n for status, n in self.statuses.items() if status not in ("200", "202", "429", "503")}
        found = [f"{n} x {status}" for status, n in others.items()]
        if self.no_retry_after:
            found.append(f"{self.no_retry_after} refusals without Retry-After")
        if self.not_done:
            found.append(f"{len(self.not_done)} accepted studies are not done")
        if self.growth_mb > MOST_GROWTH_MB:
            found.append(f"front and proxy grew by {self.growth_mb:.0f} MB")
        return found


def flood(url: str, studies: Sequence[Path], deadline_s: float) -> Outcome:
    """One client a study, all at once, each until it was accepted."""
    outcome, lock = Outcome(), threading.Lock()
    end_s = time.monotonic() + deadline_s
    begin = threading.Barrier(len(studies))

    def send(study: Path) -> None:
        content = study.read_bytes()
        with httpx.Client(base_url=url, timeout=300) as http:
            begin.wait()
            while time.monotonic() < end_s:
                try:
                    answer = http.post("/v1/studies", files={"files": (study.name, content)})
                    status = str(answer.status_code)
                except httpx.HTTPError as error:
                    answer, status = None, type(error).__name__
                with lock:
                    outcome.statuses[status] += 1
                    if answer is not None and answer.status_code in (200, 202):
                        outcome.accepted.add(answer.json()["id"])
                        return
                    if status in ("429", "503") and answer is not None and "Retry-After" not in answer.headers:
                        outcome.no_retry_after += 1
                time.sleep(1.0)  # sooner than it is asked for

    threads = [threading.Thread(target=send, args=(study,)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def run(folder: Path, n_clients: int, most_waiting: int, deadline_s: float) -> Outcome:
    """The trial in a folder of its own."""
    torch.set_num_threads(1)
    write_tiny_pool(folder / "pool", N_MEMBERS)
    (folder / "sent").mkdir()
    studies = [write_small_study(folder / "sent" / f"{i:03d}.npz", i) for i in range(n_clients)]
    settings = ServiceSettings(
        pool_dir=folder / "pool",
        studies_dir=folder / "studies",
        port=free_port(),
        cpus_per_shard=0.5,
        stride_px=16,
        most_waiting=most_waiting,
    )
    with running_service(settings) as url, ServiceClient(url, patience_s=60) as client:
        with MemoryWatch() as watch:
            outcome = flood(url, studies, deadline_s)
            for study_id in outcome.accepted:
                try:
                    client.wait(study_id, deadline_s=deadline_s)
                except Exception as error:
                    outcome.not_done.append(f"{study_id}: {type(error).__name__}")
        outcome.growth_mb, outcome.memory = watch.growth_mb, watch.in_words()
    return outcome


def main(
    clients: Annotated[int, typer.Option(help="Clients at once.")] = 64,
    queue: Annotated[int, typer.Option(help="Studies that there is room for.")] = 8,
    deadline: Annotated[float, typer.Option(help="When to give up [s].")] = 1200.0,
) -> None:
    """Flood and judge; exit code 1 where anything went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="overload-"))
    started_s = time.monotonic()
    try:
        outcome = run(folder, clients, queue, deadline)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    statuses = ", ".join(f"{n} x {status}" for status, n in sorted(outcome.statuses.items()))
    console.print(f"{clients} clients, room for {queue}: {statuses}", highlight=False)
    n_done = len(outcome.accepted) - len(outcome.not_done)
    console.print(f"accepted {len(outcome.accepted)}, done {n_done}", highlight=False)
    console.print(f"memory {outcome.memory}", highlight=False)
    console.print(f"took {time.monotonic() - started_s:.0f} s", highlight=False)
    if outcome.faults or len(outcome.accepted) != clients:
        console.print(f"wrong: {'; '.join(outcome.faults) or 'not every client was served'}", highlight=False)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
