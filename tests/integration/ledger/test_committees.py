"""Several models in one job: each sample fetched and decoded once, each model's features kept as its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from alaas.config import Config
from alaas.jobs import Feature, JobState, ModelCard, Stage
from alaas_workers.cache import Cache, FeatureKeys, pack, split_packs, unpack
from alaas_workers.catalog import Catalog, JobRecord
from alaas_workers.dispatcher import Dispatcher
from alaas_workers.gathering import Gathered, gather, labelled_arrays
from alaas_workers.ledger import ChunkSample, JobSpec, Lease, Ledger, Unit
from alaas_workers.model_cards import ModelCards
from alaas_workers.models import configured_card
from alaas_workers.pipeline import NotNow
from alaas_workers.stages.inference import Inference
from alaas_workers.stages.preprocess import Preprocess
from tests.support.catalogs import OWNER, new_dataset, new_job, uris
from tests.support.images import jpeg
from tests.support.ledger import Notebook, Versions, config_for, the_job

MODELS: dict[str, Any] = {
    "a": {"source": "null"},
    "b": {"source": "null"},
    "small": {"source": "null", "transform": {"resize": 8, "crop": 8}},
}
PROBABILITIES = (Feature.PROBABILITIES,)


@pytest.fixture
def config(redis_url: str) -> Config:
    return config_for(redis_url, models=MODELS, pipeline={"chunk_size": 2, "window": 4})


def member(config: Config, name: str, *features: Feature) -> JobSpec:
    card = configured_card(name, config)
    return JobSpec(OWNER, "d", name, card.fingerprint or "", card.transform or "", features, card.passes or 0)


def committee(config: Config, *names: str) -> JobSpec:
    first, *others = (member(config, name, *PROBABILITIES) for name in names)
    return replace(first, others=tuple(others))


def lease_of(spec: JobSpec, stage: Stage, count: int = 3) -> Lease:
    samples = tuple(ChunkSample(at, uri, "") for at, uri in enumerate(uris(count)))
    return Lease(Unit("job", stage, "0"), "token", spec, samples, 1)


def scan(config: Config, spec: JobSpec, count: int = 3) -> int:
    """Pass a chunk of `count` images through preprocess and inference; how many samples passed."""
    arrays = [np.frombuffer(jpeg(seed=at), np.uint8) for at in range(count)]
    raw = pack(list(range(count)), [""] * count, arrays)
    made = Preprocess(config)(lease_of(spec, Stage.PREPROCESS, count), raw, lambda: None)
    done = Inference(config)(lease_of(spec, Stage.INFERENCE, count), made.data, lambda: None)
    assert done is not None
    return done.passed


def there(cache: Cache, spec: JobSpec, count: int = 3) -> list[bool]:
    key = FeatureKeys(spec, spec.features[0])
    found: list[bool] = cache.present([key(uri, "") for uri in uris(count)]).tolist()
    return found


# The stages


def test_each_models_features_are_found_by_whoever_asks_for_it_alone(config: Config, cache: Cache) -> None:
    assert scan(config, committee(config, "a", "b", "small")) == 3
    assert all(there(cache, member(config, name, *PROBABILITIES)) == [True] * 3 for name in MODELS)


def test_arrays_travel_once_for_each_transform(config: Config) -> None:
    spec = committee(config, "a", "small", "b")
    raw = pack([4, 7], ["", "v"], [np.frombuffer(jpeg(seed=at), np.uint8) for at in range(2)])
    made = Preprocess(config)(lease_of(spec, Stage.PREPROCESS), raw, lambda: None)
    parts = [unpack(part) for part in split_packs(made.data, 2)]
    assert [(ordinals, versions) for ordinals, versions, _ in parts] == [([4, 7], ["", "v"])] * 2
    assert [arrays[0].shape for _, _, arrays in parts] == [(3, 32, 32), (3, 8, 8)]


def test_a_sample_that_cannot_be_decoded_fails_for_all_models_and_alone(config: Config) -> None:
    spec = committee(config, "a", "small")
    raw = pack([0, 1], ["", ""], [np.frombuffer(b"no image", np.uint8), np.frombuffer(jpeg(), np.uint8)])
    made = Preprocess(config)(lease_of(spec, Stage.PREPROCESS), raw, lambda: None)
    assert (made.passed, [failed.ordinal for failed in made.failed]) == (1, [0])
    assert [unpack(part)[0] for part in split_packs(made.data, 2)] == [[1], [1]]


def test_a_model_whose_features_are_there_is_not_run_again(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    from alaas_workers.backends.null_backend import NullBackend

    ran: list[str] = []
    honest = NullBackend.infer

    def infer(self: NullBackend, *given: Any) -> Any:
        ran.append(self.card.name)
        return honest(self, *given)

    monkeypatch.setattr(NullBackend, "infer", infer)
    scan(config, member(config, "b", *PROBABILITIES))
    scan(config, committee(config, "a", "b", "small"))
    assert ran == ["b", "a", "small"]


def test_other_weights_of_any_model_put_the_chunk_off_and_tell_the_dispatcher(config: Config) -> None:
    spec = committee(config, "a", "b")
    changed = JobSpec(OWNER, "d", "b", "other weights", spec.transform, PROBABILITIES)
    spec = replace(spec, others=(changed,))
    with pytest.raises(NotNow, match="weights of b"):
        scan(config, spec)
    assert ModelCards.open(config).get("b").fingerprint == configured_card("b", config).fingerprint


def test_a_committees_probabilities_are_gathered_side_by_side(config: Config, cache: Cache) -> None:
    spec = committee(config, "a", "b")
    scan(config, spec)
    sample = [sample._replace(label=None) for sample in pool_samples(4)]
    cards = [configured_card(name, config) for name in ("a", "b")]
    gathered = gather(cache, spec, cards, sample)
    assert gathered.there.tolist() == [True, True, True, False]
    members = gathered.complete()[1]["committee"]
    assert members.shape == (3, 2, 10)
    for place, name in enumerate(("a", "b")):
        alone = gather(cache, member(config, name, *PROBABILITIES), [cards[place]], sample[:3])
        np.testing.assert_array_equal(members[:, place], alone.features["probabilities"])
        assert "committee" not in alone.features


def test_passes_are_gathered_by_sample_pass_and_class(config: Config, cache: Cache) -> None:
    spec = member(config, "a", Feature.PASS_SUMS, Feature.PASSES)
    scan(config, spec)
    features = gather(cache, spec, [configured_card("a", config)], pool_samples(3)).features
    assert (features["passes"].shape, features["pass_sums"].shape) == ((3, 20, 10), (3, 11))
    np.testing.assert_allclose(features["passes"].mean(axis=1), features["pass_sums"][:, :10], atol=1e-6)


def test_the_number_of_passes_is_part_of_what_they_are_and_of_nothing_else(config: Config) -> None:
    few, many = (
        JobSpec(OWNER, "d", "a", "f", "t", (Feature.PROBABILITIES, Feature.PASS_SUMS), passes) for passes in (5, 9)
    )
    assert FeatureKeys(few, Feature.PASS_SUMS)("u", "") != FeatureKeys(many, Feature.PASS_SUMS)("u", "")
    assert FeatureKeys(few, Feature.PROBABILITIES)("u", "") == FeatureKeys(many, Feature.PROBABILITIES)("u", "")


# What is labelled


def pool_samples(count: int, *labels: str) -> list[Any]:
    from alaas_workers.catalog import PoolSample

    given = [*labels, *[None] * count][:count]
    return [
        PoolSample(at, f"{at}", uri, "", label) for at, (uri, label) in enumerate(zip(uris(count), given, strict=True))
    ]


def test_labels_are_numbered_in_the_order_of_their_texts_beside_the_rows_that_are_there() -> None:
    samples = pool_samples(4, "dog", "ape", "dog", "cat")
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    labelled = Gathered(samples, {"embeddings": rows}, np.array([True, False, True, True]))
    arrays = labelled_arrays(labelled, {"labelled_embeddings", "labelled_classes", "probabilities"})
    np.testing.assert_array_equal(arrays["labelled_embeddings"], rows[[0, 2, 3]])
    assert arrays["labelled_classes"].tolist() == [2, 2, 1]  # ape is a class, also while its sample failed


def test_of_what_is_labelled_nothing_is_given_that_is_not_wanted() -> None:
    labelled = Gathered(pool_samples(1, "dog"), {"embeddings": np.zeros((1, 2), np.float32)}, np.array([True]))
    assert set(labelled_arrays(labelled, {"labelled_embeddings"})) == {"labelled_embeddings"}
    assert labelled_arrays(Gathered([], {}, np.array([], dtype=bool)), {"labelled_embeddings"}) == {}


# The job


class Desk:
    def __init__(self, catalog: Catalog, config: Config) -> None:
        self.catalog, self.hints, self.ledger = catalog, Notebook(), Ledger.open(config)
        self.cards = ModelCards.open(config)
        self.dispatcher = Dispatcher(
            config, ledger=self.ledger, catalog=catalog, cache=Cache.open(config), cards=self.cards,
            sources=Versions(), hints=self.hints,
        )  # fmt: skip

    def job(self, models: list[str] | str, **more: Any) -> JobRecord:
        dataset_id = new_dataset(self.catalog, 4, name=f"{time.monotonic_ns()}")
        values = {"strategy": {"type": "QueryByCommittee"}} | more
        return new_job(self.catalog, dataset_id=dataset_id, model=models, **values)

    def publish(self, name: str, **changes: Any) -> None:
        card = ModelCard(
            name=name, modality="vision", fingerprint=f"f of {name}", transform="t", classes=3, embedding_size=2,
            passes=20, outputs=[Feature.PROBABILITIES, Feature.EMBEDDINGS],
        )  # fmt: skip
        self.cards.publish(card.model_copy(update=changes))

    def turn(self) -> list[Unit]:
        self.dispatcher.reconcile()
        self.dispatcher.admit()
        return self.hints.taken()

    def problem(self, record: JobRecord) -> tuple[str | None, str]:
        error = self.catalog.get_job(record.id).error
        assert error is not None
        return error.field, error.detail


@pytest.fixture
def desk(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with Catalog.open(f"sqlite:///{tmp_path_factory.mktemp('catalog') / 'catalog.sqlite'}") as catalog:
        yield Desk(catalog, config)


def test_a_committees_job_is_opened_when_all_its_models_are_known(desk: Desk) -> None:
    record = desk.job(["a", "b"])
    assert desk.turn() == [] and desk.hints.described == ["a", "b"]
    desk.publish("a")
    assert desk.turn() == []
    desk.publish("b")
    assert len(desk.turn()) == 2
    spec = the_job(desk.ledger, record.id).spec
    assert [(m.model, m.fingerprint, m.features) for m in spec.members] == [
        ("a", "f of a", PROBABILITIES),
        ("b", "f of b", PROBABILITIES),
    ]


def test_embeddings_beside_a_committee_are_the_first_models(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.publish(name)
    record = desk.job(["b", "a"], policy={"min_distance": 0.5})
    desk.turn()
    spec = the_job(desk.ledger, record.id).spec
    assert [m.features for m in spec.members] == [(*PROBABILITIES, Feature.EMBEDDINGS), PROBABILITIES]


def test_a_scan_ahead_computes_with_every_model(desk: Desk) -> None:
    desk.publish("a")
    desk.publish("b", outputs=[Feature.PROBABILITIES])
    record = desk.job(["a", "b"], kind="scan", strategy=None, budget=None)
    desk.turn()
    spec = the_job(desk.ledger, record.id).spec
    assert [m.features for m in spec.members] == [(*PROBABILITIES, Feature.EMBEDDINGS), PROBABILITIES]


def test_models_of_other_classes_make_no_committee(desk: Desk) -> None:
    desk.publish("a")
    desk.publish("b", classes=5)
    record = desk.job(["a", "b"])
    desk.turn()
    field, detail = desk.problem(record)
    assert field == "model" and "'a' gives 3 and 'b' gives 5" in detail


def test_a_model_without_dropout_fails_the_job_and_says_what_to_do(desk: Desk) -> None:
    desk.publish("a", lacking={Feature.PASS_SUMS: "the model has no dropout layers"})
    record = desk.job("a", strategy={"type": "BayesianDisagreement"})
    desk.turn()
    field, detail = desk.problem(record)
    assert field == "strategy" and "no dropout layers; take a committee of models or another strategy" in detail


def test_other_weights_of_the_second_model_plan_the_job_anew(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.publish(name)
    record = desk.job(["a", "b"])
    desk.turn()
    desk.publish("b", fingerprint="f2")
    desk.turn()
    assert [m.fingerprint for m in the_job(desk.ledger, record.id).spec.members] == ["f of a", "f2"]
    assert desk.catalog.get_job(record.id).state is JobState.RUNNING


def test_another_number_of_passes_plans_the_job_anew_only_where_passes_are_needed(desk: Desk) -> None:
    desk.publish("a", outputs=list(Feature))
    with_passes, without = (
        desk.job("a", strategy={"type": "BayesianDisagreement"}),
        desk.job("a", strategy=None, kind="scan", budget=None),
    )
    desk.turn()
    opened = {record.id: the_job(desk.ledger, record.id).opened for record in (with_passes, without)}
    desk.publish("a", outputs=list(Feature), passes=30)
    desk.turn()
    assert the_job(desk.ledger, with_passes.id).spec.passes == 30
    assert the_job(desk.ledger, without.id).opened == opened[without.id]


def test_a_spec_reads_back_as_it_was_written_also_one_of_an_older_release(config: Config) -> None:
    spec = committee(config, "a", "small")
    assert JobSpec.from_json(spec.to_json()) == spec
    words = {"owner": "o", "dataset_id": "d", "model": "m", "fingerprint": "f", "transform": "t"}
    assert JobSpec.from_json(json.dumps(words | {"features": ["embeddings"]})) == JobSpec(
        "o", "d", "m", "f", "t", (Feature.EMBEDDINGS,)
    )
