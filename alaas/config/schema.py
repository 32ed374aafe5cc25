"""Every setting, with its type, unit, default and reason. docs/configuration.md lists the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, StringConstraints, model_validator

from alaas.config.fields import MIB, Port
from alaas.config.models import ModelConfig
from alaas.config.sources import SourcesConfig
from alaas.jobs import SCORES, Feature, Name, Policy, Strict

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class TokenConfig(Strict):
    owner: Name = Field(description="whose datasets and jobs the token opens")
    sha256: Sha256 = Field(description="of the token; `alaas token OWNER` makes both")


class ApiConfig(Strict):
    """The HTTP server. Without tokens it binds to loopback only, and everything belongs to the owner 'local'."""

    host: str = Field(default="127.0.0.1", description="address to listen on; a public one needs tokens")
    port: Port = Field(default=8888, description="0: a free one")
    workers: int = Field(default=1, ge=1, le=64, description="gunicorn processes")
    threads: int = Field(
        default=8, ge=2, le=256, description="of each process; event streams and POST /post may hold half of them"
    )
    tokens: list[TokenConfig] = Field(default_factory=list, description="who may come in; empty: this machine only")
    max_body_bytes: int = Field(default=64 * MIB, ge=1024, description="a JSON body")
    max_line_bytes: int = Field(default=16 * 1024, ge=256, description="one line of an NDJSON upload")
    max_depth: int = Field(default=32, ge=4, description="nesting of a JSON body")
    max_active_jobs: int = Field(default=64, ge=1, description="per owner; more answer 429")
    max_pool: int = Field(default=20_000_000, ge=1, description="samples of one dataset")
    max_upload_bytes: int = Field(default=64 * MIB, ge=1024, description="one uploaded sample")
    idle_timeout_s: float = Field(default=30.0, ge=0.5, description="a client silent for so long is hung up on")
    post_wait_s: float = Field(default=120.0, gt=0, le=3600, description="how long POST /post waits for its job")
    max_select_bytes: int = Field(default=512 * MIB, ge=1024, description="the file of one POST /v1/select")
    max_selections: int = Field(
        default=2, ge=1, le=256, description="POST /v1/select at once in each process, a child each; more answer 429"
    )
    select_timeout_s: float = Field(
        default=120.0, gt=0, le=3600, description="for the file of a POST /v1/select to arrive, then for its selection"
    )
    select_memory_bytes: int = Field(
        default=4096 * MIB, ge=256 * MIB, description="of a selecting child; its file may unpack to half of it"
    )


class RedisConfig(Strict):
    url: SecretStr | None = Field(default=None, description="redis://...; null: embedded, started by `alaas serve`")
    max_memory_bytes: int = Field(default=512 * MIB, ge=16 * MIB, description="of the embedded server")


class CacheConfig(RedisConfig):
    """The cache's Redis: what passes between stages, and features. May evict. Never the ledger's Redis."""

    intermediate_ttl_s: int = Field(default=900, ge=30, description="bytes and tensors between two stages")
    feature_ttl_s: int = Field(default=30 * 86400, ge=60, description="features, which later queries use")


class BrokerConfig(RedisConfig):
    """The ledger's Redis: never evicts, append-only file. Celery's hints go there too unless `messages_url` is set."""

    messages_url: SecretStr | None = Field(default=None, description="another broker for the hints (amqp://...)")


class CatalogConfig(Strict):
    url: SecretStr | None = Field(default=None, description="SQLAlchemy URL; null: SQLite in storage.data_dir")


class PipelineConfig(Strict):
    chunk_size: int = Field(default=128, ge=1, le=4096, description="samples of a chunk")
    window: int = Field(default=8, ge=1, le=10_000, description="chunks that may wait at one stage")
    in_flight_bytes: int = Field(default=128 * MIB, ge=MIB, description="bytes between stages, over all jobs")
    lease_s: float = Field(default=60.0, ge=0.5, description="a unit whose worker is silent for so long comes back")
    stall_s: float = Field(default=120.0, ge=0.5, description="work without progress for so long loses its lease")
    hint_grace_s: float = Field(default=5.0, ge=0.1, description="an unclaimed unit is hinted again after this")
    sweep_s: float = Field(default=1.0, ge=0.05, description="between two looks of the dispatcher")
    max_attempts: int = Field(default=3, ge=1, le=20, description="then a chunk is split; at one sample, given up")
    max_rounds: int = Field(default=4, ge=1, description="times that vanished features are computed again")
    scan_features: list[Feature] = Field(
        default_factory=lambda: [*SCORES.values(), Feature.EMBEDDINGS],
        min_length=1,
        description="what a push computes ahead, as far as the model gives it",
    )


class PoolConfig(Strict):
    """One stage's workers as `alaas serve` starts them."""

    processes: int = Field(default=1, ge=0, le=256, description="0: they run elsewhere (`alaas worker STAGE`)")
    concurrency: int = Field(default=1, ge=1, le=512, description="chunks at once in one process")


