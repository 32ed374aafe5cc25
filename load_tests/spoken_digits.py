"""The 3,000 spoken digits of ../shared/data: as WAV files in a folder, and as rows of numbers made without a label."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.config import AudioConfig
from alaas.config.sources import SourcesConfig
from alaas_workers.transforms.audio import AudioTransform

PATH = Path(__file__).resolve().parents[2] / "shared" / "data" / "fsdd-wav.tar.gz"
SPECTROGRAM = AudioConfig(sample_rate=8000, seconds=0.6, features="log_mel", n_fft=256, hop=80, n_mels=24)
_FRAMES = 4  # that are averaged to one


def read() -> dict[str, bytes]:
    """The files by name (`<digit>_<speaker>_<number>.wav`), in the order of their names."""
    if not PATH.exists():
        raise SystemExit(f"this needs the real sounds of ../shared/data ({PATH.name})")
    files = {}
    with tarfile.open(PATH) as tar:
        for member in tar:
            if member.name.endswith(".wav") and (inner := tar.extractfile(member)) is not None:
                files[Path(member.name).name] = inner.read()
    return dict(sorted(files.items()))


def digit_of(name: str) -> int:
    return int(name.partition("_")[0])


def unpack(folder: Path, count: int, skip: int = 0) -> list[Path]:
    """`count` of them after `skip` as files, in an order in which any part has all digits and speakers in turn."""
    files = read()
    names = list(files)
    np.random.default_rng(0).shuffle(names)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in names[skip : skip + count]]
    for path in paths:
        path.write_bytes(files[path.name])
    return paths


def rows(sounds: list[bytes]) -> NDArray[np.float32]:
    """(N, 360): the log-mel spectrogram of the first 0.6 s, four frames averaged to one."""
    transform = AudioTransform(SPECTROGRAM)
    whole: Any = transform.to_input([transform.preprocess(sound, SourcesConfig()) for sound in sounds])
    frames = whole.numpy()[..., : whole.shape[-1] // _FRAMES * _FRAMES]
    averaged: NDArray[np.float32] = frames.reshape(*frames.shape[:-1], -1, _FRAMES).mean(-1)
    return averaged.reshape(len(averaged), -1)
