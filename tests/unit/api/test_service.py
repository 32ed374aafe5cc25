"""What the server says of itself: health, readiness with reasons, figures, models, strategies, OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from alaas.config import Config
from alaas.errors import Unavailable
from alaas.jobs import ModelCard, Stage
from alaas_workers.catalog import Catalog
from alaas_workers.ledger import Ledger
from alaas_workers.model_cards import ModelCards
from api.app import all_routes

ROLES = ["dispatcher", *(stage.value for stage in Stage)]


@pytest.fixture
def fleet(config: Config) -> Iterator[Ledger]:
    """One sign of life of each process."""
    ledger = Ledger.open(config)
    for role in ROLES:
        ledger.sign_of_life(role, "node")
    yield ledger


@pytest.fixture
def fleet_on_triton(settings: dict[str, Any], request: pytest.FixtureRequest) -> Ledger:
    settings["triton"] = {"url": "127.0.0.1:1"}
    settings["models"]["served"] = {"source": "triton"}
    ledger: Ledger = request.getfixturevalue("fleet")
    return ledger


def wrong(client: FlaskClient) -> set[str]:
    answer = client.get("/readyz")
    checks = answer.get_json()["checks"]
    assert answer.status_code == (200 if answer.get_json()["ready"] else 503)
    return {name for name, check in checks.items() if not check["ok"]}


def test_a_whole_fleet_is_ready(client: FlaskClient, fleet: Ledger) -> None:
    assert wrong(client) == set()


def test_readiness_names_the_stages_without_workers(client: FlaskClient, fleet: Ledger) -> None:
    fleet.gone("inference", "node")
    fleet.gone("dispatcher", "node")
    assert wrong(client) == {"inference", "dispatcher"}


def test_readiness_names_a_model_that_could_not_be_loaded(client: FlaskClient, fleet: Ledger, config: Config) -> None:
    ModelCards.open(config).publish(ModelCard(name="other", modality="vision", error="the file is corrupt"))
    assert wrong(client) == {"model other"}
    assert "corrupt" in client.get("/readyz").text


def test_readiness_names_a_triton_server_that_is_away(
    settings: dict[str, Any], fleet_on_triton: Ledger, client: FlaskClient
) -> None:
    assert wrong(client) == {"triton"}
    assert 'alaas_up{part="triton"} 0.0' in client.get("/metrics").text


def test_readiness_names_a_full_or_absent_ledger_and_an_absent_catalog(
    client: FlaskClient, fleet: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Any) -> Any:
        raise Unavailable("away")

    monkeypatch.setattr(Ledger, "free_fraction", lambda self: 0.01)
    assert wrong(client) == {"ledger"}
    monkeypatch.setattr(Ledger, "free_fraction", away)
    monkeypatch.setattr(Catalog, "ping", away)
    assert wrong(client) == {"ledger", "catalog"}


def test_health_asks_nobody(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalog, "ping", lambda self: 1 / 0)
    assert client.get("/healthz").get_json() == {"status": "ok"}


def figures(client: FlaskClient) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            labels = [value for label, value in sorted(sample.labels.items()) if label != "pid"]
            found[" ".join([sample.name, *labels])] = sample.value
    return found


def test_metrics_tell_of_jobs_workers_and_requests(
    client: FlaskClient, fleet: Ledger, submit: Callable[..., str]
) -> None:
    submit()
    client.get("/v1/jobs/0")
    found = figures(client)
    assert (found["alaas_jobs queued"], found["alaas_jobs failed"], found["alaas_workers download"]) == (1, 0, 1)
    assert found["alaas_http_requests_total POST /v1/jobs 202"] == 1
    assert found["alaas_http_requests_total GET /v1/jobs/<job_id> 404"] == 1
    assert found["alaas_http_request_seconds_count /v1/jobs"] == 1
    assert (found["alaas_up catalog"], found["alaas_up ledger"], found["alaas_in_flight_bytes"]) == (1, 1, 0)
    assert found["alaas_stage_waiting inference"] == 0


def test_metrics_say_what_is_away_and_tell_the_rest(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: Any) -> Any:
        raise Unavailable("away")

    monkeypatch.setattr(Ledger, "metrics", away)
    found = figures(client)
    assert (found["alaas_up ledger"], found["alaas_up catalog"], found["alaas_jobs queued"]) == (0, 1, 0)


def test_unknown_paths_and_methods_do_not_make_new_series(client: FlaskClient) -> None:
    for number in range(5):
        client.open(f"/nope/{number}", method=f"VERB{number}")
    assert figures(client)["alaas_http_requests_total other none 404"] == 5


def test_models_are_listed_with_what_is_known_of_them(client: FlaskClient, config: Config) -> None:
    ModelCards.open(config).publish(ModelCard(name="tiny", modality="vision", classes=10))
    items = client.get("/v1/models").get_json()["items"]
    assert [(item["name"], item["classes"]) for item in items] == [("tiny", 10), ("other", None)]


def test_strategies_are_listed_with_their_parameters(client: FlaskClient) -> None:
    items = {item["name"]: item for item in client.get("/v1/strategies").get_json()["items"]}
    assert {"RandomSampling", "LeastConfidence", "KCenterSampling"} <= items.keys()
    assert items["LeastConfidence"]["needs"] == ["probabilities"]
    assert items["LeastConfidence"]["parameters"]["type"] == "object"


def test_the_public_configuration_holds_no_secret(with_tokens: dict[str, dict[str, str]], client: FlaskClient) -> None:
    answer = client.get("/v1/config", headers=with_tokens["ann"])
    assert answer.get_json()["default_model"] == "tiny"
    assert answer.get_json()["limits"]["max_active_jobs"] == 3
    assert "redis" not in answer.text
    assert "sha256" not in answer.text


def test_openapi_describes_every_route_and_no_other(client: FlaskClient) -> None:
    described = client.get("/openapi.json").get_json()
    operations = {(method.upper(), path) for path, item in described["paths"].items() for method in item}
    ours = {(route.method, route.template) for route in all_routes()}
    template = {route.path: route.template for route in all_routes()}
    served = {
        (method, template[rule.rule])
        for rule in client.application.url_map.iter_rules()
        for method in rule.methods or ()
        if method != "HEAD"
    }
    assert operations == ours == served


def test_openapi_asks_for_tokens_where_the_server_does(
    with_tokens: dict[str, dict[str, str]], client: FlaskClient
) -> None:
    described = client.get("/openapi.json").get_json()
    assert described["paths"]["/v1/jobs"]["post"]["security"] == [{"token": []}]
    assert "security" not in described["paths"]["/healthz"]["get"]


def test_the_page_takes_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "http" not in page.text.replace("http-", "")
    assert "innerHTML" not in client.get("/page/app.js").text
