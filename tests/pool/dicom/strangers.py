"""Files that nobody vouches for, read one after the other in a process with limits: what tests and `make fuzz` share.

Run as a program it fuzzes: `python -m tests.pool.dicom.strangers --n 20000 --seed 1` mutates real files and says which
mutation, if any, ended in something else than a study or a refusal in words.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from pool.asl.inputs import open_asl_study
from pool.dicom.frames import CLASSIC_CLASSES, ENHANCED_CLASSES, frame_records
from pool.dicom.opening import is_dicom, read_header, read_pixels, reading
from pool.dicom.read import read_dicom_study
from pool.errors import PoolError
from pool.run_choice import RunChoice
from tests.pool.dicom import asl_samples
from tests.pool.dicom import dicom_samples as samples

MEMORY_BYTES, SECONDS = 300 * 10**6, 5
"""What any one file may take beyond what the process has at its start, and of the processor."""
LENGTHS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xfe\xff\0\xe0")
"""Put where lengths may stand: undefined, huge, none; and the tag of an item."""
MOST_MUTATED_BYTES = 400_000
"""Larger files are not mutated: the run would be about them alone."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    name: str
    said: str
    """`read`, a refusal in words, or after `!` what should never be."""


def everything_of(path: Path) -> str:
    """Read whatever is in one file: as a study, then its frames and pixels; the refusal, or `read`."""
    refusals = []
    attempts = (_as_study, _as_asl, _as_frames)
    for attempt in attempts:
        try:
            attempt(path)
        except PoolError as error:
            refusals.append(str(error))
    return refusals[-1] if len(refusals) == len(attempts) else "read"


def _as_study(path: Path) -> None:
    read_dicom_study([path])


def _as_asl(path: Path) -> None:
    open_asl_study(path, RunChoice(pair_starts_with="control"))


def _as_frames(path: Path) -> None:
    if not is_dicom(path):
        read_dicom_study([path])
    header = read_header(path)
    with reading(path.name):
        if header.get("SOPClassUID") in CLASSIC_CLASSES + ENHANCED_CLASSES:
            frame_records(path, header)
            read_pixels(path)


def outcomes(files: Iterator[tuple[str, bytes]]) -> Iterator[Outcome]:
    """Read files in child processes with limits; a child that dies is replaced, and its file named."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "stranger"
        for name, content in files:
            place.write_bytes(content)
            yield Outcome(name, _in_child(lambda: everything_of(place)))


def _in_child(work: Callable[[], str]) -> str:
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(here)
        said = "!no word"
        try:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 1, SECONDS + 2))
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)  # codecs written in C complain there
            before = resource.getrusage(resource.RUSAGE_SELF)
            said = work()
            after = resource.getrusage(resource.RUSAGE_SELF)
            if after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime > SECONDS:
                said = f"!took more than {SECONDS} s"
        except BaseException:
            said = "!" + traceback.format_exc()
        finally:
            os.write(there, said.encode("utf-8", "replace")[:60_000])
            os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return f"!took more than {SECONDS} s"
        return f"crashed: {signal.Signals(number).name}"  # a codec's fault, which `pool.guarded` makes a refusal
    return said


def pydicom_files() -> list[Path]:
    """Every file that pydicom and the pydicom-data package bring along."""
    roots = [Path(pydicom.__file__).parent / "data" / "test_files"]
    try:
        import data_store
    except ImportError:
        pass
    else:
        roots.append(Path(data_store.__file__).parent / "data")
    return sorted(path for root in roots for path in root.rglob("*") if path.is_file())


def seeds(folder: Path) -> list[tuple[str, bytes]]:
    """Files to mutate: MR as vendors write it, small, in several transfer syntaxes."""
    pair = [("control", 0), ("labelled", 0), ("baseline", 0)]
    made = [
        samples.write(folder / name, dataset)
        for name, dataset in (
            ("classic", samples.classic(0, 0)),
            ("e", samples.enhanced()),
            ("asl", asl_samples.enhanced(pair)),
            ("asl-classic", asl_samples.image("control", 0)),
        )
    ]
    names = (
        "MR_small",
        "emri_small",
        "MR_truncated",
        "MR2_J2KI",
        "MR-SIEMENS-DICOM-WithOverlays",
        "693_J2KR",
        "JPEG-LL",
    )
    found = [path for path in pydicom_files() if path.name.startswith(names)]
    contents = [(path.name, path.read_bytes()) for path in (*made, *found)]
    return [(name, content) for name, content in contents if len(content) <= MOST_MUTATED_BYTES]


def mutations(originals: Sequence[tuple[str, bytes]], n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`n` mutated files, the same for the same seed: bytes changed, cut out, doubled, lengths made huge."""
    for i in range(n):
        random = np.random.default_rng([seed, i])
        name, content = originals[int(random.integers(len(originals)))]
        data = bytearray(content)
        for _ in range(int(random.integers(1, 9))):
            # headers are where parsers err: half of all changes fall into the first 4 kB
            at = int(random.integers(132, min(len(data), 4096 if random.random() < 0.5 else len(data))))
            kind = int(random.integers(6))
            length = int(random.integers(1, 33))
            if kind == 0:
                data[at] = int(random.integers(256))
            elif kind == 1:
                data[at : at + 4] = random.choice(
                    [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xfe\xff\0\xe0"]
                )
            elif kind == 2:
                del data[at : at + length]
            elif kind == 3:
                data[at:at] = data[at : at + length]
            elif kind == 4:
                data[at : at + length] = random.bytes(length)
            elif random.random() < 0.2 and len(data) > 400:
                del data[at + 132 :]
            if len(data) < 200:
                break
        yield f"{i} from {name}", bytes(data)


def main() -> int:
    """Fuzz for as long as it was asked to; 1 if anything was neither read nor refused."""
    parser = argparse.ArgumentParser(description="mutate real DICOM files and read them")
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    counts = {"read": 0, "refused": 0, "crashed": 0}
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        originals = seeds(Path(folder))
        for outcome in outcomes(mutations(originals, options.n, options.seed)):
            if outcome.said.startswith("!"):
                wrong += 1
                print(f"{outcome.name}: {outcome.said}", flush=True)
            elif outcome.said.startswith("crashed"):
                counts["crashed"] += 1
                print(f"{outcome.name}: {outcome.said}", flush=True)
            else:
                counts["read" if outcome.said == "read" else "refused"] += 1
    print(f"{options.n} files with seed {options.seed}: {counts}, neither: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
