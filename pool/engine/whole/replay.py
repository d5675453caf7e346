"""A step captured as a CUDA graph, so that its hundreds of kernels start without waiting for Python."""

from __future__ import annotations

from collections.abc import Callable

import torch


class Replay:
    """Runs a step that takes no arguments, works on the same tensors every time and waits for nothing.

    Args:
        step: to run; on GPUs it is run once or twice here, to warm up.
        device: where.
        graph: whether to capture it; off a GPU it never is.
    """

    def __init__(self, step: Callable[[], None], device: torch.device, graph: bool = True) -> None:
        self._graph: torch.cuda.CUDAGraph | None = None
        self.why_not = "no GPU" if device.type != "cuda" else "" if graph else "not asked for"
        """Why the step is not captured; empty if it is."""
        if not self.why_not:
            self._capture(step, device)
        self._step = step if self.why_not else None  # a bound method would keep its object's memory in a cycle

    def __call__(self) -> None:
        """Run the step."""
        if self._graph is not None:
            self._graph.replay()
        elif self._step is not None:
            self._step()

    @property
    def how(self) -> str:
        """In words."""
        return f"eager ({self.why_not})" if self.why_not else "CUDA graph"

    def _capture(self, step: Callable[[], None], device: torch.device) -> None:
        current = torch.cuda.current_stream(device)
        aside = torch.cuda.Stream(device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):  # libraries make their choices and workspaces before the capture
            for _ in range(2):
                step()
        current.wait_stream(aside)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # an operation that cannot be captured: slower, but right
            self.why_not = f"capture failed: {str(error).splitlines()[0][:160]}"
            torch.cuda.synchronize(device)
            return
        self._graph = graph
