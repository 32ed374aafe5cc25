"""Wire types that only the server's own routes use; those that the client shares are in alaas/jobs.py."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints

from alaas.config.schema import Sha256
from alaas.jobs import Dataset, Job, JobState, ModelCard, Name, Sample, StrategyCard, Strict, Uri

Item = TypeVar("Item")
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:=+-]{1,200}$")]
Limit = Annotated[int, Field(ge=1, le=1000, description="items of one page")]


class Page(BaseModel, Generic[Item]):
    """One page of a list; `next` is the `after` of the following page, null on the last."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    items: list[Item]
    next: str | None


class DatasetPage(Page[Dataset]):
    pass


class SamplePage(Page[Sample]):
    pass


class JobPage(Page[Job]):
    pass


class StrategyPage(Page[StrategyCard]):
    pass


class ModelPage(Page[ModelCard]):
    pass


class PageQuery(Strict):
    after: Cursor | None = Field(default=None, description="`next` of the page before")
    limit: Limit = 100


class DatasetsQuery(PageQuery):
    name: Name | None = Field(default=None, description="the dataset of that name only")


class SamplesQuery(PageQuery):
    labelled: bool | None = None


class JobsQuery(PageQuery):
    state: JobState | None = None


class NoBody(Strict):
    """POST without anything to say: no body, or `{}`."""


class MissingRequest(Strict):
    """POST /v1/uploads/missing: which of these does the server not hold yet?"""

    sha256: list[Sha256] = Field(max_length=100_000, fail_fast=True)


class Missing(Strict):
    missing: list[str]


class Uploaded(Strict):
    uri: str
    size_bytes: int


class LocalFile(Strict):
    """A file as the client's machine sees it."""

    uri: Uri
    size_bytes: Annotated[StrictInt, Field(ge=0, lt=2**63)]
    mtime_ns: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]


class ReadableRequest(Strict):
    """POST /v1/files/readable: which of these files does the server see as the very same?"""

    files: list[LocalFile] = Field(max_length=100_000, fail_fast=True)


class Readable(Strict):
    readable: list[bool]


class Limits(Strict):
    max_body_bytes: int
    max_line_bytes: int
    max_upload_bytes: int
    max_pool: int
    max_active_jobs: int
    max_select_bytes: int


class PublicConfig(Strict):
    """GET /v1/config: what a client needs to know of the server's configuration."""

    name: str
    version: str
    server_version: str
    default_strategy: dict[str, Any]
    default_model: str
    limits: Limits


class PublishedDocument(Strict):
    uri: Uri


class PublishedText(Strict):
    text: Annotated[str, StringConstraints(min_length=1)]


class PublishedParameters(Strict):
    budget: Annotated[StrictInt, Field(ge=1, lt=2**63)]


PublishedDocuments = Annotated[list[PublishedDocument], Field(min_length=1, fail_fast=True)]
PublishedTexts = Annotated[list[PublishedText], Field(min_length=1, fail_fast=True)]


class PublishedRequest(Strict):
    """POST /post: the body of the published package's curl call."""

    data: PublishedDocuments | PublishedTexts
    parameters: PublishedParameters
    execEndpoint: Literal["/query"] = "/query"


class PublishedScore(Strict):
    value: float


class PublishedChoice(Strict):
    id: str
    uri: str | None = None
    text: str | None = None
    scores: dict[str, PublishedScore]


class PublishedHeader(Strict):
    requestId: str
    status: None = None
    execEndpoint: str = "/query"


class PublishedAnswer(Strict):
    header: PublishedHeader
    parameters: PublishedParameters
    data: list[PublishedChoice]


class Check(Strict):
    ok: bool
    detail: str


class Readiness(Strict):
    ready: bool
    checks: dict[str, Check]


class Health(Strict):
    status: Literal["ok"] = "ok"
