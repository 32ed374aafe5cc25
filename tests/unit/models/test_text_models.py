from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from alaas.config.sources import SourcesConfig
from alaas.errors import ModelError
from alaas.jobs import OF_PASSES, Feature
from alaas_workers.backends import open_backend
from alaas_workers.models import load_model, transform_for
from tests.support.tiny_models import config_of, saved
from tests.support.tiny_texts import CLASSES, bert, text, text_config, write_text_model, write_tokenizer


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _config(folder: Path, **settings: Any) -> Any:
    defaults: dict[str, Any] = {"source": "huggingface", "modality": "text", "repo": folder, "passes": 3}
    return config_of(**defaults | settings)


def _rows(config: Any, count: int = 12) -> dict[Feature, NDArray[Any]]:
    transform = transform_for("m", config.models["m"])
    backend = open_backend("m", config)
    arrays = [transform.preprocess(text(seed), SourcesConfig()) for seed in range(count)]
    features = backend.infer(arrays, backend.card.outputs or [], lambda: None)
    backend.close()
    return features


def _alone(model: Any, tokenizer: Any, seed: int) -> tuple[Any, Any]:
    """(output, states (L, d)) of one text without any padding, as a script would do it."""
    ids = tokenizer(text(seed).decode(), truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        output = model(**ids, output_hidden_states=True)
    return output, output.hidden_states[-1][0]


def test_a_classifier_gives_what_a_plain_script_computes(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = write_text_model(tmp_path / "model")
    made = _rows(_config(folder))
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for seed in range(12):
        output, states = _alone(model, tokenizer, seed)
        expected = torch.softmax(output.logits[0], 0).numpy()
        assert made[Feature.PROBABILITIES][seed] == pytest.approx(expected, abs=1e-6)
        assert made[Feature.EMBEDDINGS][seed] == pytest.approx(states.mean(0).numpy(), abs=1e-5)


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM"])
def test_a_model_without_a_classifier_embeds_and_says_what_it_lacks(tmp_path: Path, kind: str) -> None:
    config = text_config(tmp_path, kind)
    card = load_model("m", config).card
    assert card.outputs == [Feature.EMBEDDINGS] and card.classes is None
    assert {*card.lacking} == {*Feature} - {Feature.EMBEDDINGS}
    assert _rows(config)[Feature.EMBEDDINGS].shape == (12, 32)


def test_dropout_makes_passes_and_tokens_have_no_distance(tmp_path: Path) -> None:
    config = text_config(tmp_path)
    card = load_model("m", config).card
    assert OF_PASSES <= {*(card.outputs or [])}
    assert card.lacking[Feature.BOUNDARY_DISTANCES] == "its input is made of tokens, which have no distance"
    passes = _rows(config)[Feature.PASSES].reshape(12, 3, CLASSES)
    assert (abs(passes[:, 0] - passes[:, 1]).max(1) > 1e-4).all()


def _pooled(states: Any, mode: str) -> Any:
    return {"mean": states.mean(0), "cls": states[0], "max": states.max(0).values, "lasttoken": states[-1]}[mode]


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("mean", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}),
        ("cls", {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}),
        ("max", {"pooling_mode": "max"}),
        ("lasttoken", {"pooling_mode": "lasttoken"}),
    ],
)
def test_a_folder_of_sentence_transformers_pools_as_it_says(tmp_path: Path, mode: str, told: dict[str, Any]) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = write_text_model(tmp_path / "model", "BertModel")
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(told))
    made = _rows(_config(folder))[Feature.EMBEDDINGS]
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for seed in range(12):
        expected = nn.functional.normalize(_pooled(_alone(model, tokenizer, seed)[1], mode), dim=0)
        assert made[seed] == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_sentence_transformers_module_that_is_not_served_is_refused(tmp_path: Path) -> None:
    folder = write_text_model(tmp_path / "model", "BertModel")
    (folder / "modules.json").write_text('[{"path": "", "type": "Transformer"}, {"path": "2", "type": "x.Dense"}]')
    with pytest.raises(ModelError, match="module 'Dense', which is not served"):
        load_model("m", _config(folder))
    (folder / "modules.json").write_text('[{"path": "", "type": "Transformer"}, {"path": "", "type": "x.Pooling"}]')
    _change(folder / "config.json", pooling_mode_mean_tokens=True, pooling_mode_weightedmean_tokens=True)
    with pytest.raises(ModelError, match="pooling is not served"):  # one after the other, which is twice as wide
        load_model("m", _config(folder))
    (folder / "modules.json").write_text("{")
    with pytest.raises(ModelError, match=r"modules\.json cannot be read"):
        load_model("m", _config(folder))


