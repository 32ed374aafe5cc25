from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from alaas.errors import ModelError
from alaas.jobs import Feature
from alaas_workers.models import load_model
from tests.support.tiny_models import BUILDER, TRANSFORM, Evil, TinyNet, config_of, saved, seeded, tiny_config

FILE: dict[str, Any] = {"source": "file", "builder": BUILDER, "transform": TRANSFORM}


def _error(**settings: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model("m", config_of(**settings))
    return caught.value


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """TinyNet as TorchScript and as torch.export, with any number of rows."""
    folder = tmp_path_factory.mktemp("programs")
    example = (torch.zeros(2, 3, 16, 16),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making TorchScript is deprecated; reading it is what we promise
        script: Any = torch.jit.script(seeded())
    script.save(str(folder / "tiny.ts"))
    rows = torch.export.Dim("rows", min=1, max=4096)
    torch.export.save(torch.export.export(seeded(), example, dynamic_shapes=({0: rows},)), folder / "tiny.pt2")
    return {"script": folder / "tiny.ts", "export": folder / "tiny.pt2"}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th"])
def test_a_state_dict_is_loaded_into_what_its_builder_makes(tmp_path: Path, images: torch.Tensor, suffix: str) -> None:
    path = saved(seeded(3), tmp_path / f"w{suffix}")
    model = load_model("m", config_of(**FILE, path=path))
    outputs = model.outputs(images)
    expected = torch.softmax(seeded(3)(images), 1)
    torch.testing.assert_close(outputs[Feature.PROBABILITIES], expected.detach())


def test_safetensors_give_the_same_model_as_a_pickle(tmp_path: Path) -> None:
    saved(seeded(3), tmp_path / "w.pt")
    save_file(seeded(3).state_dict(), tmp_path / "w.safetensors")
    prints = {
        load_model("m", config_of(**FILE, path=tmp_path / name)).card.fingerprint for name in ("w.pt", "w.safetensors")
    }
    assert len(prints) == 1


def test_a_state_dict_inside_a_checkpoint_with_a_prefix_is_found(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in seeded(3).state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.th")
    plain = config_of(**FILE, path=saved(seeded(3), tmp_path / "plain.pt"))
    nested = config_of(**FILE, path=tmp_path / "w.th", strip_prefix="module.")
    assert load_model("m", nested).card == load_model("m", plain).card


def test_a_builder_may_lie_in_a_file_beside_the_weights(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from tests.support.tiny_models import TinyNet\ndef make(n): return TinyNet(n)\n")
    path = saved(TinyNet(9), tmp_path / "w.pt")
    model = load_model("m", config_of(**FILE | {"builder": f"{tmp_path}/net.py:make"}, path=path, kwargs={"n": 9}))
    assert model.card.classes == 9


def test_torchvisions_builders_take_their_own_transform(tmp_path: Path) -> None:
    import torchvision

    path = saved(torchvision.models.squeezenet1_1(num_classes=3), tmp_path / "w.pt")
    settings = {"builder": "torchvision.models:squeezenet1_1", "kwargs": {"num_classes": 3}, "transform": None}
    model = load_model("m", config_of(**FILE | settings, path=path))
    assert model.card.classes == 3 and model.card.input_size == [224, 224]


@pytest.mark.parametrize("kind", ["script", "export"])
def test_a_program_gives_probabilities_and_no_embeddings(
    programs: dict[str, Path], images: torch.Tensor, kind: str
) -> None:
    model = load_model("m", config_of(source="file", path=programs[kind], transform=TRANSFORM, batch_size=8))
    assert model.card.outputs == [Feature.PROBABILITIES]
    assert model.card.embedding_size is None
    expected = torch.softmax(seeded()(images), 1).detach()
    torch.testing.assert_close(model.outputs(images)[Feature.PROBABILITIES], expected)
    torch.testing.assert_close(model.copy_to(model.device).outputs(images)[Feature.PROBABILITIES], expected)


def test_a_program_that_returns_a_pair_gives_embeddings_too(tmp_path: Path) -> None:
    class Both(TinyNet):
        def forward(self, batch: torch.Tensor) -> Any:
            width = self.body(batch).mean((2, 3))
            return self.fc(width), width

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace
        traced = trace(Both().eval(), torch.zeros(2, 3, 16, 16))
        traced.save(str(tmp_path / "both.pt"))
    card = load_model("m", config_of(source="file", path=tmp_path / "both.pt", transform=TRANSFORM)).card
    assert card.outputs == [Feature.PROBABILITIES, Feature.EMBEDDINGS] and card.embedding_size == 8


@pytest.mark.parametrize("kind", ["script", "export"])
def test_a_program_takes_neither_builder_nor_head(programs: dict[str, Path], kind: str) -> None:
    program: dict[str, Any] = {"source": "file", "path": programs[kind], "transform": TRANSFORM}
    assert _error(**program, builder=BUILDER).field == "models.m.builder"
    assert _error(**program, head="fc").field == "models.m.head"


def test_a_missing_file_is_named_without_its_folder(tmp_path: Path) -> None:
    error = _error(**FILE, path=tmp_path / "gone.pt")
    assert error.field == "models.m.path"
    assert "gone.pt" in error.detail and str(tmp_path) not in error.detail


def test_a_path_must_be_given() -> None:
    assert _error(**FILE).field == "models.m.path"


def _whole_module(path: Path) -> None:
    torch.save(seeded(), path)


def _evil_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def _evil_checkpoint(path: Path) -> None:
    torch.save({"state_dict": Evil()}, path)


def _nonsense(path: Path) -> None:
    path.write_bytes(b"hello " * 100)


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _half(path: Path) -> None:
    saved(seeded(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _numbers(path: Path) -> None:
    torch.save({"a": 1}, path)


def _a_list(path: Path) -> None:
    torch.save([torch.zeros(1)], path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "make", [_whole_module, _evil_pickle, _evil_checkpoint, _nonsense, _nothing, _half, _numbers, _a_list]
)
def test_a_pickle_with_code_or_a_corrupt_file_is_refused_and_runs_nothing(
    tmp_path: Path, pwned: Path, make: Callable[[Path], None], suffix: str
) -> None:
    path = tmp_path / f"bad{suffix}"
    make(path)
    error = _error(**FILE, path=path)
    assert error.field == "models.m.path"
    assert f"bad{suffix}" in error.detail and str(tmp_path) not in error.detail
    assert not pwned.exists()


def test_a_pickle_with_code_is_told_what_to_do(tmp_path: Path) -> None:
    _whole_module(tmp_path / "bad.pt")
    assert "save model.state_dict() instead" in _error(**FILE, path=tmp_path / "bad.pt").detail


@pytest.mark.parametrize("kind", ["script", "export"])
def test_a_damaged_program_is_refused(programs: dict[str, Path], tmp_path: Path, kind: str) -> None:
    path = tmp_path / programs[kind].name
    with zipfile.ZipFile(programs[kind]) as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, b"" if name.endswith((".py", "model.json", "data.pkl")) else good.read(name))
    assert _error(source="file", path=path, transform=TRANSFORM).field == "models.m.path"


@pytest.mark.parametrize("member", ["data/constants/opaque_obj_0", "data/aotinductor/model/x.so", "data/weights/m.pt"])
def test_an_export_that_could_run_code_is_refused(programs: dict[str, Path], tmp_path: Path, member: str) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(programs["export"].read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"tiny/{member}", pickle.dumps(Evil()))
    error = _error(source="file", path=path, transform=TRANSFORM)
    assert error.field == "models.m.path" and "can run code" in error.detail


def test_an_export_with_pickled_inputs_that_hold_code_is_refused(programs: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(programs["export"]) as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, pickle.dumps(Evil()) if "sample_inputs" in name else good.read(name))
    assert "can run code" in _error(source="file", path=path, transform=TRANSFORM).detail


def test_weights_need_a_builder(tmp_path: Path) -> None:
    path = saved(seeded(), tmp_path / "w.pt")
    error = _error(source="file", path=path, transform=TRANSFORM)
    assert error.field == "models.m.builder" and "torchvision.models:resnet18" in error.detail


@pytest.mark.parametrize(
    "builder",
    [
        "nowhere",
        "nowhere:make",
        "tests.support.tiny_models:Nothing",
        "json:dumps",
        "missing.py:make",
        ":x",
        "builtins:dict",
    ],
)
def test_a_builder_that_does_not_build_is_named(tmp_path: Path, builder: str) -> None:
    path = saved(seeded(), tmp_path / "w.pt")
    assert _error(**FILE | {"builder": builder}, path=path).field == "models.m.builder"


def test_weights_of_other_names_are_told_with_the_prefix_to_strip(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in seeded().state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    error = _error(**FILE, path=tmp_path / "w.pt")
    assert error.field == "models.m.path" and "set strip_prefix: 'module.'" in error.detail


def test_a_prefix_that_no_name_has_is_told(tmp_path: Path) -> None:
    path = saved(seeded(), tmp_path / "w.pt")
    assert _error(**FILE, path=path, strip_prefix="net.").field == "models.m.strip_prefix"


def test_weights_of_other_shapes_are_told(tmp_path: Path) -> None:
    path = saved(seeded(classes=6), tmp_path / "w.pt")
    error = _error(**FILE, path=path)
    assert error.field == "models.m.path" and "fc." in error.detail


def test_a_model_that_no_one_configured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="configured: m"):
        load_model("other", tiny_config(tmp_path))