class DownloadPoolConfig(PoolConfig):
    """Threads that mostly wait, so several chunks at once cost little."""

    concurrency: int = Field(default=4, ge=1, le=512, description="chunks at once in one process")


class InferencePoolConfig(PoolConfig):
    """Threads before the device: one loads the next chunk while another's is computed."""

    concurrency: int = Field(default=2, ge=1, le=512, description="chunks at once in one process")


class SelectionPoolConfig(PoolConfig):
    """Children, each with a selection or an import at a time. All but one of them may be held by imports."""

    concurrency: int = Field(default=2, ge=1, le=512, description="selections and imports at once in one process")


class WorkersConfig(Strict):
    download: DownloadPoolConfig = Field(default=DownloadPoolConfig(), description="threads that fetch bytes")
    preprocess: PoolConfig = Field(default=PoolConfig(), description="processes that decode")
    inference: InferencePoolConfig = Field(default=InferencePoolConfig(), description="threads before the device")
    selection: SelectionPoolConfig = Field(
        default=SelectionPoolConfig(), description="processes that run strategies and imports"
    )
    dispatcher: int = Field(default=1, ge=0, le=16, description="processes that admit chunks; one is enough")
    max_child_memory_bytes: int = Field(default=4096 * MIB, ge=256 * MIB, description="of a decoding child")


class FlowerConfig(Strict):
    enabled: bool = Field(default=False, description="start Celery's monitor")
    host: str = Field(default="127.0.0.1", description="a public address needs flower.password")
    port: Port = Field(default=5555, description="0: a free one")
    user: str = Field(default="alaas", description="name to sign in with")
    password: SecretStr | None = Field(default=None, description="null: one is made at start and printed")


DottedPath = Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)*[:.]\w+$")]


class StrategiesConfig(Strict):
    """Strategies of the operator's own. They run code of these modules, so that no request can name a path."""

    paths: list[DottedPath] = Field(
        default_factory=list, description="'package.module:Class' of each; importable in every process of the fleet"
    )


class DockerWorkerConfig(Strict):
    """The container that runs the server where none answers, as in the paper's `al_server.worker` (docs/triton.md)."""

    type: Literal["docker"] = Field(default="docker", description="docker is the one kind there is")
    docker_repo: str = Field(
        default="nvcr.io/nvidia/tritonserver", pattern=r"^[a-z0-9][\w.:/-]*$", description="the image's repository"
    )
    tag: str = Field(default="24.10-pyt-python-py3", pattern=r"^\w[\w.-]*$", description="the image's tag")
    pull_timeout_s: float = Field(default=1800.0, gt=0, description="for the image to arrive")
    start_timeout_s: float = Field(default=180.0, gt=0, description="for the server to be ready")


