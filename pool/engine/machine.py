"""What a measured time depends on: the machine and the libraries, as data."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from pool.errors import SettingsError


@dataclass(frozen=True)
class Machine:
    """Hardware and versions of this process."""

    processor: str
    """Model name as the system gives it; virtual machines often give the family alone."""
    instructions: str
    """Widest vector instructions torch uses, such as AVX2 or AVX512."""
    n_cores: int
    """Cores this process may use."""
    gpu: str
    """Name of the GPU; empty where there is none or it is not used."""
    n_threads: int
    """Torch's threads."""
    python_version: str
    torch_version: str
    numpy_version: str

    @classmethod
    def here(cls, device: torch.device) -> Machine:
        """This machine, seen from a device."""
        return cls(
            processor=_processor(),
            instructions=torch.backends.cpu.get_cpu_capability(),
            n_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else "",
            n_threads=torch.get_num_threads(),
            python_version=platform.python_version(),
            torch_version=torch.__version__,
            numpy_version=np.__version__,
        )

    def to_dict(self) -> dict[str, str | int]:
        """JSON-ready fields."""
        return asdict(self)


def device_named(name: str) -> str:
    """The device if torch can use it here.

    Raises:
        SettingsError: an unknown or unavailable device.
    """
    try:
        torch.zeros(1, device=name).item()
    except Exception as error:  # torch raises a different one for every device it does not have
        raise SettingsError("--device", "must be a device torch can use here", repr(name), "Try cpu.") from error
    return name


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