Spoil = Callable[[Path], object]
BAD: dict[str, tuple[str, Spoil, str, str]] = {
    "a regression": (
        "BertForSequenceClassification",
        lambda folder: write_text_model(folder, num_labels=1),
        "repo",
        "a regression, which fit no strategy",
    ),
    "a regression of many": (
        "BertForSequenceClassification",
        lambda folder: _change(folder / "config.json", problem_type="regression"),
        "repo",
        "a regression, which fit no strategy",
    ),
    "a tagger": ("BertForTokenClassification", lambda _: None, "repo", "its outputs fit no strategy"),
    "a generator": ("BertLMHeadModel", lambda _: None, "repo", "its outputs fit no strategy"),
    "an unknown type": (
        "BertModel",
        lambda folder: _change(folder / "config.json", model_type="newest"),
        "repo",
        "names no model_type that transformers knows",
    ),
    "no JSON": ("BertModel", lambda folder: (folder / "config.json").write_text("{"), "repo", "cannot be read as JSON"),
    "an adapter beside it": (
        "BertModel",
        lambda folder: (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/other"}'),
        "repo",
        "holds an adapter",
    ),
    "attention from a hub": (
        "BertModel",
        lambda folder: _change(folder / "config.json", attn_implementation="owner/kernel"),
        "repo",
        "chooses attn_implementation, which may be code",
    ),
    "attention from a hub, of a part": (
        "BertModel",
        lambda folder: _change(folder / "config.json", text_config={"_attn_implementation": "flash_attention_2"}),
        "repo",
        "chooses _attn_implementation, which may be code",
    ),
    "a list": ("BertModel", lambda folder: (folder / "config.json").write_text("[]"), "repo", "holds no JSON object"),
    "no tokenizer": (
        "BertModel",
        lambda folder: (folder / "tokenizer.json").unlink(),
        "repo",
        r"holds no tokenizer\.json",
    ),
    "a corrupt tokenizer": (
        "BertModel",
        lambda folder: (folder / "tokenizer.json").write_text('{"model": 1}'),
        "text",
        r"tokenizer\.json is corrupt",
    ),
    "another's tokenizer": (
        "BertModel",
        lambda folder: write_tokenizer(folder, [f"w{number}" for number in range(500)]),
        "text.tokenizer",
        "tokens and the model knows",
    ),
    "damaged weights": (
        "BertModel",
        lambda folder: (folder / "model.safetensors").write_bytes(bytes(100)),
        "repo",
        "weights cannot be loaded",
    ),
    "cut weights": (
        "BertModel",
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000]),
        "repo",
        "weights cannot be loaded",
    ),
    "more layers than weights": (
        "BertForSequenceClassification",
        lambda folder: _change(folder / "config.json", num_hidden_layers=2),
        "repo",
        r"do not fit config\.json: they miss",
    ),
    "fewer layers than weights": (
        "BertForSequenceClassification",
        lambda folder: _change(folder / "config.json", num_hidden_layers=0),
        "repo",
        r"do not fit config\.json: they have unknown",
    ),
    "another size": (
        "BertForSequenceClassification",
        lambda folder: _change(folder / "config.json", hidden_size=48),
        "repo",
        "weights cannot be loaded",
    ),
    "a head that was never trained": (
        "BertForMaskedLM",
        lambda folder: _change(folder / "config.json", architectures=["BertForSequenceClassification"]),
        "repo",
        r"do not fit config\.json: they miss",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_model_that_cannot_be_served_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    kind, spoil, key, why = BAD[case]
    folder = write_text_model(tmp_path / "model", kind)
    spoil(folder)
    with pytest.raises(ModelError, match=why) as caught:
        load_model("m", _config(folder))
    assert caught.value.field == f"models.m.{key}" and "'m'" in caught.value.detail
    assert str(tmp_path) not in caught.value.detail


@pytest.mark.parametrize(
    ("settings", "key", "why"),
    [
        ({"text": {"max_length": 65}}, "text.max_length", "takes 64 tokens at most"),
        ({"text": {"pad_id": 5000}}, "text.pad_id", "the model knows"),
        ({"text": {"tokenizer": "no/such"}}, "text", "there is no such"),
        ({"compile": True}, "compile", "texts are of many lengths"),
        ({"head": "classifier"}, "head", "gives its own embedding"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(tmp_path: Path, settings: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(ModelError, match=why) as caught:
        load_model("m", text_config(tmp_path, **settings))
    assert caught.value.field == f"models.m.{key}"


def test_positions_are_counted_as_the_model_counts_them(tmp_path: Path) -> None:
    import transformers

    from tests.support.tiny_texts import SIZES

    folder = tmp_path / "roberta"
    tokens = write_tokenizer(folder).get_vocab_size()
    told = transformers.RobertaConfig(vocab_size=tokens, pad_token_id=1, bos_token_id=2, eos_token_id=3, **SIZES)
    transformers.RobertaForSequenceClassification(told).save_pretrained(folder)
    config = _config(folder)
    transform = transform_for("m", config.models["m"])
    assert (transform.input_size, transform.settings.pad_id) == ((62,), 1)
    assert _rows(config, 24)[Feature.PROBABILITIES].shape == (24, CLASSES)  # the longest of them among these


def test_a_model_that_finds_the_end_by_its_padding_token_is_given_one(tmp_path: Path) -> None:
    import transformers

    folder = tmp_path / "gpt2"
    tokens = write_tokenizer(folder).get_vocab_size()
    told = transformers.GPT2Config(
        vocab_size=tokens, n_positions=64, n_embd=32, n_layer=1, n_head=2, num_labels=CLASSES, eos_token_id=3
    )
    transformers.GPT2ForSequenceClassification(told).save_pretrained(folder)
    assert _rows(_config(folder))[Feature.EMBEDDINGS].shape == (12, 32)


def test_where_nobody_names_a_padding_token_no_word_of_a_text_is_taken_for_one(tmp_path: Path) -> None:
    import transformers

    folder = tmp_path / "gpt2"
    tokens = write_tokenizer(folder)
    tokens.post_processor = None
    tokens.save(str(folder / "tokenizer.json"))
    _change(folder / "tokenizer_config.json", pad_token=None)
    sizes: dict[str, Any] = {"n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2, "num_labels": CLASSES}
    told = transformers.GPT2Config(vocab_size=tokens.get_vocab_size(), bos_token_id=3, eos_token_id=3, **sizes)
    model = transformers.GPT2ForSequenceClassification(told).eval()
    model.save_pretrained(folder)
    config = _config(folder)
    array = transform_for("m", config.models["m"]).preprocess(b"word1 word2 [PAD]", SourcesConfig())
    assert array.tolist()[0][-1] == 0  # which would be the padding if it were the first token
    backend = open_backend("m", config)
    made = backend.infer([array], [Feature.PROBABILITIES], lambda: None)[Feature.PROBABILITIES]
    backend.close()
    with torch.inference_mode():
        logits = model(torch.from_numpy(array.astype("int64"))).logits
    assert made[0] == pytest.approx(torch.softmax(logits, 1)[0].numpy(), abs=1e-6)


def test_a_model_whose_outputs_change_with_padding_is_told_of_until_there_is_none(tmp_path: Path) -> None:
    import transformers

    folder = tmp_path / "fnet"  # which mixes all places, masked or not
    tokens = write_tokenizer(folder).get_vocab_size()
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "max_position_embeddings": 64}
    told = transformers.FNetConfig(vocab_size=tokens, pad_token_id=0, num_labels=CLASSES, **sizes)
    transformers.FNetForSequenceClassification(told).save_pretrained(folder)
    with pytest.raises(ModelError, match="set padding: false") as caught:
        load_model("m", _config(folder))
    assert caught.value.field == "models.m.text.padding"
    assert _rows(_config(folder, text={"padding": False}))[Feature.PROBABILITIES].shape == (12, CLASSES)


def test_other_weights_another_tokenizer_and_another_pooling_are_another_model(tmp_path: Path) -> None:
    folder = write_text_model(tmp_path / "model", "BertModel")
    before = load_model("m", _config(folder)).card
    (folder / "modules.json").write_text('[{"path": "", "type": "Transformer"}, {"path": "1", "type": "x.Normalize"}]')
    pooled = load_model("m", _config(folder)).card
    shorter = load_model("m", _config(folder, text={"max_length": 32})).card
    write_tokenizer(folder, ["other"])
    assert load_model("m", _config(folder)).card.transform != before.transform
    assert len({before.fingerprint, pooled.fingerprint, shorter.fingerprint}) == 3


def test_a_module_of_ones_own_takes_texts_with_a_tokenizer_that_is_named(tmp_path: Path) -> None:
    tokens = write_tokenizer(tmp_path).get_vocab_size()
    weights = saved(bert("BertForSequenceClassification", tokens), tmp_path / "bert.pt")
    builder = tmp_path / "nets.py"
    builder.write_text(
        "from tests.support.tiny_texts import bert\n"
        "def make(**sizes):\n"
        f"    net = bert('BertForSequenceClassification', {tokens})\n"
        "    net.config.return_dict = False\n"
        "    return Scores(net)\n"
        "import torch\n"
        "class Scores(torch.nn.Module):\n"
        "    def __init__(self, net):\n"
        "        super().__init__()\n"
        "        self.net = net\n"
        "    def forward(self, input_ids, attention_mask):\n"
        "        return self.net(input_ids=input_ids, attention_mask=attention_mask)[0]\n"
    )
    renamed = torch.load(weights, weights_only=True)
    torch.save({f"net.{name}": value for name, value in renamed.items()}, weights)
    plain: dict[str, Any] = {"source": "file", "modality": "text", "path": weights, "builder": f"{builder}:make"}
    with pytest.raises(ModelError, match="needs a tokenizer") as caught:
        load_model("m", config_of(**plain))
    assert caught.value.field == "models.m.text"
    card = load_model("m", config_of(**plain, text={"tokenizer": str(tmp_path)})).card
    assert (card.classes, card.embedding_size) == (CLASSES, 32)
