"""What both sides of the wire say about datasets, jobs and reports: one schema for HTTP, OpenAPI and client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints, WrapValidator


class Stage(StrEnum):
    """The four stages, in the order of the flow; each is a queue and a pool of workers."""

    DOWNLOAD = "download"
    PREPROCESS = "preprocess"
    INFERENCE = "inference"
    SELECTION = "selection"


SCAN_STAGES = (Stage.DOWNLOAD, Stage.PREPROCESS, Stage.INFERENCE)
"""The stages that a chunk passes through; selection is one unit for the whole job."""


class JobState(StrEnum):
    QUEUED = "queued"  # accepted; nothing of it runs yet
    RUNNING = "running"  # its samples are being scanned or selected from
    SUCCEEDED = "succeeded"  # its report is there
    FAILED = "failed"  # nothing could be selected; `error` says why
    CANCELLED = "cancelled"  # by its owner

    @property
    def is_terminal(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Feature(StrEnum):
    """What inference computes of a sample and a strategy needs."""

    PROBABILITIES = "probabilities"  # (C,) float32, sums to 1
    LABEL_PROBABILITIES = "label_probabilities"  # (L,) float32 in [0, 1]: labels that do not exclude one another
    BOX_SCORES = "box_scores"  # (K,) float32 in [0, 1], falling: of an image's boxes, 0 where there is none
    EMBEDDINGS = "embeddings"  # (d,) float32, the input of the model's head
    PASS_SUMS = "pass_sums"  # noqa: S105 - (C + 1,) float32: the mean of T passes' probabilities, then of their entropies
    PASSES = "passes"  # (T * C,) float32: the probabilities of each of the T passes, one after the other
    BOUNDARY_DISTANCES = "boundary_distances"  # (1,) float32, by DeepFool; float32's largest where none was reached


OF_PASSES = frozenset({Feature.PASS_SUMS, Feature.PASSES})
"""What is made of stochastic passes: their number is part of what it is."""

ScoresOf = Literal["classes", "labels", "boxes"]
"""What a model's scores are of: classes that exclude one another, labels that do not, or boxes found in an image."""

SCORES: dict[ScoresOf, Feature] = {
    "classes": Feature.PROBABILITIES,
    "labels": Feature.LABEL_PROBABILITIES,
    "boxes": Feature.BOX_SCORES,
}
"""What a model gives of each sample; one of the three."""


Modality = Literal["vision", "text", "audio"]
"""What the samples of a dataset are, and what a model takes."""


class Strict(BaseModel):
    """Base of everything that comes from outside: unknown keys are refused, values are never coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]


Uris = Annotated[list[Uri], Field(fail_fast=True)]
"""A list with a million mistakes costs no more than its first."""


def _in_slices(value: Any, check: Callable[[Any], dict[str, str]]) -> dict[str, str]:
    """Check a large mapping a slice at a time: the same for mappings, for which pydantic has no `fail_fast`."""
    if not isinstance(value, dict):
        return check(value)
    items, checked = iter(value.items()), dict[str, str]()
    while part := dict(islice(items, 1000)):
        checked |= check(part)
    return checked or check(value)


class DatasetRequest(Strict):
    """POST /v1/datasets. Pushing to a name that exists adds the URIs that it lacks."""

    name: Name
    modality: Modality = "vision"
    tags: dict[Name, Name] = Field(default_factory=dict, max_length=50)
    uris: Uris = Field(default_factory=list, description="samples to push at once; more by /samples")


class Dataset(Strict):
    id: str
    name: str
    owner: str
    modality: str
    tags: dict[str, str]
    created: datetime
    samples: int
    labelled: int


class SamplesRequest(Strict):
    """POST /v1/datasets/{id}/samples as JSON. NDJSON (one JSON string or {"uri": ...} a line) is streamed."""

    uris: Uris = Field(min_length=1)


class SamplesAdded(Strict):
    received: int
    added: int
    duplicates: int = Field(description="URIs that the dataset held already, or that came twice")


class Sample(Strict):
    id: str
    uri: str
    label: str | None = None


class LabelsRequest(Strict):
    """POST /v1/datasets/{id}/labels: sample id or URI to label. A labelled sample leaves the pool."""

    labels: Annotated[dict[Uri, Name], Field(min_length=1), WrapValidator(_in_slices)]


class LabelsAdded(Strict):
    labelled: int


class StrategyRequest(Strict):
    """A strategy by name, and its own parameters beside `type`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    type: Name


