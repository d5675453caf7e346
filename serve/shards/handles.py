"""The seam to Ray Serve's handles: deployments of this application behind plain interfaces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RaySystemError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from pool.answers import MemberAnswer, MemberFailure
from pool.moments import Moments
from pool.shapes import SliceFrames
from pool.sweep import SweepSettings
from pool.trials.settings import TrialSettings
from pool.trials.sums import TrialSums
from serve.shards.fan_out import ShardGoneError, Stream
from serve.shards.trial_parts import TrialPart

_DEATHS = (
    RayActorError,
    NodeDiedError,
    WorkerCrashedError,
    ObjectLostError,  # what it was about to answer went with its node
    RaySystemError,
    TaskCancelledError,  # a replica that is told to stop
    RequestCancelledError,
)


class ShardHandle:
    """A shard deployment as a `serve.shards.fan_out.Shard`."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle, self._stream = handle, handle.options(stream=True)

    async def ask(
        self, reference: Any, settings: SweepSettings, member_ids: Sequence[str]
    ) -> AsyncGenerator[tuple[str, MemberAnswer], None]:
        """See `serve.shards.fan_out.Shard.ask`; an ObjectRef goes top-level, so that it arrives as a slice."""
        async with aclosing(_answers(self._stream.analyse.remote(reference, settings, member_ids))) as stream:
            async for member_id, answer in stream:
                yield member_id, answer

    async def refine(
        self, reference: Any, settings: SweepSettings, n_patches: int, starts: Mapping[str, Moments | None]
    ) -> AsyncGenerator[tuple[str, Moments | MemberFailure], None]:
        """See `serve.shards.fan_out.Shard.refine`; `reference` as in `ask`."""
        async with aclosing(_answers(self._stream.refine.remote(reference, settings, n_patches, starts))) as stream:
            async for member_id, answer in stream:
                yield member_id, answer

    async def sample(
        self, image: SliceFrames, settings: TrialSettings, parts: Sequence[TrialPart]
    ) -> AsyncGenerator[tuple[TrialPart, TrialSums | MemberFailure], None]:
        """See `serve.shards.fan_out.Shard.sample`."""
        async with aclosing(_answers(self._stream.sample.remote(image, settings, parts))) as stream:
            async for part, answer in stream:
                yield part, answer

    async def loaded(self) -> tuple[str, ...]:
        """See `serve.shards.fan_out.Shard.loaded`."""
        return tuple(await self._handle.loaded.remote())


async def _answers(response: Any) -> Stream:
    try:
        async for member_id, answer in response:
            yield member_id, answer
    except BackPressureError as error:
        raise ShardGoneError("the shard's queue is full") from error
    except DeploymentUnavailableError as error:
        raise ShardGoneError("the shard could not be started") from error
    except _DEATHS as error:
        raise ShardGoneError("the shard died") from error
    finally:
        response.cancel()  # without it, a shard goes on for a caller that has stopped listening


class RunnerHandle:
    """The selector deployment as a `serve.generations.Runner`."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def wake(self) -> None:
        """See `serve.generations.Runner.wake`."""
        await self._handle.wake.remote()

    async def stop(self, study_id: str) -> None:
        """See `serve.generations.Runner.stop`."""
        await self._handle.stop.remote(study_id)

    async def ready(self) -> list[str]:
        """See `serve.generations.Runner.ready`."""
        return list(await self._handle.ready.remote())

    async def metrics(self) -> str:
        """See `serve.generations.Runner.metrics`."""
        return str(await self._handle.metrics.remote())
