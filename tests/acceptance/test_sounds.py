"""The whole job on spoken digits, by files, a folder and a manifest: what the fleet gives is what a plain script gives.

One model is trained here in seconds; the others are small Wav2Vec2 as HuggingFace folders.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import soundfile
import torch
from scipy.signal import resample_poly

from alaas import Client
from alaas.errors import JobFailed
from load_tests.spoken_digits import digit_of, unpack
from tests.support.fleets import Rig, write_config
from tests.support.sound_models import BUILDER, LOG_MEL, SoundNet, save_wav2vec2
from tests.support.sounds import encoded, raw_wav, tone

POOL, TRAINED, BUDGET = 96, 400, 24
ROUNDING = 1e-5

Floats = npt.NDArray[np.float32]


def log_mel(path: Path) -> torch.Tensor:
    """As a plain script makes it: padded to 0.6 s, torch's own STFT, bands of transformers."""
    from transformers.audio_utils import mel_filter_bank

    waveform, rate = soundfile.read(path, dtype="float32")
    assert rate == LOG_MEL["sample_rate"]
    room = torch.zeros(4800)
    room[: min(4800, len(waveform))] = torch.from_numpy(waveform[:4800])
    power = torch.stft(
        room, 256, 80, window=torch.hann_window(256), center=True, pad_mode="constant", return_complex=True
    ).abs().square()  # fmt: skip
    bands = torch.tensor(mel_filter_bank(129, 40, 0, 4000, 8000, norm=None, mel_scale="htk"), dtype=torch.float32)
    return (bands.T @ power).clamp_min(1e-6).log()[None]


def trained(paths: list[Path]) -> SoundNet:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine more threads wait for one another
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return fitted(
                torch.stack([log_mel(path) for path in paths]), torch.tensor([digit_of(path.name) for path in paths])
            )
    finally:
        torch.set_num_threads(threads)


def fitted(batch: torch.Tensor, classes: torch.Tensor) -> SoundNet:
    """Some seconds' worth: most digits are right."""
    network = SoundNet().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(15):
        for rows in torch.randperm(len(batch)).reshape(-1, 40):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(batch[rows]), classes[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval()


@torch.inference_mode()
def by_script(network: SoundNet, paths: list[Path]) -> Floats:
    return np.asarray(network(torch.stack([log_mel(path) for path in paths])).softmax(1).numpy())


@torch.inference_mode()
def by_transformers(folder: Path, paths: list[Path]) -> Floats:
    """As transformers' own pages do it, a file at a time."""
    import transformers

    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
    rows = []
    for path in paths:
        waveform, rate = soundfile.read(path, dtype="float32")
        inputs = extractor(resample_poly(waveform, 16_000, rate), sampling_rate=16_000, return_tensors="pt")
        rows.append(model(**inputs).logits.softmax(1)[0])
    return np.asarray(torch.stack(rows).numpy())


@dataclass(frozen=True)
class Hearing:
    """A fleet with three models of sounds, and its pool as files."""

    rig: Rig
    client: Client
    folder: Path
    pool: list[Path]
    expected: dict[str, Floats]  # by model: probabilities of the pool


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Hearing]:
    folder = tmp_path_factory.mktemp("sounds")
    pool = unpack(folder / "pool", POOL)
    network = trained(unpack(folder / "trained", TRAINED, skip=POOL))
    torch.save(network.state_dict(), folder / "network.pt")
    models: dict[str, Any] = {
        "network": {"source": "file", "path": str(folder / "network.pt"), "builder": BUILDER, "audio": LOG_MEL},
        "masked": {"source": "huggingface", "repo": str(save_wav2vec2(folder / "masked", masks=True))},
        "unmasked": {
            "source": "huggingface",
            "repo": str(save_wav2vec2(folder / "unmasked", masks=False)),
            "batch_size": 1,
        },
        "regression": {"source": "huggingface", "repo": str(save_wav2vec2(folder / "regression", classes=1))},
    }
    expected = {name: by_transformers(folder / name, pool) for name in ("masked", "unmasked")}
    config = write_config(
        folder,
        models={name: {**settings, "modality": "audio"} for name, settings in models.items()},
        sources={"file": {"roots": [str(folder)]}, "max_seconds": 60},
        pipeline={"chunk_size": 17},
    )
    with Rig(config) as rig, rig.client() as client:
        yield Hearing(rig, client, folder, pool, {"network": by_script(network, pool), **expected})


def assert_least_confident(selected: Any, pool: list[Path], probabilities: Floats) -> None:
    """The right ones with the right scores; those whose scores are within rounding may change places."""
    score_of = {path.as_uri(): 1 - row.max() for path, row in zip(pool, probabilities, strict=True)}
    wanted = sorted(score_of.values(), reverse=True)[:BUDGET]
    chosen = [chosen.uri for chosen in selected.report.selected]
    assert len(set(chosen)) == BUDGET and selected.report.failed == []
    np.testing.assert_allclose([score_of[uri] for uri in chosen], wanted, atol=ROUNDING)
    np.testing.assert_allclose([chosen.score for chosen in selected.report.selected], wanted, atol=ROUNDING)