class Policy(Strict):
    """Rules for the batch as a whole, with any strategy; without values, none. docs/strategies.md says what they do."""

    min_distance: float | None = Field(
        default=None,
        gt=0,
        le=1e30,
        allow_inf_nan=False,
        description="least distance of embeddings from a chosen sample to any other chosen or labelled",
    )
    max_per_class: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="most chosen samples of one predicted class"
    )
    max_per_source: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="most chosen samples of one source: scheme, host and folder"
    )
    random_share: float = Field(
        default=0.0, ge=0, le=1, description="share of the budget drawn uniformly at random, for unbiased evaluation"
    )
    exclude: Annotated[list[Uri], Field(max_length=10_000, fail_fast=True)] = Field(
        default_factory=list, description="sample ids or URIs that are never chosen"
    )


class Listing(Strict):
    """Where samples are listed: a prefix (a URI that ends in "/"), or a manifest (a file with a sample a row)."""

    uri: Uri = Field(description="of the prefix or the manifest, as this server's sources read it")
    column: Name | None = Field(default=None, description="a manifest's column of URIs; default: `uri`, if there")
    text_column: Name | None = Field(default=None, description="a manifest's column of texts, the samples themselves")
    label_column: Name | None = Field(default=None, description="a manifest's column of labels; empty cells are none")
    format: Literal["csv", "jsonl", "parquet"] | None = Field(default=None, description="default: told by the file")

    @property
    def is_prefix(self) -> bool:
        return self.uri.endswith("/")


class JobRequest(Strict):
    """POST /v1/jobs. Either `dataset_id` or `uris`. `kind: scan` computes features and selects nothing.

    `kind: import` adds what `listing` lists to the dataset, and takes nothing else.
    """

    kind: Literal["query", "scan", "import"] = "query"
    dataset_id: str | None = None
    uris: Uris | None = Field(default=None, min_length=1)
    modality: Modality | None = Field(default=None, description="of `uris`; default: what the model takes")
    listing: Listing | None = Field(default=None, description="of an import")
    model: Name | Annotated[list[Name], Field(max_length=64)] | None = Field(
        default=None,
        description="a model of the server's configuration, or two or more as a committee; default: its first of the"
        " samples' modality",
    )
    strategy: Name | StrategyRequest | None = Field(default=None, description="default: the configuration's")
    policy: Policy | None = Field(default=None, description="default: the configuration's; {} for none")
    budget: Annotated[StrictInt, Field(ge=1, lt=2**63)] | None = Field(
        default=None, description="how many samples to choose"
    )
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 0
    deadline_s: Annotated[float, Field(gt=0, le=30 * 86400)] | None = None


class StageProgress(Strict):
    done: int
    total: int


class Progress(Strict):
    """Samples that passed each stage; only moves forward. Cached samples count as done in every scan stage.

    Of an import, `total` counts the rows that were read so far, and `failed` those that were skipped.
    """

    total: int = 0
    cached: int = 0
    failed: int = 0
    stages: dict[Stage, StageProgress] = Field(default_factory=dict)


