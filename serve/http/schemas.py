"""Bodies of the HTTP answers, with examples for the OpenAPI document."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pool.manifest import PoolManifest
from serve.store.records import StudyRecord, StudyState

EXAMPLE_ID = "5f0c0d8f6a0b4d6f9a37c1d2e3f40516"
EVENTS_EXAMPLE = """id: 3
event: answer
data: {"slice": "base", "member": "seed0-epoch003", "u_pp": 0.0042}

"""
METRICS_EXAMPLE = """pool_studies{state="running"} 2.0
pool_chosen_total{member="seed0-epoch003"} 41.0
"""


class StudyView(BaseModel):
    """A study as the service sees it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": EXAMPLE_ID,
                    "state": "running",
                    "created_at": "2026-01-31T09:30:00.000+00:00",
                    "n_sweeps": 150,
                    "n_sweeps_done": 42,
                    "reason": "",
                    "results": [],
                    "links": {"self": f"/v1/studies/{EXAMPLE_ID}"},
                }
            ]
        }
    )

    id: str = Field(description="Random id of the study.")
    state: StudyState = Field(description="received, running, done, failed or cancelled.")
    created_at: str = Field(description="When it was accepted, ISO 8601, UTC.")
    n_sweeps: int = Field(description="Slices, or one ASL image, x members that are asked: the work in total.")
    n_sweeps_done: int = Field(description="Answers so far; in a race, that share of its patch passes.")
    reason: str = Field(description="Why it failed; empty otherwise.")
    results: list[str] = Field(description="Names of its result files, once done.")
    links: dict[str, str] = Field(description="Paths of the study itself and, once done, of its results by name.")

    @classmethod
    def of(cls, record: StudyRecord) -> StudyView:
        """The view of a record."""
        own = f"/v1/studies/{record.id}"
        return cls(
            id=record.id,
            state=record.state,
            created_at=record.created_at,
            n_sweeps=record.n_sweeps,
            n_sweeps_done=record.n_sweeps_done,
            reason=record.reason,
            results=list(record.results),
            links={"self": own, **{name: f"{own}/{name}" for name in record.results}},
        )


class StudyPage(BaseModel):
    """Some of the studies, the oldest first."""

    n_studies: int = Field(description="Number of studies in the store.", examples=[1])
    studies: list[StudyView]


class MemberView(BaseModel):
    """A member of the pool."""

    id: str = Field(examples=["seed0-epoch003"])
    seed: int = Field(examples=[0])
    epoch: int = Field(examples=[3])
    validation_dice: float = Field(description="Myocardial Dice on the validation set.", examples=[0.84])
    weights_sha256: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    kind: str = Field(description="unet: sweeps patches; mcd-unet, prob-unet: make trials.", examples=["unet"])
    shard: int | None = Field(
        description="The shard that holds it; null for members of trials, which all hold.", examples=[0]
    )


class PoolView(BaseModel):
    """The pool that the service works with."""

    name: str = Field(examples=["phantom-2x3"])
    sha256: str = Field(
        description="Hash of the manifest, as in every result.",
        examples=["0b1f4d7c2a9e4f8f8a3c5b6d7e8f90112233445566778899aabbccddeeff0011"],
    )
    origin: str = Field(
        description="Version in the registry; empty for a pool from a folder.", examples=["models:/perfusion/3"]
    )
    rule: str = Field(
        description="Selection rule of slices; of ASL images it is max-expected-dice.", examples=["min-u_pp"]
    )
    n_shards: int = Field(examples=[2])
    members: list[MemberView]

    @classmethod
    def of(cls, manifest: PoolManifest, rule: str, n_shards: int, origin: str) -> PoolView:
        """The view of a manifest."""
        shards = {entry.id: i % n_shards for i, entry in enumerate(manifest.of_patches)}
        members = [
            MemberView(
                id=entry.id,
                seed=entry.seed,
                epoch=entry.epoch,
                validation_dice=entry.validation_dice,
                weights_sha256=entry.weights_sha256,
                kind=entry.network.kind,
                shard=shards.get(entry.id),
            )
            for entry in manifest.members
        ]
        return cls(
            name=manifest.name,
            sha256=manifest.sha256(),
            origin=origin,
            rule=rule,
            n_shards=n_shards,
            members=members,
        )


class HealthView(BaseModel):
    """Whether the service is alive, or ready."""

    ok: bool = Field(examples=[True])
    complaints: list[str] = Field(description="What keeps it from being ready.", examples=[[]])


class ErrorView(BaseModel):
    """Body of every refusal: subject, rule, found value and remedy, as fields and as one sentence."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": "TooFewFramesError",
                    "message": "series: a first pass needs at least 8 frames a slice; found 5 frames.",
                    "subject": "series",
                    "rule": "a first pass needs at least 8 frames a slice",
                    "found": "5 frames",
                    "remedy": "Was the export cut, or is this a localiser?",
                }
            ]
        }
    )

    error: str
    message: str
    subject: str = ""
    rule: str = ""
    found: str = ""
    remedy: str = ""