@pytest.mark.parametrize("model", ["network", "masked", "unmasked"])
def test_files_of_sounds_are_chosen_as_a_plain_script_chooses(hearing: Hearing, model: str) -> None:
    expected = hearing.expected[model]
    assert expected.max(1).std() > 10 * ROUNDING
    hearing.client.push_data([str(path) for path in hearing.pool], modality="audio", model=model)
    selected = hearing.client.query(budget=BUDGET, strategy="LeastConfidence", model=model)
    assert_least_confident(selected, hearing.pool, expected)


def test_the_network_hears_digits(hearing: Hearing) -> None:
    hits = hearing.expected["network"].argmax(1) == [digit_of(path.name) for path in hearing.pool]
    assert hits.mean() > 0.6, hits.mean()


def test_a_folder_and_a_manifest_give_what_the_files_gave(hearing: Hearing) -> None:
    manifest = hearing.folder / "sounds.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["digit", "uri"])
        writer.writerows((digit_of(path.name), path.as_uri()) for path in hearing.pool)
    for listing in (f"{hearing.folder / 'pool'}/", str(manifest)):
        hearing.client.push_data(listing, modality="audio", model="network")
        selected = hearing.client.query(budget=BUDGET, strategy="MarginConfidence", model="network")
        assert len(selected) == BUDGET and selected.report.pool == POOL
        rows = np.sort(hearing.expected["network"], axis=1)
        score_of = {path.as_uri(): 1 - (row[-1] - row[-2]) for path, row in zip(hearing.pool, rows, strict=True)}
        wanted = sorted(score_of.values(), reverse=True)[:BUDGET]
        np.testing.assert_allclose([score_of[each.uri] for each in selected.report.selected], wanted, atol=ROUNDING)


@pytest.mark.parametrize("strategy", ["KCenterSampling", "BatchBALD", "DeepFool"])
def test_embeddings_passes_and_boundaries_of_sounds_are_there(hearing: Hearing, strategy: str) -> None:
    uris = [path.as_uri() for path in hearing.pool[:24]]
    selected = hearing.client.query_by_uri(uris, budget=6, strategy=strategy, model="network")
    assert len(set(selected)) == 6


def test_a_committee_hears_the_same_sounds_each_in_its_own_way(hearing: Hearing) -> None:
    uris = [path.as_uri() for path in hearing.pool[:24]]
    selected = hearing.client.query_by_uri(uris, budget=6, strategy="QueryByCommittee", model=["network", "masked"])
    assert len(set(selected)) == 6 and selected.report.failed == []


BAD: dict[str, tuple[bytes, str]] = {
    "empty.wav": (b"", "empty"),
    "no-values.wav": (raw_wav(b""), "empty"),
    "song.mp3": (encoded(tone(0.5), 8000, "MP3"), "not_audio"),
    "photo.png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "not_audio"),
    "lies.wav": (raw_wav(bytes(100), size=2**30), "truncated"),
    "0-hertz.wav": (raw_wav(bytes(100), rate=0), "truncated"),
    "64-channels.wav": (raw_wav(bytes(12_800), channels=64), "too_many_channels"),
    "nan.wav": (raw_wav(np.full(50, np.nan, "<f4").tobytes(), bits=32, code=3), "not_finite"),
    "three-hours.flac": (encoded(np.zeros(8000 * 3600 * 3, np.int16), 8000, "FLAC"), "too_long"),
}


def test_bad_sounds_fail_alone_and_silence_is_a_sound(hearing: Hearing) -> None:
    folder = hearing.folder / "bad"
    folder.mkdir()
    for name, (data, _) in BAD.items():
        (folder / name).write_bytes(data)
    silence = folder / "silence.wav"
    silence.write_bytes(raw_wav(bytes(8000)))
    good = [*hearing.pool[:5], silence]
    uris = [path.as_uri() for path in (*good, *(folder / name for name in BAD))]
    for model in ("network", "masked"):
        report = hearing.client.query_by_uri(uris, budget=len(good), model=model).report
        assert {Path(each.uri).name: each.code for each in report.failed} == {
            name: code for name, (_, code) in BAD.items()
        }
        assert {each.uri for each in report.selected} == {path.as_uri() for path in good}
        assert np.isfinite([each.score for each in report.selected]).all()


def test_a_model_whose_outputs_fit_no_strategy_fails_the_job_before_it_scans(hearing: Hearing) -> None:
    with pytest.raises(JobFailed, match="regression") as caught:
        hearing.client.query_by_uri([hearing.pool[0].as_uri()], budget=1, model="regression")
    assert caught.value.problem is not None and caught.value.problem.field == "model"


def test_preprocess_workers_of_waveforms_and_spectrograms_load_no_torch(hearing: Hearing) -> None:
    hearing.client.query_by_uri([hearing.pool[0].as_uri()], budget=1, model="masked")
    parents = [psutil.Process(pid) for pid in hearing.rig.pids("preprocess")]
    children = [child for parent in parents for child in parent.children()]
    assert children and not [
        child.pid for child in children if "libtorch" in Path(f"/proc/{child.pid}/maps").read_text()
    ]


def test_the_card_of_a_sound_model_tells_its_input(hearing: Hearing) -> None:
    cards = {card.name: card for card in hearing.client.models()}
    assert cards["network"].modality == "audio" and cards["network"].input_size == [1, 40, 61]
    assert cards["masked"].input_size is None and cards["masked"].embedding_size == 24
