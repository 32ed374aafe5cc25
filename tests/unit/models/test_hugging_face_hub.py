from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from alaas.config import ModelConfig
from alaas.errors import ModelError
from alaas_workers.models import load_model
from alaas_workers.models.hugging_face.hub import folder_of
from tests.support.fake_hub import COMMIT, REPO, hub_of, use_hub
from tests.support.tiny_models import Evil, config_of
from tests.support.tiny_texts import text_config, write_text_model


def _settings(**settings: Any) -> ModelConfig:
    return ModelConfig(source="huggingface", modality="text", **settings)


@pytest.mark.parametrize(
    ("settings", "key", "why"),
    [
        ({}, "repo", "names no model"),
        ({"repo": "no/such/folder"}, "repo", "there is no folder 'folder'"),
        ({"repo": "owner/../name"}, "repo", "there is no folder"),
        ({"repo": "owner/name"}, "revision", "pin it by its commit"),
        ({"repo": "owner/name", "revision": "main"}, "revision", "pin it by its commit"),
        ({"repo": "owner/name", "revision": COMMIT.upper()}, "revision", "pin it by its commit"),
    ],
)
def test_only_a_folder_or_a_pinned_repository_is_taken(settings: dict[str, str], key: str, why: str) -> None:
    with pytest.raises(ModelError, match=why) as caught:
        folder_of("m", _settings(**settings))
    assert caught.value.field == f"models.m.{key}"


def test_a_folder_without_a_config_and_a_folder_with_a_revision_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        folder_of("m", _settings(repo=str(tmp_path)))
    with pytest.raises(ModelError, match="a local folder has no revision"):
        folder_of("m", _settings(repo=str(tmp_path), revision=COMMIT))


def test_a_pinned_repository_is_fetched_once_without_pickles_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_text_model(tmp_path / "source")
    (source / "pytorch_model.bin").write_bytes(b"pickled")
    (source / "modeling.py").write_text("raise SystemExit('ran')")
    with hub_of(source) as (address, asked):
        use_hub(monkeypatch, address, tmp_path / "cache")
        small = folder_of("m", _settings(repo=REPO, revision=COMMIT))
        assert not list(small.glob("*.safetensors"))  # which preprocess workers do not need
        whole = folder_of("m", _settings(repo=REPO, revision=COMMIT), weights=True)
        assert {file.name for file in whole.iterdir()} == {
            "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
        }  # fmt: skip
        count = len(asked)
        assert folder_of("m", _settings(repo=REPO, revision=COMMIT), weights=True) == whole
        assert len(asked) == count
        with pytest.raises(ModelError, match="the hub shows no 'owner/other'"):
            folder_of("m", _settings(repo="owner/other", revision=COMMIT))
    from_cache = load_model("m", config_of(source="huggingface", modality="text", repo=REPO, revision=COMMIT))
    from_folder = load_model("m", config_of(source="huggingface", modality="text", repo=source))
    assert from_cache.card == from_folder.card  # the hub is away by now


def test_a_hub_that_cannot_be_reached_is_told_soon_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    use_hub(monkeypatch, f"http://127.0.0.1:{port}", tmp_path)
    started = time.monotonic()
    with pytest.raises(
        ModelError, match="not in the cache and the hub cannot be reached; name a local folder"
    ) as caught:
        folder_of("m", _settings(repo=REPO, revision=COMMIT))
    assert time.monotonic() - started < 5
    assert caught.value.field == "models.m.repo" and str(port) not in caught.value.detail


def test_a_hub_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alaas_workers.models.hugging_face.hub._ANSWER_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_hub(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
        started = time.monotonic()
        with pytest.raises(ModelError, match="the hub cannot be reached"):
            folder_of("m", _settings(repo=REPO, revision=COMMIT))
        assert time.monotonic() - started < 5


def test_pickled_weights_are_refused_and_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    folder = write_text_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Evil()}, folder / "pytorch_model.bin")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"pickled weights only.*save_pretrained"):
        load_model("m", config_of(source="huggingface", modality="text", repo=folder))
    assert not (tmp_path / "pwned").exists()
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        load_model("m", config_of(source="huggingface", modality="text", repo=folder))


def test_code_in_the_folder_is_never_run(tmp_path: Path) -> None:
    folder = write_text_model(tmp_path / "model")
    (folder / "modeling_mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    code = {"AutoConfig": "modeling_mine.Mine", "AutoModelForSequenceClassification": "modeling_mine.Mine"}
    path.write_text(json.dumps(config | {"auto_map": code}))
    assert load_model("m", config_of(source="huggingface", modality="text", repo=folder)).card.classes == 4
    path.write_text(json.dumps(config | {"auto_map": code, "model_type": "mine"}))
    with pytest.raises(ModelError, match="brings its own code, which is never run"):
        load_model("m", config_of(source="huggingface", modality="text", repo=folder))
    assert not (tmp_path / "ran").exists()


def test_its_transform_needs_neither_torch_nor_transformers(tmp_path: Path) -> None:
    config = text_config(tmp_path)
    program = (
        "import sys\nfrom alaas.config import ModelConfig\nfrom alaas_workers.models import transform_for\n"
        f"transform_for('m', ModelConfig(source='huggingface', modality='text', repo={config.models['m'].repo!r}))\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
