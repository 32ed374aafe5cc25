"""What an audio model is given: against torch, and against transformers' own extractors."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from pydantic import ValidationError
from scipy.signal import resample_poly

from alaas.config import AudioConfig, ModelConfig
from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError
from alaas_workers.transforms.audio import AudioTransform, next_length
from alaas_workers.transforms.spectrogram import LOG_FLOOR
from tests.support.sounds import wav

LIMITS = SourcesConfig()
LOG_MEL: dict[str, Any] = {"sample_rate": 8000, "features": "log_mel", "n_fft": 256, "hop": 80, "n_mels": 40}


def transform(**settings: Any) -> AudioTransform:
    return AudioTransform(AudioConfig(**settings))


def given(made: AudioTransform, *sounds: bytes) -> Any:
    """The batch that these sounds become."""
    return made.to_input([made.preprocess(sound, LIMITS) for sound in sounds])


def at_16_khz(sound: bytes) -> npt.NDArray[np.float32]:
    values, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
    return np.asarray(resample_poly(values, 16_000, rate))


def test_a_waveform_is_cut_or_padded_to_its_fixed_length() -> None:
    made = transform(sample_rate=8000, seconds=0.5)
    long, short = wav(0.8), wav(0.2)
    batch = given(made, long, short)
    assert batch.shape == (2, 4000) and made.input_size == (4000,) and batch.dtype == torch.float32
    np.testing.assert_array_equal(batch[0], soundfile.read(io.BytesIO(long), dtype="float32")[0][:4000])
    assert not batch[1, 1600:].any() and batch[1, :1600].any()


def test_a_waveform_of_free_length_is_padded_to_the_next_of_a_few_lengths() -> None:
    made = transform(sample_rate=8000, seconds=2.0, length="free")
    assert made.input_size is None
    lengths = {seconds: made.input_shape((round(8000 * seconds),)) for seconds in (0.01, 0.5, 0.51, 0.6, 1.0, 1.9, 2.0)}
    assert lengths == {
        0.01: (4096,), 0.5: (4096,), 0.51: (4096,), 0.6: (5120,), 1.0: (8192,), 1.9: (16_000,), 2.0: (16_000,),
    }  # fmt: skip
    assert given(made, wav(0.6)).shape == (1, 5120)


def test_at_most_a_quarter_of_a_free_length_is_padding() -> None:
    lengths = np.array([next_length(length) for length in range(8, 5000)])
    assert (lengths >= np.arange(8, 5000)).all() and (lengths <= 1.25 * np.arange(8, 5000)).all()
    assert len(np.unique(lengths)) < 45


def test_a_waveform_is_normalised_padded_and_masked_as_transformers_does() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    sounds = [wav(0.5, seed=1), wav(0.45, seed=2)]
    made = transform(length="free", normalisation="zero_mean_unit_variance", attention_mask=True)
    theirs = Wav2Vec2FeatureExtractor(return_attention_mask=True)(
        [at_16_khz(sound) for sound in sounds],
        sampling_rate=16_000,
        padding="max_length",
        max_length=8192,
        return_tensors="pt",
    )
    batch = given(made, *sounds)
    assert torch.equal(batch["input_values"], theirs["input_values"])
    assert torch.equal(batch["attention_mask"], theirs["attention_mask"].long())


def test_of_exact_length_it_is_what_transformers_makes_of_it_alone() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    made = transform(length="exact", normalisation="zero_mean_unit_variance")
    for sound in (wav(0.5), wav(0.0125)):
        theirs = Wav2Vec2FeatureExtractor()(at_16_khz(sound), sampling_rate=16_000, return_tensors="pt")
        assert torch.equal(given(made, sound), theirs["input_values"])
    assert given(transform(length="exact", seconds=0.1), wav(0.5)).shape == (1, 1600)


def test_silence_is_given_as_zeros() -> None:
    made = transform(sample_rate=8000, seconds=0.5, normalisation="zero_mean_unit_variance")
    assert not given(made, wav_of_zeros()).any()
    assert (given(transform(seconds=0.5, **LOG_MEL), wav_of_zeros()) == LOG_FLOOR).all()


def wav_of_zeros() -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros(3000), 8000, format="WAV")
    return out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "n_fft", "hop"), [(0.5, 256, 80), (0.33, 400, 160), (0.02, 256, 80), (0.5, 200, 256)]
)
def test_log_mel_is_that_of_transformers_own_spectrogram_of_the_padded_waveform(
    seconds: float, n_fft: int, hop: int
) -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    made = transform(**LOG_MEL | {"seconds": 0.5, "n_fft": n_fft, "hop": hop, "n_mels": 24})
    sound = wav(seconds)
    values = np.zeros(4000)
    heard = soundfile.read(io.BytesIO(sound), dtype="float32")[0]
    values[: len(heard)] = heard
    bands = mel_filter_bank(1 + n_fft // 2, 24, 0, 4000, 8000, norm=None, mel_scale="htk")
    expected = spectrogram(
        values, window_function(n_fft), n_fft, hop, power=2.0, pad_mode="constant", mel_filters=bands, log_mel="log",
        mel_floor=1e-6,
    )  # fmt: skip
    batch = given(made, sound)
    assert batch.shape == (1, 1, *expected.shape) == (1, *(made.input_size or ()))
    np.testing.assert_allclose(batch[0, 0], expected, atol=1e-3)


def test_what_is_padding_of_a_spectrogram_does_not_travel() -> None:
    made = transform(seconds=10.0, **LOG_MEL)
    array = made.preprocess(wav(0.5), LIMITS)
    assert array.shape == (40, 52) and array.dtype == np.float32
    batch: Any = made.to_input([array])
    assert batch.shape == (1, 1, 40, 1001)


def test_a_spectrogram_of_free_length_has_the_frames_that_are_heard_and_few_more() -> None:
    made = transform(seconds=10.0, length="free", **LOG_MEL)
    assert given(made, wav(0.5)).shape == (1, 1, 40, 56)
    assert given(made, wav(0.01)).shape == (1, 1, 40, 16)
    assert given(made, wav(11)).shape == (1, 1, 40, 1001)


@pytest.mark.parametrize("kind", ["ASTFeatureExtractor", "WhisperFeatureExtractor"])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 3.0])
@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
def test_an_extractors_features_are_its_own_and_its_padding_does_not_travel(kind: str, seconds: float) -> None:
    import transformers

    said = {"max_length": 256} if kind.startswith("AST") else {"chunk_length": 4, "feature_size": 40}
    made = transform(features="extractor", extractor={"feature_extractor_type": kind, **said}, seconds=4.0)
    sound = wav(seconds)
    array = made.preprocess(sound, LIMITS)
    values = at_16_khz(sound)
    values = np.pad(values, (0, max(0, 400 - len(values))))
    theirs = getattr(transformers, kind)(**said)(values, sampling_rate=16_000, return_tensors="pt")
    batch: Any = made.to_input([array, array])
    assert torch.equal(batch[:1], next(iter(theirs.values())))
    assert batch.shape[1:] == made.input_size == made.input_shape(array.shape)
    assert seconds > 1 or array.size < batch[0].numel() / 2


@pytest.mark.parametrize(
    "settings",
    [
        {"sample_rate": 8000, "seconds": 0.6},
        {"seconds": 0.6, "length": "free", "normalisation": "zero_mean_unit_variance", "attention_mask": True},
        {"seconds": 0.6, **LOG_MEL},
        {"seconds": 0.6, "length": "free", "normalisation": "zero_mean_unit_variance", **LOG_MEL},
    ],
)
def test_a_row_depends_on_its_sound_alone(settings: dict[str, Any]) -> None:
    made = transform(**settings)
    arrays = [made.preprocess(wav(0.3 + 0.05 * (seed % 3), seed=seed), LIMITS) for seed in range(9)]
    by_shape: dict[Any, list[Any]] = {}
    for array in arrays:
        by_shape.setdefault(made.input_shape(array.shape), []).append(array)
    for shape, group in by_shape.items():
        whole: Any = made.to_input(group)
        for name, rows in (whole if isinstance(whole, dict) else {"": whole}).items():
            assert rows.shape[1:] == shape or name == "attention_mask"
            for row, array in zip(rows, group, strict=True):
                alone: Any = made.to_input([array])
                assert torch.equal(row, (alone[name] if name else alone)[0])


@pytest.mark.parametrize("length", ["fixed", "free", "exact"])
@pytest.mark.parametrize("settings", [{}, LOG_MEL])
def test_the_example_is_silence_as_preprocess_gives_it(settings: dict[str, Any], length: str) -> None:
    made = transform(length=length, **settings)
    batch: Any = made.to_input([made.example()])
    assert made.input_shape(made.example().shape) == tuple(batch.shape[1:])
    assert made.input_size in (None, made.input_shape(made.example().shape))


def test_the_id_tells_any_two_settings_apart_and_stays_as_it_is() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"sample_rate": 8000}, {"seconds": 3}, {"length": "free"}, {"attention_mask": True},
        {"normalisation": "zero_mean_unit_variance"}, {"features": "log_mel"}, {"n_fft": 512}, {"hop": 80},
        {"n_mels": 80}, {"features": "extractor", "extractor": {"feature_extractor_type": "ASTFeatureExtractor"}},
    ]  # fmt: skip
    assert len({transform(**change).id for change in changes}) == len(changes)
    assert transform().id == "b1c129bcc459bca5"


def test_settings_that_contradict_one_another_are_refused() -> None:
    with pytest.raises(ValidationError, match="extractor"):
        AudioConfig(features="extractor")
    with pytest.raises(ValidationError, match="extractor"):
        AudioConfig(extractor={})
    with pytest.raises(ValidationError, match="sampling_rate is another"):
        AudioConfig(features="extractor", extractor={"sampling_rate": 8000})
    with pytest.raises(ValidationError, match="modality is 'vision'"):
        ModelConfig(audio=AudioConfig())


@pytest.mark.parametrize(
    "said",
    [{"feature_extractor_type": "os.system"}, {"feature_extractor_type": "ASTFeatureExtractor", "max_length": "x"}],
)
def test_an_extractor_that_is_not_known_or_does_not_work_is_an_error_of_the_model(said: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        transform(features="extractor", extractor=said).example()


def test_waveforms_and_spectrograms_need_neither_torch_nor_transformers_in_preprocess() -> None:
    code = (
        "import sys\n"
        "from alaas.config import AudioConfig\n"
        "from alaas.config.sources import SourcesConfig\n"
        "from alaas_workers.transforms import transform_class\n"
        "made = [transform_class('audio')(AudioConfig(features=each)) for each in ('waveform', 'log_mel')]\n"
        "assert all(each.id and each.input_size for each in made)\n"
        "assert not sys.modules.keys() & {'soundfile', 'scipy', 'torch'}, 'too early'\n"
        "data = sys.stdin.buffer.read()\n"
        "arrays = [each.preprocess(data, SourcesConfig()) for each in made]\n"
        "assert not sys.modules.keys() & {'torch', 'transformers'}\n"
    )
    subprocess.run([sys.executable, "-c", code], input=wav(0.3), check=True, timeout=60)


def test_without_soundfile_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ModelError, match=r"alaas\[audio\]"):
        transform().preprocess(wav(), LIMITS)
    with pytest.raises(ModelError, match=r"alaas\[audio\]"):
        transform().example()


def test_a_tone_lies_in_the_band_of_its_pitch() -> None:
    time_s = np.arange(4000) / 8000
    out = io.BytesIO()
    soundfile.write(out, 0.5 * np.sin(2 * np.pi * 1000 * time_s), 8000, format="WAV")
    batch = given(transform(seconds=0.5, **LOG_MEL), out.getvalue())
    mels = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 4000 / 700)) * 41 - 1
    assert abs(int(batch[0, 0, :, 25].argmax()) - mels) < 1
