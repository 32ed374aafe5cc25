"""HuggingFace's audio models: what their folders say of a sound, what they give, and which are refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
import transformers
from scipy.signal import resample_poly

from alaas.config import AudioConfig, Config
from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError
from alaas.jobs import Feature
from alaas_workers.backends import open_backend
from alaas_workers.models import transform_for
from tests.support.sound_models import save_wav2vec2, sound_config
from tests.support.sounds import raw_wav, wav
from tests.support.tiny_models import config_of

SIZES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "num_labels": 3,
}  # fmt: skip
CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (10, 8), "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 16, "feat_extract_norm": "layer",
}  # fmt: skip
AST_FEATURES = {"max_length": 64, "num_mel_bins": 32}
WHISPER_FEATURES = {"chunk_length": 2, "feature_size": 20}


def config(folder: Path, **settings: Any) -> Config:
    return config_of(source="huggingface", repo=folder, modality="audio", **settings)


def save(folder: Path, model: Any, extractor: Any) -> Path:
    transformers.utils.logging.disable_progress_bar()
    model.eval().save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def _speech(kind: str) -> Any:
    return getattr(transformers, f"{kind}ForSequenceClassification")(
        getattr(transformers, f"{kind}Config")(**SIZES, **CONVOLUTIONS)
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of each family, with the extractor that it was made for."""
    root = tmp_path_factory.mktemp("audio")
    masks = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    ast = transformers.ASTForAudioClassification(transformers.ASTConfig(**SIZES, **AST_FEATURES, patch_size=16))
    whisper = transformers.WhisperForAudioClassification(
        transformers.WhisperConfig(
            d_model=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32, num_labels=3, num_mel_bins=20,
            max_source_positions=100, classifier_proj_size=16,
        )
    )  # fmt: skip
    return {
        **{kind: save(root / kind, _speech(kind), masks) for kind in ("Wav2Vec2", "Hubert", "WavLM")},
        "group": save_wav2vec2(root / "group", masks=False, classes=3),
        "group with a mask": save_wav2vec2(
            root / "masked", classes=3, feat_extract_norm="group", do_stable_layer_norm=False
        ),
        "AST": save(root / "AST", ast, _ast_extractor()),
        "Whisper": save(root / "Whisper", whisper, transformers.WhisperFeatureExtractor(**WHISPER_FEATURES)),
    }


def _ast_extractor() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.ASTFeatureExtractor(**AST_FEATURES)


def at_16_khz(sound: bytes) -> npt.NDArray[np.float32]:
    values, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
    return np.asarray(resample_poly(values, 16_000, rate))


KINDS = ["Wav2Vec2", "Hubert", "WavLM", "group", "group with a mask", "AST", "Whisper"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # within WavLM
def test_each_family_gives_what_transformers_gives_of_a_file_alone(folders: dict[str, Path], kind: str) -> None:
    made = config(folders[kind], batch_size=8)
    transform, backend = transform_for("m", made.models["m"]), open_backend("m", made)
    sounds = [wav(0.4 + 0.1 * (seed % 3), seed=seed) for seed in range(6)]
    got = backend.infer(
        [transform.preprocess(sound, SourcesConfig()) for sound in sounds],
        [Feature.PROBABILITIES, Feature.EMBEDDINGS],
        lambda: None,
    )
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folders[kind])
    model = transformers.AutoModelForAudioClassification.from_pretrained(folders[kind]).eval()
    heads: list[torch.Tensor] = []
    linear = [each for each in model.modules() if isinstance(each, torch.nn.Linear)][-1]
    linear.register_forward_pre_hook(lambda _, inputs: heads.append(inputs[0]))
    with torch.inference_mode():
        rows = [
            model(**extractor(at_16_khz(sound), sampling_rate=16_000, return_tensors="pt")).logits.softmax(1)[0]
            for sound in sounds
        ]
    np.testing.assert_allclose(got[Feature.PROBABILITIES], torch.stack(rows), atol=1e-5)
    np.testing.assert_allclose(got[Feature.EMBEDDINGS], torch.cat(heads), atol=1e-4)
    backend.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_each_family_has_passes_and_boundaries_and_answers_to_silence(folders: dict[str, Path], kind: str) -> None:
    made = config(folders[kind], batch_size=8, passes=2)
    transform, backend = transform_for("m", made.models["m"]), open_backend("m", made)
    assert Feature.BOUNDARY_DISTANCES in (backend.card.outputs or [])
    assert Feature.PASSES in (backend.card.outputs or []) or kind in ("AST", "Whisper")
    silence = transform.preprocess(raw_wav(bytes(8000)), SourcesConfig())
    for rows in backend.infer([silence], backend.card.outputs or [], lambda: None).values():
        assert np.isfinite(rows).all()
    backend.close()


