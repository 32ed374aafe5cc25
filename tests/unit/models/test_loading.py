from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from alaas.config import ModelConfig
from alaas.errors import ModelError
from alaas.jobs import Feature, ModelCard
from alaas_workers.models import configured_card, load_model, transform_for
from alaas_workers.models.scores import not_given
from tests.support.tiny_models import FlatNet, Silent, config_of, saved, seeded, tiny_config

ROOT = Path(__file__).resolve().parents[3]


def _fingerprint(folder: Path, **settings: Any) -> str | None:
    return load_model("m", tiny_config(folder, **settings)).card.fingerprint


def _error(folder: Path, **settings: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model("m", tiny_config(folder, **settings))
    return caught.value


def _built(folder: Path, module: torch.nn.Module, **settings: Any) -> dict[str, Any]:
    name = type(module).__name__
    return {"path": saved(module, folder / f"{name}.pt"), "builder": f"tests.support.tiny_models:{name}"} | settings


def test_the_card_tells_what_the_model_gives(tmp_path: Path) -> None:
    card = load_model("m", tiny_config(tmp_path)).card
    assert card == ModelCard(
        name="m",
        modality="vision",
        fingerprint=card.fingerprint,
        transform=transform_for("m", tiny_config(tmp_path).models["m"]).id,
        classes=5,
        embedding_size=8,
        passes=20,
        outputs=[Feature.PROBABILITIES, Feature.EMBEDDINGS, Feature.BOUNDARY_DISTANCES],
        lacking=not_given("classes")
        | dict.fromkeys([Feature.PASS_SUMS, Feature.PASSES], "the model has no dropout layers"),
        input_size=[16, 16],
        device="cpu",
    )
    assert len(card.fingerprint or "") == 64


def test_embeddings_are_the_input_of_the_head_in_the_same_pass(tmp_path: Path) -> None:
    batch = torch.rand(8, 3, 16, 16)
    outputs = load_model("m", tiny_config(tmp_path)).outputs(batch)
    with torch.inference_mode():
        torch.testing.assert_close(outputs[Feature.EMBEDDINGS], seeded().body(batch).mean((2, 3)))
        again = torch.softmax(seeded().fc(outputs[Feature.EMBEDDINGS]), 1)
    torch.testing.assert_close(outputs[Feature.PROBABILITIES], again)


def test_a_configured_head_is_taken_and_its_input_flattened(tmp_path: Path) -> None:
    card = load_model("m", tiny_config(tmp_path, head="body.2")).card
    assert card.embedding_size == 4 * 14 * 14


def test_an_unknown_head_is_told_with_the_nearest_known(tmp_path: Path) -> None:
    error = _error(tmp_path, head="body.22")
    assert error.field == "models.m.head" and "'body.2'" in error.detail


def test_a_linear_layer_that_does_not_give_the_scores_is_no_head(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.squeeze = torch.nn.Linear(3, 8)\n"
        "        self.last = torch.nn.Conv1d(8, 4, 1)\n"
        "    def forward(self, x):\n"
        "        return self.last(self.squeeze(x.mean((2, 3)))[..., None])[..., 0]\n"
        "def make():\n"
        "    return Net()\n"
    )
    namespace: dict[str, Any] = {}
    exec((tmp_path / "net.py").read_text(), namespace)
    path = saved(namespace["make"](), tmp_path / "net.pt")
    settings = {"builder": f"{tmp_path}/net.py:make", "path": path}
    assert Feature.EMBEDDINGS not in (load_model("m", tiny_config(tmp_path, **settings)).card.outputs or ())
    assert load_model("m", tiny_config(tmp_path, **settings, head="last")).card.embedding_size == 8


def test_a_model_of_probabilities_is_left_as_it_is_and_checked(tmp_path: Path) -> None:
    assert _error(tmp_path, logits=False).field == "models.m.logits"


def test_an_input_of_the_wrong_size_is_told(tmp_path: Path) -> None:
    settings = _built(tmp_path, FlatNet())
    assert load_model("m", tiny_config(tmp_path, **settings)).card.classes == 4
    error = _error(tmp_path, **settings, transform={"crop": 32})
    assert error.field == "models.m.transform" and "8 x 3 x 32 x 32" in error.detail


def test_a_model_that_gives_other_than_one_row_a_sample_is_refused(tmp_path: Path) -> None:
    error = _error(tmp_path, **_built(tmp_path, Silent()))
    assert error.field == "models.m" and "8 samples" in error.detail


def test_a_model_of_one_class_is_refused(tmp_path: Path) -> None:
    path = saved(seeded(classes=1), tmp_path / "one.pt")
    assert "2 or more" in _error(tmp_path, path=path, kwargs={"classes": 1}).detail


def test_the_fingerprint_changes_with_one_weight(tmp_path: Path) -> None:
    network = seeded()
    before = _fingerprint(tmp_path)
    with torch.no_grad():
        network.fc.bias[0] += 1e-7
    assert _fingerprint(tmp_path, path=saved(network, tmp_path / "other.pt")) != before


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"channels_last": False},
        {"head": "body"},
        {"transform": {"resize": 17, "crop": 16}},
        {"transform": {"resize": 16, "crop": 16, "mean": [0.5, 0.5, 0.5]}},
    ],
)
def test_the_fingerprint_changes_with_what_changes_features(tmp_path: Path, change: dict[str, Any]) -> None:
    assert _fingerprint(tmp_path, **change) != _fingerprint(tmp_path)


@pytest.mark.parametrize("change", [{"batch_size": 64}, {"instance_group": [{"count": 3}]}, {"head": "fc"}])
def test_the_fingerprint_does_not_change_with_what_leaves_features_alone(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert _fingerprint(tmp_path, **change) == _fingerprint(tmp_path)


def test_two_processes_give_one_fingerprint(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from alaas_workers.models import load_model; from tests.support.tiny_models import *\n"
        "print(load_model('m', tiny_config(Path(sys.argv[2]))).card.fingerprint)"
    )
    here = _fingerprint(tmp_path)
    command = [sys.executable, "-P", "-c", program, str(ROOT), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == here


def test_importing_models_transforms_and_backends_loads_no_torch() -> None:
    program = (
        "import sys, alaas_workers.models as m, alaas_workers.transforms, alaas_workers.backends\n"
        "from alaas.config import ModelConfig, TransformConfig, parse_config\n"
        "m.transform_for('a', ModelConfig(transform=TransformConfig(crop=32)))\n"
        "m.configured_card('n', parse_config({'models': {'n': {'source': 'null'}}}))\n"
        "print(*sorted({'torch', 'torchvision', 'PIL', 'celery', 'redis', 'flask'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.split() == []


def test_before_loading_a_card_holds_what_the_configuration_tells(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    card = configured_card("m", config)
    assert card.fingerprint is None
    assert card.transform == load_model("m", config).card.transform and card.input_size == [16, 16]


def test_of_a_null_model_all_is_known_before_loading() -> None:
    first = configured_card("n", config_of("n", source="null"))
    assert first.outputs == [each for each in Feature if each not in not_given("classes")]
    assert (first.classes, first.embedding_size, first.input_size) == (10, 16, [32, 32])
    other = configured_card("n", config_of("n", source="null", transform={"resize": 8, "crop": 8}))
    assert None is not first.fingerprint != other.fingerprint


def test_a_model_names_its_own_builder_when_no_other_is_named() -> None:
    assert transform_for("resnet18", ModelConfig()).input_size == (224, 224)
    with pytest.raises(ModelError, match="builds no classifier or detector 'mine'"):
        transform_for("mine", ModelConfig())
