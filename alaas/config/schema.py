"""Every setting, with its type, unit, default and reason. docs/configuration.md lists the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, field_validator, model_validator

from alaas.jobs import SCORES, Feature, Modality, Name, Policy, ScoresOf, Strict

Port = Annotated[int, Field(ge=0, le=65535)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MIB = 1024 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


Side = Annotated[int, Field(ge=1, le=4096)]


class TransformConfig(Strict):
    """How bytes become a vision model's input. Taken whole: what is left out has the default here."""

    resize: Side | tuple[Side, Side] | None = Field(
        default=None, description="shorter side, 1 to 4096 pixels; [height, width]: stretched to that; null: no resize"
    )
    crop: int | None = Field(default=None, ge=1, le=4096, description="centre crop, pixels; null: none")
    crop_from: Literal["round", "floor"] = Field(
        default="round", description="where a crop begins whose margin is odd: torchvision rounds, transformers cuts"
    )
    mean: tuple[float, float, float] = Field(default=(0.485, 0.456, 0.406), description="of red, green, blue in 0 to 1")
    std: tuple[float, float, float] = Field(default=(0.229, 0.224, 0.225), description="of red, green, blue in 0 to 1")
    interpolation: Literal["bilinear", "bicubic", "nearest"] = Field(default="bilinear", description="of the resize")


class AudioConfig(Strict):
    """How a sound becomes an audio model's input. What is left out, a HuggingFace model's folder tells."""

    sample_rate: int = Field(default=16_000, ge=1000, le=192_000, description="of the input, Hz; others are resampled")
    seconds: float = Field(default=10.0, gt=0, le=600, description="a longer sound is cut to its first so many seconds")
    length: Literal["fixed", "free", "exact"] = Field(
        default="fixed",
        description="fixed: a shorter one is padded to `seconds`; free: to one of a few lengths; exact: not at all",
    )
    normalisation: Literal["none", "zero_mean_unit_variance"] = Field(
        default="none", description="of the waveform, before it is padded"
    )
    features: Literal["waveform", "log_mel", "extractor"] = Field(
        default="waveform", description="what the model takes; extractor: as transformers' feature extractor gives it"
    )
    attention_mask: bool = Field(default=False, description="waveform: tell the model which values are padding")
    n_fft: int = Field(default=400, ge=16, le=16_384, description="log_mel: values of a frame")
    hop: int = Field(default=160, ge=1, le=16_384, description="log_mel: values from one frame to the next")
    n_mels: int = Field(default=64, ge=1, le=512, description="log_mel: bands of a frame")
    extractor: dict[str, Any] | None = Field(
        default=None, description="extractor: what its preprocessor_config.json holds"
    )

    @model_validator(mode="after")
    def _extractor_where_it_is_used(self) -> AudioConfig:
        if (self.features == "extractor") != (self.extractor is not None):
            raise ValueError("extractor: give it with `features: extractor`, and only there")
        if self.extractor is not None and self.extractor.get("sampling_rate", self.sample_rate) != self.sample_rate:
            raise ValueError("sample_rate: the extractor's sampling_rate is another")
        return self


class TextConfig(Strict):
    """How a text becomes a text model's input (docs/text.md). What is left out, a HuggingFace model's folder tells."""

    tokenizer: str | None = Field(
        default=None,
        min_length=1,
        description="a tokenizer.json, or the folder that holds one; bytes: a token for each byte; null: the model's",
    )
    max_length: int | None = Field(
        default=None,
        ge=8,
        le=131_072,
        description="tokens of a text, the special ones included; a longer one is cut; null: the model's, at most 512",
    )
    pad_id: int | None = Field(default=None, ge=0, description="token that fills up; null: the model's or tokenizer's")
    padding: bool = Field(
        default=True, description="fill up to one of a few lengths; false, for models that do not mask: none at all"
    )