def test_a_folder_says_how_its_model_hears_and_the_configuration_goes_over_it(folders: dict[str, Path]) -> None:
    def said(kind: str, **settings: Any) -> AudioConfig:
        found = transform_for("m", config(folders[kind], **settings).models["m"]).settings
        assert isinstance(found, AudioConfig)
        return found

    large, base, ast, whisper = said("Wav2Vec2"), said("group"), said("AST"), said("Whisper")
    assert (large.length, large.attention_mask, large.normalisation) == ("free", True, "zero_mean_unit_variance")
    assert (base.length, base.attention_mask, base.seconds) == ("exact", False, 30.0)
    assert (ast.features, whisper.features, whisper.seconds) == ("extractor", "extractor", 2.0)
    over = said("Wav2Vec2", audio={"seconds": 3, "length": "fixed"})
    assert over == large.model_copy(update={"seconds": 3.0, "length": "fixed"})


def test_without_a_preprocessor_config_the_model_tells_whether_it_was_trained_with_a_mask(tmp_path: Path) -> None:
    for masks in (True, False):
        folder = save_wav2vec2(tmp_path / str(masks), masks=masks)
        (folder / "preprocessor_config.json").unlink()
        settings = transform_for("m", config(folder).models["m"]).settings
        assert settings.attention_mask is masks and settings.normalisation == "zero_mean_unit_variance"


def test_a_sound_that_is_too_short_for_a_model_without_padding_fails_alone(folders: dict[str, Path]) -> None:
    made = config(folders["group"])
    transform, backend = transform_for("m", made.models["m"]), open_backend("m", made)
    arrays = [transform.preprocess(sound, SourcesConfig()) for sound in (wav(0.001), wav(0.3))]
    rows = backend.infer(arrays, [Feature.PROBABILITIES], lambda: None)[Feature.PROBABILITIES]
    assert np.isnan(rows[0]).all() and np.isfinite(rows[1]).all()
    backend.close()


def rewritten(folder: Path, to: Path, file: str, **change: Any) -> Path:
    """A copy of the folder with another JSON file; None takes a key away."""
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    content = json.loads((to / file).read_text()) | change
    (to / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return to


PREPROCESSOR = "preprocessor_config.json"
REFUSED: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "transcribes": ("Wav2Vec2", "config.json", {"architectures": ["Wav2Vec2ForCTC"]}, "repo", "no classifier"),
    "a regression": ("Wav2Vec2", "config.json", {"problem_type": "regression"}, "repo", "regression"),
    "other features": (
        "Wav2Vec2", PREPROCESSOR, {"feature_extractor_type": "SeamlessM4TFeatureExtractor"}, "repo", "not served"),
    "a class that is no extractor": ("AST", PREPROCESSOR, {"feature_extractor_type": "Trainer"}, "repo", "not served"),
    "a rate of 0": ("Wav2Vec2", PREPROCESSOR, {"sampling_rate": 0}, "audio", "preprocessor_config"),
    "a rate in words": ("AST", PREPROCESSOR, {"sampling_rate": "fast"}, "audio", "preprocessor_config"),
    "hours": ("Whisper", PREPROCESSOR, {"chunk_length": 10**6}, "audio", "preprocessor_config"),
    "features of no bands": ("AST", PREPROCESSOR, {"num_mel_bins": 0}, "audio", "m"),
    "features of another size": ("AST", PREPROCESSOR, {"max_length": 16}, "audio", "does audio give its input size"),
    "a mask in words": ("Wav2Vec2", PREPROCESSOR, {"return_attention_mask": [1]}, "audio", "preprocessor_config"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "file", "change", "key", "words"), REFUSED.values(), ids=REFUSED)
def test_a_folder_that_does_not_fit_is_refused(
    folders: dict[str, Path], tmp_path: Path, kind: str, file: str, change: dict[str, Any], key: str, words: str
) -> None:
    folder = rewritten(folders[kind], tmp_path / "changed", file, **change)
    with pytest.raises(ModelError, match=words) as caught:
        open_backend("m", config(folder))
    assert caught.value.field == f"models.m.{key}" and str(tmp_path) not in caught.value.detail


def test_a_spectrogram_model_without_its_preprocessor_config_is_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = rewritten(folders["AST"], tmp_path / "changed", "config.json")
    (folder / PREPROCESSOR).unlink()
    with pytest.raises(ModelError, match=PREPROCESSOR):
        open_backend("m", config(folder))


def test_a_network_that_takes_another_input_is_refused_with_the_section_to_mend(tmp_path: Path) -> None:
    made = sound_config(tmp_path, audio={"features": "waveform", "seconds": 0.5})
    with pytest.raises(ModelError, match="a batch of 8 x 8000 fails") as caught:
        open_backend("m", made)
    assert caught.value.field == "models.m.audio"
