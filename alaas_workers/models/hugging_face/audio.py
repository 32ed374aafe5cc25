"""Audio classification models of transformers: Wav2Vec2 and its kin on waveforms, AST and Whisper on spectrograms.

The embedding is the input of the model's own classifier: its last hidden states, pooled over time, and for most of them
projected once more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from alaas.config import AudioConfig, ModelConfig
from alaas_workers.models.hugging_face.hub import folder_of, read_json, refused

if TYPE_CHECKING:
    from alaas_workers.models.built import BuildContext, Built

WAVEFORM_SECONDS = 30.0
"""Of a model that takes waveforms of any length; its attention takes the square of that."""

_ON_SPECTROGRAMS = {"audio-spectrogram-transformer": "ASTFeatureExtractor", "whisper": "WhisperFeatureExtractor"}


def default_settings(name: str, settings: ModelConfig) -> AudioConfig:
    """What preprocessor_config.json says, and over it what the configuration says. Raises ModelError."""
    own = _own_settings(name, folder_of(name, settings))
    said = settings.audio.model_dump(exclude_unset=True) if settings.audio is not None else {}
    try:
        return AudioConfig(**own | said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise refused(name, "audio", f"with its preprocessor_config.json: {first['msg']}") from None


def build(context: BuildContext) -> Built:
    """Raises ModelError for what is no classifier of sounds, and for weights that do not fit."""
    from alaas_workers.models.built import Built
    from alaas_workers.models.hugging_face.logits import Logits
    from alaas_workers.models.hugging_face.pretrained import architecture, classifier_scores, config_of, load_pretrained

    folder = folder_of(context.name, context.settings, weights=True)
    config = config_of(context, folder)
    scores_of = classifier_scores(context, config, "ForSequenceClassification", "ForAudioClassification")
    module = load_pretrained(context, folder, "AutoModelForAudioClassification")
    return Built(Logits(module), architecture("audio", config), scores_of=scores_of)


def _own_settings(name: str, folder: Path) -> dict[str, Any]:
    said = read_json(name, folder / "preprocessor_config.json")
    model = read_json(name, folder / "config.json")
    wanted = _ON_SPECTROGRAMS.get(str(model.get("model_type")), "Wav2Vec2FeatureExtractor")
    kind = said.get("feature_extractor_type", wanted)
    if kind not in ("Wav2Vec2FeatureExtractor", *_ON_SPECTROGRAMS.values()):
        raise refused(name, "repo", f"its features are made by {kind!r:.80}, which is not served")
    if kind == "Wav2Vec2FeatureExtractor":
        return _waveform(said, model)
    if not said:
        raise refused(name, "repo", f"the folder holds no preprocessor_config.json, which a {kind} needs")
    return _spectrogram(str(kind), said)


def _waveform(said: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    # Where no file says so: models of this kind were trained with a mask, the others were not.
    by_layer = model.get("feat_extract_norm") == "layer"
    masks = said.get("return_attention_mask", False) if said else by_layer
    return {
        "sample_rate": said.get("sampling_rate", 16_000),
        "seconds": WAVEFORM_SECONDS,
        # Without a mask padding is heard, and with one too where a group of channels is normalised over all of time:
        # such a model gets none, as in a pipeline of transformers.
        "length": "free" if masks and by_layer else "exact",
        "normalisation": "zero_mean_unit_variance" if said.get("do_normalize", True) else "none",
        "attention_mask": masks,
    }


def _spectrogram(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    rate = said.get("sampling_rate", 16_000)
    seconds = said.get("chunk_length", 30)
    if (
        kind == "ASTFeatureExtractor"
        and isinstance(rate, int)
        and isinstance(frames := said.get("max_length", 1024), int)
    ):
        seconds = (160 * frames + 400) / max(rate, 1)  # a little more than it looks at
    return {
        "sample_rate": rate,
        "seconds": seconds,
        "features": "extractor",
        "extractor": {"feature_extractor_type": kind, **said},
    }
