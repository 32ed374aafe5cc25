from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from alaas import Client
from alaas.cli import main, options
from alaas.config import load_config
from tests.support.onnx_models import tiny_onnx
from tests.unit.alaas.fake_server import FakeServer


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ALAAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def written(text: str, name: str = "a.yml") -> str:
    Path(name).write_bytes(text.encode())
    return name


NETWORK = "models:\n  # the old one\n  old:   {weights: null}  # none\n\n# of the API\napi:\n  port: 1\n"
TAKES_NO_FILE = ("--source", "torchvision", "name=resnet18", "transform.crop=32")


def test_a_model_is_added_where_the_models_end_and_all_else_stays() -> None:
    file = written(NETWORK)
    assert run("models", "add", "new", *TAKES_NO_FILE, "--config", file).exit_code == 0
    block = "  new:\n    source: torchvision\n    name: resnet18\n    transform:\n      crop: 32\n"
    assert Path(file).read_text() == NETWORK.replace("# none\n", f"# none\n{block}")
    assert list(load_config(file).models) == ["old", "new"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "models:\n",
        "models: # none yet\napi: {port: 1}\n",
        "api:\n  port: 1",
        "models:\r\n    a: {}\r\n",
    ],
)
def test_a_file_of_any_shape_of_lines_takes_a_model(text: str) -> None:
    file = written(text)
    assert run("models", "add", "null", *TAKES_NO_FILE, "--config", file).exit_code == 0
    added = load_config(file).models["null"]
    assert (added.name, added.transform.crop if added.transform else 0) == ("resnet18", 32)
    assert all(line in Path(file).read_bytes().decode() for line in text.splitlines())


def test_a_file_that_is_not_there_yet_is_made() -> None:
    assert run("models", "add", "new", *TAKES_NO_FILE, "--config", "fresh.yml").exit_code == 0
    assert list(load_config("fresh.yml").models) == ["new"]


def test_models_in_one_line_are_left_alone_and_the_block_is_told() -> None:
    text = "models: {old: {weights: null}}\n"
    file = written(text)
    result = run("models", "add", "new", *TAKES_NO_FILE, "--config", file)
    assert result.exit_code == 2 and "paste this" in result.stderr and "      crop: 32" in result.stderr
    assert Path(file).read_text() == text


def test_a_dry_run_prints_the_file_and_writes_nothing() -> None:
    file = written(NETWORK)
    result = run("models", "add", "new", *TAKES_NO_FILE, "--config", file, "--dry-run")
    assert list(yaml.safe_load(result.stdout)["models"]) == ["old", "new"]
    assert Path(file).read_text() == NETWORK


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["old", *TAKES_NO_FILE], "models.old: this model is there already"),
        (["new", "--source", "onxx"], "models.new.source"),
        (["new", "--source", "onnx", "paht=a.onnx"], "models.new.paht: unknown key 'paht'; nearest known: 'path'"),
        (["new", "--source", "onnx", "path=a.onnx"], "models.new.path: there is no file a.onnx"),
        (["new", "--source", "file", "path"], "'path' is not KEY=VALUE"),
        (["new", "--source", "file", "transform=1", "transform.crop=2"], "has a value already"),
        (["new", "--source", "file", "batch_size=1", "batch_size=2"], "given twice"),
        (["new", "--source", "file", "batch_size=[1"], "not YAML"),
        (["new", "--source", "file", "batch_size=0"], "models.new.batch_size"),
    ],
)
def test_what_cannot_be_added_is_said_and_changes_nothing(arguments: list[str], said: str) -> None:
    file = written(NETWORK)
    result = run("models", "add", *arguments, "--config", file)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert Path(file).read_text() == NETWORK


def test_the_model_of_a_file_in_the_papers_format_is_not_lost() -> None:
    paper = {"strategy": {"type": "LeastConfidence", "infer_model": {"type": "torchvision", "model": "resnet18"}}}
    text = yaml.safe_dump({"active_learning": paper})
    file = written(text)
    assert run("models", "add", "new", *TAKES_NO_FILE, "--config", file).exit_code == 2
    assert Path(file).read_text() == text


def test_a_check_of_the_configuration_names_files_that_are_not_there() -> None:
    models = {
        "a": {"source": "file", "path": "no.pt"},
        "b": {"weights": "no/w.pth"},
        "c": {"source": "torch_hub", "repo": "./no"},
    }
    file = written(yaml.safe_dump({"models": models}))
    result = run("config", "check", file)
    assert result.exit_code == 2
    for said in ("models.a.path: there is no file no.pt", "models.b.weights", "models.c.repo: there is no folder ./no"):
        assert said in result.stderr
    listed = json.loads(run("models", "list", "--config", file, "--json").stdout)
    assert [row["source"] for row in listed] == ["file", "torchvision", "torch_hub"]
    assert "there is no file no.pt" in listed[0]["state"]


def test_a_model_that_loads_and_one_that_does_not_are_told_apart(tmp_path: Path) -> None:
    tiny_onnx(tmp_path)
    (tmp_path / "bad.onnx").write_bytes(b"nothing of the kind")
    models: dict[str, dict[str, Any]] = {
        "good": {"path": "tiny.onnx", "transform": {"crop": 16}},
        "bad": {"path": "bad.onnx"},
    }
    file = written(json.dumps({"models": {name: model | {"source": "onnx"} for name, model in models.items()}}))
    result = run("models", "check", "--all", "--config", file, "--json")
    good, bad = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (good["classes"], good["embedding_size"], good["error"]) == (5, 8, None)
    assert bad["error"] == "models.bad.path: model 'bad': bad.onnx is no ONNX file, or is corrupt"


def test_a_check_wants_names_that_are_configured() -> None:
    file = written(NETWORK)
    assert "name models or give --all; configured: old" in run("models", "check", "--config", file).stderr
    assert "no model 'x'; configured: old" in run("models", "check", "x", "--config", file).stderr


def test_the_servers_models_are_listed(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "Client", partial(Client, transport=server.transport))
    by_default, by_name = run("models"), run("models", "list")
    assert by_default.output == by_name.output
    assert by_default.output.splitlines()[0].split() == [
        "NAME", "MODALITY", "CLASSES", "INPUT", "DEVICE", "FINGERPRINT", "OUTPUTS", "STATE",
    ]  # fmt: skip
