"""docs/onnx.md, docs/export.md and the commands of docs/models.md, run as they stand, apart from servers."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from alaas.cli import main
from alaas.config import load_config
from tests.support.docs import blocks
from tests.support.onnx_models import tiny_onnx
from tests.support.tiny_models import saved, seeded


def commands(page: str) -> list[list[str]]:
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [each[1:] for each in words if each[0] == "alaas" and "--config" in each]


def run(page: str, config: str, *, at_least: int) -> None:
    asked = commands(page)
    assert len(asked) >= at_least
    for arguments in asked:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, (arguments, result.output)
        assert load_config(config).models


def test_the_page_on_onnx_files_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_onnx(tmp_path).rename("net.onnx")
    first, named = blocks("onnx.md", "yaml")
    Path("onnx.yml").write_text(named)
    assert CliRunner().invoke(main, ["models", "check", "--all", "--config", "onnx.yml"]).exit_code == 0
    Path("onnx.yml").write_text(first)
    run("onnx.md", "onnx.yml", at_least=2)
    assert list(load_config("onnx.yml").models) == ["net", "other"]


def test_the_page_on_exports_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (config,) = blocks("export.md", "yaml")
    Path("models.yml").write_text(config)
    run("export.md", "models.yml", at_least=2)
    assert Path("repository/small/1/model.py").is_file() and Path("onnx-repository/small/1/model.onnx").is_file()


def test_the_commands_on_models_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(seeded(), tmp_path / "tiny.pt")
    Path("nets.py").write_text("from tests.support.tiny_models import TinyNet as tiny\n")
    Path("models.yml").write_text("models:\n  small: {name: resnet18, weights: null, transform: {crop: 32}}\n")
    run("models.md", "models.yml", at_least=3)
    assert list(load_config("models.yml").models) == ["small", "tiny"]