class InstanceGroup(Strict):
    """Copies of the model, in the words of Triton's configuration."""

    count: int = Field(default=1, ge=1, le=64, description="copies in each inference process")
    kind: Literal["KIND_AUTO", "KIND_CPU", "KIND_GPU"] = Field(
        default="KIND_AUTO", description="KIND_GPU on a machine without one runs on the CPU, with a warning"
    )
    gpus: list[int] | None = Field(default=None, description="which GPUs, each with `count` copies; null: all")


class OutputsConfig(Strict):
    """Which outputs of a served model or an ONNX file are what, by the names that it has for them."""

    probabilities: str | None = Field(default=None, min_length=1, description="(N, C), each row sums to 1")
    logits: str | None = Field(default=None, min_length=1, description="(N, C), of which the softmax is taken")
    embeddings: str | None = Field(default=None, min_length=1, description="(N, d)")

    @model_validator(mode="after")
    def _one_kind_of_scores(self) -> OutputsConfig:
        if self.probabilities is not None and self.logits is not None:
            raise ValueError("outputs: give probabilities or logits, not both")
        return self


class ModelConfig(Strict):
    """A model that jobs may name. A request never names a path, a repository or code: only this table does."""

    source: Literal["torchvision", "torch_hub", "file", "huggingface", "timm", "onnx", "triton", "null"] = Field(
        default="torchvision", description="where the model comes from; null: pseudo-probabilities, for trials"
    )
    modality: Modality = Field(default="vision", description="what it takes")
    name: Name | None = Field(
        default=None, description="torchvision builder, timm model or hub entry point; default: the key"
    )
    weights: str | None = Field(default=None, description="torchvision weights by name (IMAGENET1K_V1), or a file")
    repo: str | None = Field(
        default=None,
        description="torch_hub: a local folder, or owner/name:commit; huggingface, timm: a local folder, or owner/name",
    )
    revision: str | None = Field(
        default=None,
        description="huggingface: the commit (40 hexadecimal digits) that a repository is pinned to;"
        " triton: a word of yours for weights that tell no fingerprint",
    )
    engine: Literal["own", "triton", "auto"] = Field(
        default="own",
        description="own: that of the source; triton: the server of `triton.url` computes what the source describes;"
        " auto: triton, if it serves the model when `alaas serve` starts",
    )
    version: int | None = Field(default=None, ge=1, description="triton: of the model on the server; null: the latest")
    outputs: OutputsConfig = Field(
        default=OutputsConfig(),
        description="onnx, triton: names of its outputs; what is left out is found by how it looks",
    )
    path: Path | None = Field(
        default=None, description="file: TorchScript, torch.export, safetensors or state dict; onnx: the file"
    )
    builder: str | None = Field(
        default=None,
        description="file: what builds a state dict's module, 'package.module:callable' or 'file.py:callable'",
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments of the builder")
    strip_prefix: str = Field(default="", description="prefix taken off every key of the state dict ('module.')")
    head: str | None = Field(default=None, description="the last layer, by its dotted name; its input is the embedding")
    logits: bool = Field(default=True, description="the model gives logits (softmax follows), not probabilities")
    scores_of: ScoresOf | None = Field(
        default=None,
        description="labels: they do not exclude one another (sigmoid); boxes: a detector's; null: as the model says,"
        " else classes",
    )
    max_boxes: int = Field(default=100, ge=1, le=10_000, description="boxes: scores kept of one image, the highest")
    transform: TransformConfig | None = Field(default=None, description="null: that of the weights, else ImageNet's")
    audio: AudioConfig | None = Field(
        default=None, description="what `transform` is for images; null: the model's own, else its defaults"
    )
    text: TextConfig | None = Field(default=None, description="what `transform` is for images; null: the model's own")
    batch_size: int = Field(default=16, ge=1, le=4096, description="samples that one forward pass takes")
    passes: int = Field(
        default=20, ge=2, le=1000, description="passes with dropout over a sample, for strategies that need them"
    )
    instance_group: list[InstanceGroup] = Field(
        default_factory=lambda: [InstanceGroup()], min_length=1, description="copies, and on which kind of device"
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="only fp32 selects exactly")
    compile: bool = Field(default=False, description="torch.compile: faster, other rounding")
    channels_last: bool = Field(default=True, description="memory layout of convolutions; faster, rounding at 1e-8")

    @model_validator(mode="after")
    def _input_is_of_its_modality(self) -> ModelConfig:
        given = [name for name in ("audio", "text") if getattr(self, name) is not None and name != self.modality]
        if given:
            raise ValueError(f"{given[0]}: of no use to a model whose modality is {self.modality!r}")
        return self

    @property
    def is_on_triton(self) -> bool:
        return self.source == "triton" or self.engine == "triton"

    @property
    def input_settings(self) -> TransformConfig | AudioConfig | TextConfig | None:
        """What the configuration says of its modality's transform; None: what the model itself says holds."""
        if self.modality == "vision":
            return self.transform
        if self.source == "huggingface":  # only a part, which the model's folder completes
            return None
        return self.text if self.modality == "text" else self.audio

    @property
    def input_section(self) -> str:
        """The key of `input_settings`, for errors that name it."""
        return "transform" if self.modality == "vision" else self.modality


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


class FileSourceConfig(Strict):
    roots: list[Path] | None = Field(
        default=None, description="folders that file URIs may read; null: the start folder when bound to loopback"
    )


class RemoteSourceConfig(Strict):
    connect_timeout_s: float = Field(default=5.0, gt=0, description="to open a connection")
    read_timeout_s: float = Field(default=15.0, gt=0, description="without a byte")
    total_timeout_s: float = Field(default=60.0, gt=0, description="for one sample")


class HttpSourceConfig(RemoteSourceConfig):
    enabled: bool = Field(default=True, description="serve http and https URIs")
    ports: list[Port] | None = Field(default=None, description="null: any on loopback without tokens, else 80 and 443")
    allow_hosts: list[str] = Field(
        default_factory=list, description="CIDR ranges or host names allowed beside global addresses"
    )
    max_redirects: int = Field(default=3, ge=0, le=10, description="each one's address is judged anew")


def _allow_entry(entry: str) -> str:
    if not re.fullmatch(r"\*|[A-Za-z0-9][A-Za-z0-9._-]*(/.*)?", entry):
        raise ValueError("a bucket, a bucket and prefix as bucket/prefix, or '*'; without a scheme")
    return entry


AllowEntry = Annotated[str, AfterValidator(_allow_entry)]


class StoreConfig(RemoteSourceConfig):
    """A store that is read with the server's own rights: for nobody, until `allow` says what."""

    enabled: bool = Field(default=True, description="serve URIs of this scheme")
    allow: list[AllowEntry] = Field(
        default_factory=list, description="what may be read: 'bucket', 'bucket/prefix', '*' for all; empty: nothing"
    )
    endpoint: str | None = Field(
        default=None, pattern=r"^https?://[^/@\s]+(/[^@\s]*)?$", description="its address; null: the provider's own"
    )
    anonymous: bool = Field(default=False, description="use no credentials: what everybody may read")


class CloudStoreConfig(StoreConfig):
    roles: bool = Field(
        default=False, description="take the machine's or container's role from the cloud's metadata service"
    )


class S3SourceConfig(CloudStoreConfig):
    """Credentials are those that boto3 finds: environment, profile, files, roles."""

    profile: str | None = Field(default=None, description="of the AWS configuration files; null: AWS_PROFILE's")
    region: str | None = Field(
        default=None, pattern=r"^[a-z0-9-]+$", description="of all buckets; null: the profile's, else us-east-1"
    )


class GsSourceConfig(CloudStoreConfig):
    credentials: Path | None = Field(
        default=None, description="a service account's JSON file; null: GOOGLE_APPLICATION_CREDENTIALS, else gcloud's"
    )


class AzSourceConfig(CloudStoreConfig):
    """Credentials come from the environment: AZURE_STORAGE_ACCOUNT_KEY and the like (docs/s3.md)."""

    account: str | None = Field(
        default=None, pattern=r"^[a-z0-9]{3,24}$", description="the storage account of all containers; needed"
    )


class HfSourceConfig(StoreConfig):
    """Datasets of a HuggingFace hub, at a pinned commit, kept in its cache. `allow` lists owner/name."""

    cache_dir: Path | None = Field(default=None, description="null: huggingface_hub's own (HF_HOME)")


_FTP_SERVER = re.compile(r"ftps?://(?:\[[0-9A-Fa-f:.]+\]|[^\s/?#@%\\:\[\]]{1,255})(?::([1-9][0-9]{0,4}))?")


class FtpLogin(Strict):
    """A server that needs a name and a password. It is trusted as an address, also in a private network."""

    server: str = Field(
        description="ftps://host or ftp://host, with its port unless 21; used for exactly that scheme, host and port"
    )
    user: str = Field(min_length=1, description="its name there")
    password: SecretStr = Field(description="a URI never holds one")
    prefixes: list[str] = Field(
        default=["/"], description="folders that URIs may read with it; /: all that the login opens"
    )

    @field_validator("server")
    @classmethod
    def _names_a_server(cls, server: str) -> str:
        match = _FTP_SERVER.fullmatch(server)
        if match is None or int(match[1] or 21) > 65535:
            raise ValueError("not ftps://host or ftp://host, with a port where it is not 21")
        return server

    @field_validator("user", "password")
    @classmethod
    def _is_one_line(cls, word: str | SecretStr) -> str | SecretStr:
        if not (word if isinstance(word, str) else word.get_secret_value()).isprintable():
            raise ValueError("holds a control character")  # which would end the command that says it
        return word

    @field_validator("prefixes")
    @classmethod
    def _begin_at_the_top(cls, prefixes: list[str]) -> list[str]:
        if not all(prefix.startswith("/") for prefix in prefixes):
            raise ValueError("each begins with a slash")
        return prefixes


class FtpSourceConfig(RemoteSourceConfig):
    """`total_timeout_s` also bounds the listing of one folder. Files are read in passive mode."""

    enabled: bool = Field(default=True, description="serve ftp and ftps URIs")
    ports: list[Port] | None = Field(default=None, description="null: any on loopback without tokens, else 21 and 990")
    allow_hosts: list[str] = Field(
        default_factory=list, description="CIDR ranges or host names allowed beside global addresses"
    )
    connections: int = Field(default=8, ge=1, le=64, description="to one server, from each download process")
    logins: list[FtpLogin] = Field(default_factory=list, description="other servers are asked as 'anonymous'")


class SourcesConfig(Strict):
    max_sample_bytes: int = Field(default=64 * MIB, ge=1, description="of one sample, as fetched")
    max_manifest_bytes: int = Field(default=256 * MIB, ge=1, description="of one manifest; an import holds it whole")
    import_timeout_s: float = Field(default=7200.0, gt=0, description="for one import; what was added until then stays")
    max_pixels: int = Field(default=64_000_000, ge=1, description="of a decoded image")
    max_text_bytes: int = Field(default=MIB, ge=1, description="of a text, whose tokens take many times as much memory")
    max_seconds: float = Field(default=600.0, gt=0, le=86_400, description="of a sound, as its header tells")
    concurrency: int = Field(default=16, ge=1, le=512, description="samples of one chunk that are read at once")
    attempts: int = Field(default=3, ge=1, le=10, description="of one sample while its error is transient")
    retry_delay_s: float = Field(default=0.5, ge=0, description="before the second try; doubles")
    file: FileSourceConfig = Field(default=FileSourceConfig(), description="file URIs and plain paths")
    http: HttpSourceConfig = Field(default=HttpSourceConfig(), description="http and https URIs")
    ftp: FtpSourceConfig = Field(default=FtpSourceConfig(), description="ftp and ftps URIs")
    s3: S3SourceConfig = Field(default=S3SourceConfig(), description="s3 URIs: Amazon S3, MinIO and the like")
    gs: GsSourceConfig = Field(default=GsSourceConfig(), description="gs URIs: Google Cloud Storage")
    az: AzSourceConfig = Field(default=AzSourceConfig(), description="az URIs: Azure Blob Storage")
    hf: HfSourceConfig = Field(default=HfSourceConfig(), description="hf://datasets/ URIs: HuggingFace datasets")


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
