"""Stochastic passes: dropout alone is active, one mask serves all rows, and who cannot be reached says so."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from alaas.jobs import OF_PASSES, Feature
from alaas_workers.models import load_model
from alaas_workers.models.dropout import Masks, PassSums, dropout_layers
from tests.support.tiny_models import TRANSFORM, config_of, drop_config, saved, seeded, tiny_config


def _passed(module: nn.Module, batch: torch.Tensor, number: int = 0) -> torch.Tensor:
    with torch.inference_mode(), Masks(module).of_pass(number):
        output: torch.Tensor = module(batch)
    return output


def test_a_pass_is_the_network_with_its_masks_applied_by_hand() -> None:
    drop = nn.Dropout(0.25)
    network = nn.Sequential(nn.Linear(40, 30), drop, nn.Linear(30, 4)).eval()
    batch = torch.randn(9, 40)
    kept = torch.from_numpy(np.random.default_rng([5, 0, 0, 1, 30]).random((1, 30), dtype=np.float32) >= 0.25)
    assert 0 < int(kept.sum()) < 30
    with torch.inference_mode():
        expected = network[2](network[0](batch) * kept / 0.75)
    torch.testing.assert_close(_passed(network, batch, 5), expected)


def test_normalisation_stays_as_it_was_trained() -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batch = torch.randn(16, 6) * 9
    rows = _passed(network, batch)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.inference_mode():
        plain = network(batch)
    kept = rows[0] != 0
    torch.testing.assert_close(rows[:, kept], plain[:, kept] * 2)
    assert not network.training and torch.equal(network(batch), plain)  # and nothing of the pass is left behind


def test_all_rows_of_a_pass_share_its_mask_and_other_passes_have_others() -> None:
    drop, batch = nn.Sequential(nn.Dropout(0.5)).eval(), torch.ones(5, 64)
    first, again, second = _passed(drop, batch, 0), _passed(drop, batch[:2], 0), _passed(drop, batch, 1)
    assert torch.equal(first, first[:1].expand(5, -1)) and torch.equal(again, first[:2])
    assert not torch.equal(first, second)


def test_the_mask_of_a_longer_text_begins_with_that_of_a_shorter_one() -> None:
    drop = nn.Sequential(nn.Dropout(0.5)).eval()
    short, long = _passed(drop, torch.ones(2, 5, 16)), _passed(drop, torch.ones(3, 9, 16))
    assert torch.equal(short[0], long[0, :5])
    assert not torch.equal(long[0, 0], long[0, 1])  # each token drops something else, as in training


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_mean_over_many_passes_is_the_input(share: float) -> None:
    drop, batch = nn.Sequential(nn.Dropout(share)).eval(), torch.ones(1, 500)
    mean = torch.stack([_passed(drop, batch, number) for number in range(200)]).mean()
    assert abs(float(mean) - 1) < 0.05


def test_a_layer_that_is_used_twice_drops_something_else_the_second_time() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.drop(batch), self.drop(batch)])

    first, second = _passed(Twice().eval(), torch.ones(1, 64))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Dropout1d(0.5), (5,)), (nn.Dropout2d(0.5), (5, 5)), (nn.Dropout3d(0.5), (2, 3, 4))]
)
def test_channels_are_dropped_whole(layer: nn.Module, shape: tuple[int, ...]) -> None:
    rows = _passed(nn.Sequential(layer).eval(), torch.ones(3, 64, *shape)).flatten(2)
    assert torch.equal(rows, rows[:, :, :1].expand_as(rows))
    assert set(rows.flatten().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("layer", [nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3)])
def test_alpha_dropout_keeps_mean_and_variance(layer: nn.Module) -> None:
    batch = torch.randn(50, 4000, generator=torch.Generator().manual_seed(0))
    rows = _passed(nn.Sequential(layer).eval(), batch)
    assert abs(float(rows.mean())) < 0.05 and abs(float(rows.var()) - 1) < 0.05


@pytest.mark.parametrize("layer", [nn.Dropout(1.0), nn.AlphaDropout(1.0)])
def test_a_layer_that_drops_all_gives_zeros(layer: nn.Module) -> None:
    assert not _passed(nn.Sequential(layer).eval(), torch.ones(2, 8)).any()


def test_a_layer_that_drops_nothing_is_none() -> None:
    assert dropout_layers(nn.Sequential(nn.Dropout(0.0), nn.Linear(2, 2))) == {}


def test_the_encoder_that_has_a_fast_path_is_reached() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True).eval()
    batch = torch.randn(1, 3, 8).expand(4, -1, -1)
    with torch.inference_mode():
        plain = layer(batch)
    first, second = _passed(layer, batch, 0), _passed(layer, batch, 1)
    assert not torch.allclose(first, plain) and not torch.allclose(first, second)
    torch.testing.assert_close(first, first[:1].expand_as(first))


def test_sums_of_a_sure_pass_hold_no_nan() -> None:
    sums = PassSums()
    sums.add(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    sums.add(torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
    torch.testing.assert_close(sums.rows(), torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, float(np.log(2))]]))


def test_the_batch_size_changes_no_bit_of_the_passes(tmp_path: Path) -> None:
    images = torch.randn(16, 3, 16, 16)
    small, large = (load_model("m", drop_config(tmp_path, batch_size=size)) for size in (8, 16))
    parts = [small.outputs(part, OF_PASSES) for part in (images[:8], images[8:])]
    whole = large.outputs(images, OF_PASSES)
    for feature in OF_PASSES:
        assert torch.equal(torch.cat([part[feature] for part in parts]), whole[feature])


def test_nothing_is_run_for_what_nobody_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("m", drop_config(tmp_path))
    runs: list[int] = []
    model.eager.register_forward_hook(lambda *_: runs.append(1))
    batch = torch.zeros(8, 3, 16, 16)
    model.outputs(batch, [Feature.PROBABILITIES])
    assert len(runs) == 1
    model.outputs(batch, [Feature.PASS_SUMS])
    assert len(runs) == 1 + model.settings.passes
    assert list(model.outputs(batch, [Feature.PASS_SUMS, Feature.PASSES])) == [Feature.PASS_SUMS, Feature.PASSES]
    assert len(runs) == 1 + 2 * model.settings.passes


def _lacking(tmp_path: Path, code: str) -> dict[Feature, str]:
    """Of the class Net in `code`, which takes images and gives 4 scores."""
    (tmp_path / "net.py").write_text("import torch\nfrom torch import nn\n" + code)
    namespace: dict[str, Any] = {}
    exec((tmp_path / "net.py").read_text(), namespace)
    path = saved(namespace["Net"](), tmp_path / "net.pt")
    return load_model("m", tiny_config(tmp_path, builder=f"{tmp_path}/net.py:Net", path=path)).card.lacking


def test_a_model_without_dropout_says_so(tmp_path: Path) -> None:
    lacking = load_model("m", tiny_config(tmp_path)).card.lacking
    assert {lacking[each] for each in OF_PASSES} == {"the model has no dropout layers"}


def test_a_program_says_that_it_cannot_be_looked_into(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace
        trace(seeded(), torch.zeros(2, 3, 16, 16)).save(str(tmp_path / "net.pt"))
    card = load_model("m", config_of(source="file", path=tmp_path / "net.pt", transform=TRANSFORM)).card
    assert card.outputs == [Feature.PROBABILITIES] and set(card.lacking) == set(Feature) - {Feature.PROBABILITIES}
    assert "program" in card.lacking[Feature.PASSES] and "program" in card.lacking[Feature.BOUNDARY_DISTANCES]


def test_dropout_that_takes_the_samples_for_something_else_is_found_out(tmp_path: Path) -> None:
    code = (
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc, self.drop = nn.Linear(48, 4), nn.Dropout(0.5)\n"
        "    def forward(self, x):\n"
        "        steps = x.reshape(len(x), 16, 48).transpose(0, 1)  # (steps, samples, numbers)\n"
        "        return self.fc(self.drop(steps).mean(0))\n"
    )
    assert "another dimension" in _lacking(tmp_path, code)[Feature.PASSES]


def test_dropout_that_no_pass_goes_through_is_found_out(tmp_path: Path) -> None:
    code = (
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc, self.drop = nn.Linear(768, 4), nn.Dropout(0.5)\n"
        "    def forward(self, x):\n"
        "        return self.fc(x.flatten(1))\n"
    )
    assert "take no part" in _lacking(tmp_path, code)[Feature.PASSES]


def test_a_model_whose_gradients_are_cut_off_gives_no_distances(tmp_path: Path) -> None:
    code = (
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(768, 4)\n"
        "    def forward(self, x):\n"
        "        return self.fc(x.detach().flatten(1))\n"
    )
    lacking = _lacking(tmp_path, code)
    assert "no gradient" in lacking[Feature.BOUNDARY_DISTANCES]
