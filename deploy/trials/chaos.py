"""`make chaos`: parts of the service are killed at random moments; no accepted study may be lost, changed or doubled.

Two Ray nodes on this machine, a pool of tiny networks in two shards, clients that send small studies and fetch the
results. Meanwhile a shard, the selector, the front, the HTTP proxy, Serve's controller or the whole second node dies by
SIGKILL, in an order and at moments that a seed decides, and when most studies are done everything dies at once and is
started again. In the end every study must have the bytes of `pool.analysis`.
"""

from __future__ import annotations

import random
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from deploy.trials.clients import Clients, Fate
from deploy.trials.processes import CONTROLLER, PROXY, REPLICA, kill
from deploy.trials.service import ServiceUnderTest
from deploy.trials.studies import reference, write_small_study, write_tiny_pool
from pool.member import Pool
from serve.store.records import StudyState
from serve.store.studies import StudyStore

N_MEMBERS = 4
WANTED = ("result.json", "maps.npz")
NODE, EVERYTHING = "second node", "everything"
TARGETS = {
    "shard": f"{REPLICA}[^:]+:shard-",
    "selector": f"{REPLICA}[^:]+:selector",
    "front": f"{REPLICA}[^:]+:front",
    "proxy": PROXY,
    "controller": CONTROLLER,
}
"""What is killed, by the pattern of its processes' titles."""
ALL_AT_ONCE_AFTER = 0.6
"""Share of the studies that are done when everything is killed."""
LONGEST_PAUSE_S = 3.0
"""Between the moment that a kill waits for and the kill [s]."""

console = Console()


@dataclass(frozen=True)
class Kill:
    """One kill of a plan."""

    after: int
    """Studies that are done by then."""
    pause_s: float
    """How long after that [s]."""
    target: str


def plan_of(n_studies: int, n_each: int, rng: random.Random) -> list[Kill]:
    """Every part so many times, in random order at random moments, and everything once.

    Moments are numbers of finished studies, so that a plan fits fast and slow machines. Several kills at about the
    same moment hit a service that has not recovered.
    """
    targets = [*TARGETS, NODE] * n_each
    rng.shuffle(targets)
    moments = sorted(rng.randrange(round(0.95 * n_studies)) for _ in targets)
    kills = [Kill(after, rng.uniform(0, LONGEST_PAUSE_S), target) for after, target in zip(moments, targets)]
    all_at_once = Kill(round(ALL_AT_ONCE_AFTER * n_studies), rng.uniform(0, LONGEST_PAUSE_S), EVERYTHING)
    return sorted([*kills, all_at_once], key=lambda kill: kill.after)


def lose(service: ServiceUnderTest, target: str, rng: random.Random) -> bool:
    """Kill a part of the service; False where there was nothing to kill at that moment."""
    if target == EVERYTHING:
        service.stop()
        service.start()
    elif target == NODE:
        service.nodes.lose_second()
        time.sleep(rng.uniform(0, 3))
        service.nodes.start_second()
    else:
        victims = [pid for pid, title in service.nodes.processes().items() if re.match(TARGETS[target], title)]
        return bool(victims) and kill(rng.choice(sorted(victims)))
    return True


def carry_out(plan: Sequence[Kill], service: ServiceUnderTest, clients: Clients, rng: random.Random) -> Counter[str]:
    """Kill as planned while the clients work; returns how often what died."""
    killed: Counter[str] = Counter()
    for planned in plan:
        while clients.is_working and clients.n_done < planned.after:
            time.sleep(0.05)
        time.sleep(planned.pause_s)
        while clients.is_working and not lose(service, planned.target, rng):
            time.sleep(0.2)  # it has died already and is not back yet
        if clients.is_working:
            killed[planned.target] += 1
            console.print(
                f"{clients.n_done:4d} of {len(clients.fates)} done; killed: {planned.target}", highlight=False
            )
    return killed