class TritonConfig(Strict):
    """The Triton server of the models with `source: triton` or `engine: triton` (docs/triton.md)."""

    url: str = Field(
        pattern=r"^((grpc|http)s?://)?([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}$",
        description="host:port of gRPC, or with grpc://, grpcs://, http:// or https:// before it",
    )
    timeout_s: float = Field(default=30.0, gt=0, description="for one request; keep it below pipeline.stall_s")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="for what is asked about a server or a model")
    attempts: int = Field(default=3, ge=1, le=10, description="of one request; then its chunk is put off")
    retry_delay_s: float = Field(default=0.5, ge=0, description="before the second try; doubles")
    worker: DockerWorkerConfig | None = Field(default=None, description="started by `alaas serve` if none answers")


class StorageConfig(Strict):
    data_dir: Path = Field(default=Path(".alaas"), description="SQLite, embedded Redis, uploads, run files")


class TorchHubConfig(Strict):
    dir: Path | None = Field(default=None, description="torch.hub's folder; null: torch's own default")


class Config(Strict):
    """All of it. Frozen: read once at start."""

    name: str = Field(default="alaas", description="of this service, as clients see it")
    version: str | float | int = Field(default="0.1", description="of this configuration, in your own counting")
    strategy: dict[str, Any] = Field(
        default_factory=lambda: {"type": "LeastConfidence"}, description="what a query uses that names none"
    )
    policy: Policy = Field(default=Policy(), description="rules for the batch of a query that gives none")
    models: dict[Name, ModelConfig] = Field(
        default_factory=lambda: {"resnet18": ModelConfig(weights="IMAGENET1K_V1")},
        min_length=1,
        description="the first is what a query uses that names none",
    )
    strategies: StrategiesConfig = StrategiesConfig()
    api: ApiConfig = ApiConfig()
    broker: BrokerConfig = BrokerConfig()
    cache: CacheConfig = CacheConfig()
    catalog: CatalogConfig = CatalogConfig()
    pipeline: PipelineConfig = PipelineConfig()
    sources: SourcesConfig = SourcesConfig()
    workers: WorkersConfig = WorkersConfig()
    flower: FlowerConfig = FlowerConfig()
    storage: StorageConfig = StorageConfig()
    torch_hub: TorchHubConfig = TorchHubConfig()
    triton: TritonConfig | None = None

    @model_validator(mode="after")
    def _public_needs_tokens(self) -> Config:
        if not self.is_loopback and not self.api.tokens:
            raise ValueError("api.host: a public address needs api.tokens (`alaas token OWNER` makes one)")
        return self

    @model_validator(mode="after")
    def _public_flower_needs_a_password(self) -> Config:
        if self.flower.host not in _LOOPBACK and self.flower.password is None:
            raise ValueError("flower.host: a public address needs flower.password")
        return self

    @model_validator(mode="after")
    def _triton_models_have_a_server(self) -> Config:
        served = [name for name, model in self.models.items() if model.is_on_triton]
        if served and self.triton is None:
            raise ValueError(f"triton: the model {served[0]!r} needs the server's address in triton.url")
        return self

    @model_validator(mode="after")
    def _strategy_has_a_name(self) -> Config:
        if not isinstance(self.strategy.get("type"), str) or not self.strategy["type"]:
            raise ValueError("strategy.type: the strategy's name is required")
        return self

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach the API."""
        return self.api.host in _LOOPBACK

    @property
    def is_personal(self) -> bool:
        """One person's machine: loopback and no tokens. Wider rights for sources follow (docs/security.md)."""
        return self.is_loopback and not self.api.tokens

    @property
    def default_model(self) -> str:
        return next(iter(self.models))

    @property
    def file_roots(self) -> list[Path]:
        """Folders that file URIs may read, resolved; empty: none."""
        if self.sources.file.roots is not None:
            return [root.expanduser().resolve() for root in self.sources.file.roots]
        return [Path.cwd()] if self.is_personal else []

    @property
    def catalog_url(self) -> str:
        if self.catalog.url is not None:
            return self.catalog.url.get_secret_value()
        return f"sqlite:///{self.storage.data_dir.expanduser().resolve() / 'catalog.sqlite'}"

    @property
    def uploads_dir(self) -> Path:
        return self.storage.data_dir.expanduser().resolve() / "uploads"
