"""Small models that hear: a Wav2Vec2 saved as any HuggingFace model is, and a network of one's own on spectrograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas.config import Config
from tests.support.tiny_models import config_of, saved

BUILDER = "tests.support.sound_models:SoundNet"
LOG_MEL: dict[str, Any] = {
    "sample_rate": 8000, "seconds": 0.6, "features": "log_mel", "n_fft": 256, "hop": 80, "n_mels": 40,
}  # fmt: skip


class SoundNet(nn.Module):
    """(N, 1, bands, frames) of any size, averaged to 20 x 12; a convolution, a hidden layer with dropout, a head."""

    def __init__(self, classes: int = 10, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(1), nn.AdaptiveAvgPool2d((20, 12)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 18 * 10, width), nn.ReLU(), nn.Dropout(0.2),
        )  # fmt: skip
        self.fc = nn.Linear(width, classes)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(self.body(batch))
        return scores


def seeded(**options: Any) -> SoundNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SoundNet(**options).eval()


def sound_config(folder: Path, **settings: Any) -> Config:
    """SoundNet from a state dict in `folder`, on spectrograms of 0.6 s."""
    path = folder / "sound.pt"
    if not path.exists():
        saved(seeded(), path)
    defaults: dict[str, Any] = {"source": "file", "path": path, "builder": BUILDER, "modality": "audio"}
    return config_of(**{**defaults, "audio": LOG_MEL, "passes": 3, **settings})


def wav2vec2_config(folder: Path, *, masks: bool, **settings: Any) -> Config:
    save_wav2vec2(folder / "wav2vec2", masks=masks, classes=3, num_hidden_layers=1)
    return config_of(source="huggingface", repo=folder / "wav2vec2", modality="audio", passes=3, **settings)


def save_wav2vec2(folder: Path, *, masks: bool = True, classes: int = 10, **options: Any) -> Path:
    """A tiny Wav2Vec2 classifier with random weights; `masks` as of its large models, without as of its base."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    config = transformers.Wav2Vec2Config(**{
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "conv_dim": (32, 32, 32), "conv_kernel": (10, 8, 4), "conv_stride": (5, 4, 4), "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 24, "num_labels": classes,
        "feat_extract_norm": "layer" if masks else "group", "do_stable_layer_norm": masks, **options,
    })  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.Wav2Vec2ForSequenceClassification(config).eval().save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=masks).save_pretrained(folder)
    return folder
