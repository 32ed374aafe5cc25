"""The settings of a model, and of how samples of each modality become its input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from alaas.jobs import Modality, Name, ScoresOf, Strict

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
