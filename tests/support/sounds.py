"""Sounds in memory: real encoders make them, and small models that hear them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

Floats = npt.NDArray[np.float64]


def tone(seconds: float = 0.5, rate: int = 8000, channels: int = 1, seed: int = 0) -> Floats:
    """(n, channels) a chord that fades, and noise; channels and seeds differ."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitches = rng.uniform(150, 0.35 * rate, (3, channels))
    chord = np.sin(2 * np.pi * time[:, None, None] * pitches).sum(1) * np.exp(-3 * time)[:, None]
    return np.asarray(0.15 * chord + rng.normal(0, 0.01, (len(time), channels)))


def encoded(values: npt.NDArray[Any], rate: int = 8000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, values, rate, format=kind, subtype=subtype)
    return out.getvalue()


def wav(seconds: float = 0.5, rate: int = 8000, channels: int = 1, seed: int = 0, subtype: str = "PCM_16") -> bytes:
    return encoded(tone(seconds, rate, channels, seed), rate, "WAV", subtype)


def raw_wav(
    body: bytes, rate: int = 8000, channels: int = 1, bits: int = 16, code: int = 1, size: int | None = None
) -> bytes:
    """With any header: `size` is what it says of the body."""
    width = channels * ((bits + 7) // 8)
    said = len(body) if size is None else size
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, channels, rate, rate * width & 0xFFFFFFFF, width & 0xFFFF, bits)
    return b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVE" + form + struct.pack("<4sI", b"data", said) + body


def save_wav2vec2(folder: Path, *, classes: int = 10, masks: bool = True, hidden: int = 32, **options: Any) -> Path:
    """A tiny Wav2Vec2 classifier with random weights, saved as any HuggingFace model is."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    config = Wav2Vec2Config(**{
        "hidden_size": hidden, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "conv_dim": (32, 32, 32), "conv_kernel": (10, 8, 4), "conv_stride": (5, 4, 4), "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 24, "num_labels": classes,
        "feat_extract_norm": "layer" if masks else "group", "do_stable_layer_norm": masks, **options,
    })  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Wav2Vec2ForSequenceClassification(config).eval().save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=masks).save_pretrained(folder)
    return folder
