"""Everything that can be chosen about the service: arguments, or environment variables with the prefix POOL_SERVE_."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from pool.analysis import AnalysisSettings
from pool.errors import SettingsError
from pool.guarded import ReadingLimits
from pool.manifest import PoolManifest
from pool.race_settings import RaceSettings
from pool.selection import RACE_RULE
from pool.sweep import SweepSettings
from serve.asl_settings import AslSettings
from serve.loopback import is_loopback
from serve.registry import SCHEME, RegisteredPool, fetch_pool

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class ServiceSettings(AslSettings):
    """Settings of one service.

    Raises:
        SettingsError: a value that makes no sense, in words; never pydantic's own error.
    """

    model_config = SettingsConfigDict(env_prefix="POOL_SERVE_", frozen=True, extra="forbid")

    pool_dir: Path = Field(
        description="Folder with the pool: manifest.json and weights. Or models:/NAME@ALIAS, models:/NAME/VERSION."
    )
    mlflow_uri: str | None = Field(default=None, description="MLflow registry that knows models:/...")
    pool_cache_dir: Path = Field(
        default=Path("pools"), description="Where registered pools are kept; every node must see it."
    )
    pool_origin: str = Field(default="", description="Registered version in pool_dir; the service fills it in.")
    studies_dir: Path = Field(default=Path("studies"), description="Folder of the study store; made when missing.")
    n_shards: int = Field(
        default=2, ge=1, description="Shard deployments; at most as many as members, if all sweep patches."
    )
    threads_per_shard: int = Field(default=1, ge=1, le=256, description="Threads of torch in every shard.")
    cpus_per_shard: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="CPUs reserved for a shard in Ray."
    )
    gpus_per_shard: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="GPUs reserved for a shard, or a part."
    )
    rule: str = Field(default="min-u_pp", description="Selection rule, see pool.selection.SELECTION_RULES.")
    stride_px: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Stride of the U-map [px]; the paper's is 2; 8 is 13 x faster.",
    )
    race_audit: bool = Field(
        default=False,
        description="With rule min-u_pp-race: sweep all members in full too, and record what that would have chosen.",
    )
    least_members: int | None = Field(
        default=None, ge=1, description="Fewest members whose answers make a result; default: all that are asked."
    )
    slice_deadline_s: Seconds = Field(
        default=1800.0,
        description="Longest wait for all answers on one slice or ASL image, or one round of a race [s].",
    )
    stall_deadline_s: Seconds = Field(
        default=300.0, description="A shard whose work makes no progress for so long is replaced [s]."
    )
    readiness_deadline_s: Seconds = Field(default=5.0, description="Longest wait for a shard to say what it holds [s].")
    start_deadline_s: Seconds = Field(default=600.0, description="Longest wait for all shards to load at start-up [s].")
    slices_in_flight: int = Field(default=2, ge=1, le=64, description="Slices and ASL images in work at once.")
    studies_at_once: int = Field(default=2, ge=1, le=64, description="Studies that are worked on at once.")
    most_waiting: int = Field(
        default=500, ge=1, le=100_000, description="Studies that may wait or be in work; more are told to come again."
    )
    max_upload_mb: int = Field(default=2048, ge=1, description="Largest upload [MB].")
    upload_deadline_s: Seconds = Field(default=900.0, description="Longest time that an upload may take [s].")
    uploads_read_at_once: int = Field(default=2, ge=1, le=64, description="Uploads that are opened at once.")
    reader_memory_mb: int = Field(
        default=2048, ge=64, description="Memory that opening one upload may take [MB]; it runs in its own process."
    )
    reader_deadline_s: Seconds = Field(default=240.0, description="Longest time that opening one upload may take [s].")
    answer_deadline_s: Seconds = Field(
        default=60.0, description="Longest time that POST /v1/analyse waits for a study to end [s]."
    )
    token_file: Path | None = Field(
        default=None,
        description="File of bearer tokens, a line 'name token' each; needed unless all requests come from loopback.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; any but loopback needs token_file.")
    port: int = Field(default=8000, ge=1, le=65_535, description="Port to listen on.")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            name = ".".join(str(part) for part in first["loc"]) or "value"
            message = first["msg"][0].lower() + first["msg"][1:]
            found = "none" if first["type"] == "missing" else repr(first["input"])
            raise SettingsError(f"service setting {name}", message.removeprefix("value error, "), found) from error

    @field_validator("pool_dir", "studies_dir", "pool_cache_dir", "token_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path is None or str(path).startswith(SCHEME):
            return path
        return path.expanduser().resolve()  # replicas work in other folders than the command that starts them

    @field_validator("rule")
    @classmethod
    def _known_rule(cls, rule: str) -> str:
        try:
            AnalysisSettings(rule=rule)
        except SettingsError as error:
            raise ValueError(error.rule) from error
        return rule

    @field_validator("stride_px")
    @classmethod
    def _fits_the_sweep(cls, stride_px: int, others: ValidationInfo) -> int:
        try:
            AnalysisSettings(sweep=SweepSettings(stride_px=stride_px), rule=others.data.get("rule", "min-u_pp"))
        except SettingsError as error:
            raise ValueError(error.rule) from error
        return stride_px

    @field_validator("race_audit")
    @classmethod
    def _of_a_race(cls, race_audit: bool, others: ValidationInfo) -> bool:
        if race_audit and others.data.get("rule") != RACE_RULE:
            raise ValueError(f"is of the rule {RACE_RULE} alone")
        return race_audit

    @field_validator("host")
    @classmethod
    def _open_with_tokens_alone(cls, host: str, others: ValidationInfo) -> str:
        if not is_loopback(host) and others.data.get("token_file") is None:
            raise ValueError("must be a loopback address, unless token_file says who may ask")
        return host

    def with_local_pool(self) -> ServiceSettings:
        """These settings with a registered pool fetched into a folder; unchanged where `pool_dir` is a folder.

        Raises:
            SettingsError: a name of another form, or no registry to ask.
            PoolRegistryError, OutputError: see `serve.registry.fetch_pool`.
        """
        if not str(self.pool_dir).startswith(SCHEME):
            return self
        wanted = RegisteredPool.parse(str(self.pool_dir))
        if self.mlflow_uri is None:
            raise SettingsError("service setting mlflow_uri", "must name the registry of a registered pool", "none")
        folder, version = fetch_pool(wanted, self.mlflow_uri, self.pool_cache_dir)
        return self.model_copy(update={"pool_dir": folder, "pool_origin": str(version)})

    @property
    def analysis(self) -> AnalysisSettings:
        """What decides the numbers."""
        race = RaceSettings(audit=True) if self.race_audit else None
        return AnalysisSettings(
            sweep=SweepSettings(stride_px=self.stride_px),
            rule=self.rule,
            race=race,
            n_threads=self.threads_per_shard,
            device=self.device,
        )

    @property
    def max_upload_bytes(self) -> int:
        """Largest upload [bytes]."""
        return self.max_upload_mb * 1_000_000

    @property
    def reading(self) -> ReadingLimits:
        """Limits of whatever opens an upload."""
        return ReadingLimits(self.reader_memory_mb, self.reader_deadline_s)

    @property
    def device(self) -> str:
        """Torch device of the shards."""
        return "cuda" if self.gpus_per_shard else "cpu"

    def check_pool(self, manifest: PoolManifest) -> None:
        """Refuse settings that do not fit the pool.

        Raises:
            SettingsError: more shards than members, more answers wanted than there are members, or members of trials
                that could never be believed.
        """
        self.check_trials(manifest)
        for name, value, most in (
            # Members of trials live in every shard, which share an image's trials: of them there is no fewest.
            ("n_shards", self.n_shards, math.inf if manifest.of_trials else manifest.n_members),
            ("least_members", self.least_members or 1, manifest.n_members),
        ):
            if value > most:
                raise SettingsError(
                    f"service setting {name}", f"must be from 1 to the pool's {manifest.n_members} members", str(value)
                )

    def check_cluster(self, resources: Mapping[str, float]) -> None:
        """Refuse a service that the cluster can never hold: Ray would wait for the resources for ever.

        Args:
            resources: `ray.cluster_resources()`.

        Raises:
            SettingsError: too few CPUs or GPUs.
        """
        for name, each in (("CPU", self.cpus_per_shard), ("GPU", self.gpus_per_shard)):
            has = resources.get(name, 0.0)
            # A shard fits on one device or on whole ones; 0.4 of a GPU goes in twice, not two and a half times.
            fits = math.floor(1 / each) * has if 0 < each < 1 and name == "GPU" else has / each if each else math.inf
            if fits + 1e-9 < self.n_shards:
                raise SettingsError(
                    f"service setting {name.lower()}s_per_shard",
                    f"{self.n_shards} shards of {each:g} {name} must fit into the cluster",
                    f"{has:g} {name}",
                    f"Lower n_shards or {name.lower()}s_per_shard, or start more nodes.",
                )
