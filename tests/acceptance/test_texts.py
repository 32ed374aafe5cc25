"""Texts through a whole fleet: AG News, a classifier trained here, and its body alone as a model that embeds.

docs/text.md runs here as it stands, and what it chooses is what a plain script chooses.
"""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from alaas import Client
from alaas.errors import JobFailed, ModelError
from load_tests import ag_news
from tests.support.docs import blocks
from tests.support.fleets import Rig, write_config
from tests.support.images import jpeg
from tests.support.news import one_thread, write_news_model

ALAAS = [sys.executable, "-P", "-c", "from alaas.cli import main; main(prog_name='alaas')"]
TRAINED, POOL = 2000, 300
if not ag_news.PATH.exists():
    pytest.skip("the texts of ../shared/data are not here", allow_module_level=True)


@dataclass(frozen=True)
class News:
    rig: Rig
    client: Client
    folder: Path
    texts: list[str]
    classes: NDArray[np.int64]


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Iterator[News]:
    """In a folder as the page has it, in which the fleet runs, with bad models beside the good ones."""
    folder = tmp_path_factory.mktemp("texts")
    texts, classes, pool, pool_classes = _shuffled()
    write_news_model(folder / "models" / "news", texts, classes)
    _write_sentences(folder / "models")
    _write_pool(folder, pool, pool_classes)
    models = yaml.safe_load(blocks("text.md", "yaml")[0])["models"]
    away = {"repo": "owner/name", "revision": "0" * 40}
    config = write_config(
        folder,
        models={
            **models,
            "nothing": {"source": "null", "modality": "text"},
            "away": {"source": "huggingface", "modality": "text", **away},
        },
        pipeline={"chunk_size": 100},
        sources={"file": {"roots": [str(folder)]}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        with Rig(config) as rig, rig.client() as client:
            yield News(rig, client, folder, pool, pool_classes)


def _shuffled() -> tuple[list[str], NDArray[np.int64], list[str], NDArray[np.int64]]:
    texts, classes = ag_news.read()
    order = np.random.default_rng(0).permutation(len(texts))[: TRAINED + POOL]
    first, last = order[:TRAINED], order[TRAINED:]
    return [texts[row] for row in first], classes[first], [texts[row].strip() for row in last], classes[last]


def _write_sentences(models: Path) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(models / "news").save_pretrained(models / "sentences")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (models / "sentences" / name).write_bytes((models / "news" / name).read_bytes())


def _write_pool(folder: Path, texts: list[str], classes: NDArray[np.int64]) -> None:
    (folder / "news.txt").write_text("\n".join(texts), "utf-8")
    with (folder / "news.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "class"])
        rows.writerows(zip(texts, (ag_news.CLASSES[each] for each in classes), strict=True))


def _by_hand(news: News) -> NDArray[np.float64]:
    """(N, 4) probabilities of the pool, each text alone and without padding, by transformers."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = news.folder / "models" / "news"
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    with one_thread(), torch.inference_mode():
        for text in news.texts:
            ids = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
            rows.append(torch.softmax(model(**ids).logits[0].double(), 0).numpy())
    return np.stack(rows)


def test_the_fleet_chooses_what_a_plain_script_chooses(news: News) -> None:
    rows = _by_hand(news)
    assert (rows.argmax(1) == news.classes).mean() > 0.5  # it learnt something
    chosen = news.client.query_by_text(news.texts, budget=POOL, strategy="LeastConfidence", model="news")
    scores = {one.uri: one.score for one in chosen.report.selected}
    by_hand = dict(zip(news.texts, 1 - rows.max(1), strict=True))
    of_fleet = dict(zip(chosen, scores.values(), strict=True))
    assert of_fleet == pytest.approx(by_hand, abs=1e-5)
    assert set(chosen[:30]) == set(sorted(by_hand, key=lambda text: -by_hand[text])[:30])


def test_the_page_runs_as_it_stands(news: News, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for code in blocks("text.md", "python"):
        exec(code.replace("localhost:8888", news.rig.server.url), names)  # our own page
    names["client"].close()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 10 and set(printed) <= set(news.texts)
    assert names["first"] == names["chosen"]  # by a manifest as by a list
    assert len(names["second"]) == 10 and not {*names["second"]} & {*names["first"]}
    for line in blocks("text.md", "sh")[0].splitlines():
        command = [*ALAAS, *shlex.split(line)[1:], "--server", news.rig.server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=os.environ | {"COLUMNS": "300"})
        assert done.returncode == 0, done.stderr


def test_each_bad_text_fails_alone_with_its_code(news: News) -> None:
    folder = news.folder / "bad"
    folder.mkdir()
    bad = {
        "latin.txt": (b"caf\xe9 au lait", "not_text"),
        "utf16.txt": ("a text".encode("utf-16"), "not_text"),
        "image.txt": (jpeg(20, 20), "not_text"),
        "nothing.txt": (b"", "empty"),
        "space.txt": (b" \n\t \r\n", "empty"),
        "long.txt": (b"word " * 2_100_000, "too_large"),
    }
    for name, (data, _) in bad.items():
        (folder / name).write_bytes(data)
    for number, text in enumerate(news.texts[:5]):
        (folder / f"good-{number}.txt").write_text(text, "utf-8")
    paths = [str(path) for path in sorted(folder.iterdir())]
    news.client.push_data(paths, modality="text", are_uris=True, model="news")
    report = news.client.query(budget=5, strategy="EntropySampling", model="news").report
    assert {Path(one.uri).name: one.code for one in report.failed} == {name: code for name, (_, code) in bad.items()}
    assert {Path(one.uri).name for one in report.selected} == {f"good-{number}.txt" for number in range(5)}


@pytest.mark.parametrize(
    ("model", "strategy", "why"),
    [
        ("sentences", "LeastConfidence", "it embeds, and tells no classes apart"),
        ("news", "DeepFool", "its input is made of tokens, which have no distance"),
    ],
)
def test_a_strategy_that_a_model_cannot_serve_is_refused_with_the_reason(
    news: News, model: str, strategy: str, why: str
) -> None:
    with pytest.raises((JobFailed, ModelError), match=why):
        news.client.query_by_text(news.texts[:20], budget=5, strategy=strategy, model=model)


def test_a_model_of_a_hub_that_is_away_fails_its_job_and_says_what_to_do(news: News) -> None:
    with pytest.raises(JobFailed, match="the hub cannot be reached; name a local folder, or fill the cache"):
        news.client.query_by_text(news.texts[:5], budget=2, strategy="LeastConfidence", model="away")


@pytest.mark.parametrize("strategy", ["BayesianDisagreement", "Badge", "RandomSampling"])
def test_strategies_of_every_kind_choose_among_texts(news: News, strategy: str) -> None:
    chosen = news.client.query_by_text(news.texts[:200], budget=8, strategy=strategy, model="news")
    assert len(set(chosen)) == 8 and set(chosen) <= set(news.texts[:200])


def test_a_fleet_is_tried_on_texts_without_a_model(news: News) -> None:
    chosen = news.client.query_by_text(news.texts[:50], budget=5, model="nothing")
    assert len(set(chosen)) == 5


def test_the_models_route_tells_what_it_takes_and_gives(news: News) -> None:
    models = {each["name"]: each for each in httpx.get(f"{news.rig.server.url}/v1/models").json()["items"]}
    card = models["news"]
    assert (card["modality"], card["classes"], card["input_size"]) == ("text", 4, [64])
    assert card["outputs"] == ["probabilities", "embeddings", "pass_sums", "passes"] and len(card["fingerprint"]) == 64