def judge(
    fates: Sequence[Fate], expected: Sequence[dict[str, bytes]], store: StudyStore, before: Collection[str]
) -> dict[str, int]:
    """How many accepted studies were lost, answered differently, or done more than once.

    Args:
        fates: what became of each study that was sent.
        expected: its right result files by name.
        store: of the service.
        before: ids of studies that were there before.
    """
    accepted = [(fate, answer) for fate, answer in zip(fates, expected, strict=True) if fate.id]
    ids = {fate.id for fate, _ in accepted}
    again = [record.id for record in store.records() if record.id not in ids and record.id not in before]
    for study_id in ids:
        kinds = [event.kind for event in store.events(study_id)]
        again += [study_id] * (kinds.count("done") - 1)
        again += [study_id] * ("done" in kinds and "started" in kinds[kinds.index("done") :])
    return {
        "sent": len(fates),
        "accepted": len(accepted),
        "done": sum(fate.state == StudyState.DONE for fate, _ in accepted),
        "lost": len(fates) - sum(bool(fate.answer) for fate, _ in accepted),
        "different": sum(bool(fate.answer) and fate.answer != answer for fate, answer in accepted),
        "duplicated": len(again),
    }


def main(
    studies: Annotated[int, typer.Option(help="How many small studies are sent.")] = 120,
    clients: Annotated[int, typer.Option(help="Clients at once.")] = 8,
    seed: Annotated[int, typer.Option(help="Decides what is killed when.")] = 1,
    kills: Annotated[int, typer.Option(help="How often each part is killed.")] = 4,
    deadline: Annotated[float, typer.Option(help="When to give up [s].")] = 1800.0,
) -> None:
    """Kill and judge; exit code 1 unless lost, different and duplicated are all 0."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    started_s = time.monotonic()
    try:
        counts, killed = run(folder, studies, clients, seed, kills, deadline)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = Table("sent", "accepted", "done", "lost", "different", "duplicated", title=f"seed {seed}")
    table.add_row(*(str(counts[name]) for name in ("sent", "accepted", "done", "lost", "different", "duplicated")))
    console.print(table)
    console.print(f"killed: {', '.join(f'{name} {n} x' for name, n in killed.items())}", highlight=False)
    console.print(f"took {time.monotonic() - started_s:.0f} s", highlight=False)
    if any(counts[name] for name in ("lost", "different", "duplicated")) or not killed[EVERYTHING]:
        raise typer.Exit(1)


def run(
    folder: Path, n_studies: int, n_clients: int, seed: int, n_kills: int, deadline_s: float
) -> tuple[dict[str, int], Counter[str]]:
    """The trial in a folder of its own: what became of the studies, and what was killed how often."""
    torch.set_num_threads(1)
    write_tiny_pool(folder / "pool", N_MEMBERS)
    service = ServiceUnderTest(folder)
    console.print("starting two nodes and the service on them", highlight=False)
    try:
        service.start()
        return attack(service, folder, n_studies, n_clients, seed, n_kills, deadline_s)
    finally:
        service.stop()


def attack(
    service: ServiceUnderTest,
    folder: Path,
    n_studies: int,
    n_clients: int,
    seed: int,
    n_kills: int,
    deadline_s: float,
) -> tuple[dict[str, int], Counter[str]]:
    """The trial with a service that runs; studies are written into the folder."""
    (folder / "sent").mkdir()
    paths = [write_small_study(folder / "sent" / f"{i:04d}.npz", 1000 * seed + i) for i in range(n_studies)]
    pool, store = Pool.load(service.settings.pool_dir), StudyStore(service.settings.studies_dir)
    expected = [reference(path, pool, service.settings.analysis) for path in paths]
    before = {record.id for record in store.records()}
    clients, rng = Clients(service.url, paths, n_clients, WANTED, deadline_s), random.Random(seed)
    clients.start()
    killed = carry_out(plan_of(n_studies, n_kills, rng), service, clients, rng)
    clients.join()
    for fate in clients.fates:
        if fate.trouble:
            console.print(f"{fate.study.name} {fate.id}: {fate.trouble}", highlight=False, markup=False)
    return judge(clients.fates, expected, store, before), killed


if __name__ == "__main__":
    typer.run(main)