class Problem(Strict):
    """RFC 9457 `application/problem+json`; also the `error` of a failed job."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    field: str | None = None


class Job(Strict):
    id: str
    kind: str
    state: JobState
    owner: str
    dataset_id: str
    model: str | list[str]
    strategy: dict[str, Any] | None
    budget: int | None
    seed: int
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    deadline_s: float | None = None
    listing: dict[str, Any] | None = None
    progress: Progress
    error: Problem | None = None


class Neighbour(Strict):
    """What a chosen sample is nearest to, by the Euclidean distance of embeddings."""

    id: str
    uri: str
    kind: Literal["labelled", "chosen"] = Field(description="chosen: before it, by rank or at random")
    distance: float


class Chosen(Strict):
    """One sample of a report; `score` is higher for what should be labelled first. Absent: not known, or an old report.

    `drawn`: random for what a policy's random share drew, an unbiased sample whose score is the number it drew; filled
    for what came in the order of a hash, because the strategy was asked too often.
    """

    rank: int
    id: str
    uri: str
    score: float
    drawn: Literal["strategy", "random", "filled"] = "strategy"
    parts: dict[str, float] | None = Field(default=None, description="what the score is made of")
    nearest: Neighbour | None = None
    stands_for: int | None = Field(default=None, description="samples of the pool whose nearest chosen one this is")


class FailedSample(Strict):
    id: str
    uri: str
    code: str
    detail: str = ""


class SkippedRow(Strict):
    """A row of a manifest, or a file beneath a prefix, that became no sample; `row` counts from 1."""

    row: int
    code: str
    detail: str
    value: str = Field(description="how it begins")


class Imported(Strict):
    """What an import made of its listing: `received` = `added` + `duplicates` + what was skipped."""

    uri: str
    received: int = Field(description="rows of the manifest, or files beneath the prefix")
    added: int
    duplicates: int = Field(description="samples that the dataset held already, or that came twice")
    labelled: int = Field(description="samples that were given a label")
    skipped: dict[str, int] = Field(description="how many were left out, by code")
    examples: list[SkippedRow] = Field(description="the first of those that were left out")


class Report(Strict):
    """What a job gives back. A pure function of pool, model, strategy, policy, budget and seed: no times, no job id."""

    kind: str
    model: str | list[str] = Field(description="a list of them: the committee, as the job named it")
    fingerprint: str | list[str] = Field(description="of each model")
    strategy: dict[str, Any] | None
    policy: dict[str, Any] | None = None
    budget: int | None
    seed: int
    pool: int = Field(description="unlabelled samples that the job covered")
    duplicates: int = Field(description="URIs that came more than once; each is kept once")
    selected: list[Chosen]
    failed: list[FailedSample]
    warnings: list[str] = Field(default_factory=list)
    imported: Imported | None = Field(default=None, description="of an import, which selects nothing")


class ModelCard(Strict):
    """What is known of a model; everything below `modality` is None until an inference worker has loaded it."""

    name: str
    modality: str
    fingerprint: str | None = Field(
        default=None, description="SHA-256 over weights, transform and head; null: not loaded"
    )
    transform: str | None = Field(default=None, description="digest of how bytes become its input")
    classes: int | None = Field(default=None, description="or labels; of a detector with the background, where known")
    boxes: int | None = Field(default=None, description="of a detector: scores kept of one image")
    embedding_size: int | None = Field(default=None, description="numbers of an embedding; null: it gives none")
    passes: int | None = Field(default=None, description="stochastic passes over a sample, where a strategy needs them")
    outputs: list[Feature] | None = Field(default=None, description="features that it gives")
    lacking: dict[Feature, str] = Field(default_factory=dict, description="why it does not give the other features")
    input_size: list[int] | None = Field(
        default=None, description="height and width, samples of a sound, or most tokens; null: as the sample is"
    )
    device: str | None = Field(default=None, description="cpu, cuda:N, or the server that computes it")
    error: str | None = Field(default=None, description="why it could not be loaded, and the setting to mend")

    def width(self, feature: Feature) -> int:
        """How many numbers one sample's row of `feature` holds; 0 while that is unknown."""
        classes, passes = self.classes or 0, self.passes or 0
        return {
            Feature.PROBABILITIES: classes,
            Feature.LABEL_PROBABILITIES: classes,
            Feature.BOX_SCORES: self.boxes or 0,
            Feature.EMBEDDINGS: self.embedding_size or 0,
            Feature.PASS_SUMS: classes + 1 if classes else 0,
            Feature.PASSES: passes * classes,
            Feature.BOUNDARY_DISTANCES: 1,
        }[feature]


class StrategyCard(Strict):
    name: str
    summary: str
    needs: list[str] = Field(description="features that a model must give, or of labelled samples")
    uses: list[str] = Field(default_factory=list, description="features taken into account where there are any")
    in_words: str = Field(default="", description="what it needs and uses, for people")
    parameters: dict[str, Any] = Field(description="JSON Schema of the strategy's parameters")
