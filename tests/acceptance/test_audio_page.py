"""docs/audio.md, run as it stands, with small models and sounds made here."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from alaas.cli.app import main
from tests.support.docs import blocks
from tests.support.fleets import Rig
from tests.support.sound_models import save_wav2vec2
from tests.support.sounds import encoded, tone, wav

SOUNDS = 24


def write_page(folder: Path) -> None:
    """Its configuration, its network, and the files that they name."""
    (config,) = blocks("audio.md", "yaml")
    (folder / "sounds.yml").write_text(f"{config}storage: {{data_dir: {folder / 'data'}}}\n")
    (folder / "digits_net.py").write_text(blocks("audio.md", "python")[0])
    save_wav2vec2(folder / "models" / "keywords")
    spec = spec_from_file_location("digits_net", folder / "digits_net.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    save_file(module.DigitsNet().state_dict(), str(folder / "models" / "digits.safetensors"))
    (folder / "sounds").mkdir()
    for seed in range(SOUNDS):
        data = wav(0.5, 16_000, seed=seed) if seed % 2 else encoded(tone(0.4, 8000, 2, seed), 8000, "FLAC")
        (folder / "sounds" / f"{seed}.{'wav' if seed % 2 else 'flac'}").write_bytes(data)


def test_the_page_on_sounds_serves_chooses_and_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_page(tmp_path)
    monkeypatch.chdir(tmp_path)
    run("config check sounds.yml")
    with Rig(tmp_path / "sounds.yml") as rig:
        monkeypatch.setenv("ALAAS_SERVER", rig.server.url)
        names: dict[str, Any] = {}
        exec(blocks("audio.md", "python")[1].replace("localhost:8888", rig.server.url), names)  # our own page
        with names["client"] as client:
            assert len(client.query(budget=3, strategy="DeepFool", model="digits")) == 3
        chosen = [Path(line).name for line in capsys.readouterr().out.splitlines()]
        assert len(set(chosen)) == 10 and set(chosen) <= {path.name for path in (tmp_path / "sounds").iterdir()}
        models = run("models")
        assert "keywords" in models and "digits" in models and "audio" in models
        run("push sounds/ --modality audio --dataset calls --model keywords")
        run("query --dataset calls --budget 10 --strategy KCenterSampling --model keywords")


def run(command: str) -> str:
    """A command that stands on the page."""
    commands = [
        line.removeprefix("$ ") for kind in ("console", "sh") for line in "".join(blocks("audio.md", kind)).splitlines()
    ]
    assert f"alaas {command}" in commands
    result = CliRunner().invoke(main, command.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
