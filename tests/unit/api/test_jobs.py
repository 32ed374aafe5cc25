"""Jobs over HTTP: accepted once, looked at, cancelled, reported; limits, and what happens when a part is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from alaas.config import Config
from alaas.errors import Unavailable
from alaas.jobs import Feature, JobState, ModelCard, Problem, Progress, Report, Stage, StageProgress
from alaas_workers.catalog import Catalog
from alaas_workers.ledger import Ledger
from alaas_workers.model_cards import ModelCards
from strategies.uncertainty import LeastConfidence

Submit = Callable[..., str]
QUERY = {"uris": ["file:///a", "file:///b", "file:///c"], "budget": 2}


def test_a_job_is_accepted_with_its_place_and_its_whole_strategy(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json=QUERY | {"strategy": "KCenterSampling", "seed": 7})
    job = answer.get_json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["state"], job["owner"], job["model"], job["seed"]) == ("queued", "local", "tiny", 7)
    assert job["strategy"]["type"] == "KCenterSampling"
    assert client.get(answer.headers["Location"]).get_json() == job


def test_a_job_that_names_no_strategy_and_model_gets_the_configurations(settings: dict[str, Any], request: Any) -> None:
    settings["strategy"] = {"type": "RandomSampling"}
    settings["models"] = {"first": {"source": "null"}, "second": {"source": "null"}}
    job = request.getfixturevalue("client").post("/v1/jobs", json=QUERY).get_json()
    assert (job["model"], job["strategy"]["type"]) == ("first", "RandomSampling")


def test_a_scan_needs_neither_budget_nor_strategy(client: FlaskClient) -> None:
    job = client.post("/v1/jobs", json={"kind": "scan", "uris": QUERY["uris"]}).get_json()
    assert (job["kind"], job["strategy"], job["budget"]) == ("scan", None, None)


def test_a_uri_given_twice_counts_once(client: FlaskClient, catalog: Catalog) -> None:
    body = {"uris": ["file:///a", "file:///b", "file:///a"], "budget": 2}
    record = catalog.get_job(client.post("/v1/jobs", json=body).get_json()["id"])
    assert (record.unlabelled, record.duplicates) == (2, 1)


def test_the_same_key_gives_the_same_job_and_another_body_a_conflict(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = client.post("/v1/jobs", json=QUERY, headers=headers)
    again = client.post("/v1/jobs", json=QUERY, headers=headers)
    assert (again.status_code, again.get_json()["id"]) == (202, first.get_json()["id"])
    assert again.headers["Location"] == first.headers["Location"]
    assert client.post("/v1/jobs", json=QUERY | {"seed": 1}, headers=headers).status_code == 409


@pytest.mark.parametrize("key", ["", "two words", "k" * 201])
def test_a_key_that_is_none_is_refused(client: FlaskClient, key: str) -> None:
    answer = client.post("/v1/jobs", json=QUERY, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.get_json()["field"]) == (422, "Idempotency-Key")


def test_more_jobs_than_allowed_answer_429_until_one_ends(client: FlaskClient, submit: Submit) -> None:
    first, *_ = [submit() for _ in range(3)]
    answer = client.post("/v1/jobs", json=QUERY)
    assert (answer.status_code, answer.get_json()["code"]) == (429, "too_many_requests")
    assert int(answer.headers["Retry-After"]) > 0
    client.post(f"/v1/jobs/{first}/cancel")
    submit()


def test_jobs_are_listed_by_page_and_by_state(client: FlaskClient, submit: Submit) -> None:
    ids = [submit() for _ in range(3)]
    client.post(f"/v1/jobs/{ids[0]}/cancel")
    first = client.get("/v1/jobs?limit=2").get_json()
    second = client.get(f"/v1/jobs?limit=2&after={first['next']}").get_json()
    assert {job["id"] for job in first["items"] + second["items"]} == set(ids)
    assert second["next"] is None
    assert [job["id"] for job in client.get("/v1/jobs?state=cancelled").get_json()["items"]] == [ids[0]]


def test_a_report_comes_when_the_job_has_succeeded(
    client: FlaskClient, submit: Submit, succeed: Callable[[str], Report]
) -> None:
    job = submit()
    early = client.get(f"/v1/jobs/{job}/report")
    assert (early.status_code, early.get_json()["code"]) == (409, "conflict")
    report = succeed(job)
    answer = client.get(f"/v1/jobs/{job}/report")
    assert Report.model_validate_json(answer.data) == report
    assert answer.mimetype == "application/json"


def test_the_report_of_a_failed_job_is_its_error(client: FlaskClient, submit: Submit, catalog: Catalog) -> None:
    job = submit()
    error = Problem(title="No", status=422, code="model_error", detail="the model cannot be loaded")
    catalog.finish(job, JobState.FAILED, error=error)
    answer = client.get(f"/v1/jobs/{job}/report")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "model_error")
    assert client.get(f"/v1/jobs/{job}").get_json()["error"]["detail"] == "the model cannot be loaded"


def test_a_cancelled_job_stays_cancelled(client: FlaskClient, submit: Submit) -> None:
    job = submit()
    assert client.post(f"/v1/jobs/{job}/cancel").get_json()["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{job}/cancel", json={}).get_json()["state"] == "cancelled"
    assert "cancelled" in client.get(f"/v1/jobs/{job}/report").get_json()["detail"]


def test_a_job_that_has_ended_is_not_cancelled_any_more(
    client: FlaskClient, submit: Submit, succeed: Callable[[str], Report]
) -> None:
    job = submit()
    succeed(job)
    answer = client.post(f"/v1/jobs/{job}/cancel")
    assert (answer.status_code, answer.get_json()["state"]) == (200, "succeeded")


def test_cancelling_takes_nothing_but_an_empty_object(client: FlaskClient, submit: Submit) -> None:
    assert client.post(f"/v1/jobs/{submit()}/cancel", json={"now": True}).status_code == 422


def test_progress_is_that_of_the_catalog_which_a_ledger_that_is_lost_cannot_take_back(
    client: FlaskClient, submit: Submit, catalog: Catalog, redis_url: str
) -> None:
    job = submit()
    for done in (2, 1):
        catalog.save_progress(job, Progress(total=3, stages={Stage.DOWNLOAD: StageProgress(done=done, total=3)}))
        assert _done(client, job) == 2
    with redis.Redis.from_url(redis_url) as server:
        server.flushall()
    assert _done(client, job) == 2


def _done(client: FlaskClient, job: str) -> int:
    return int(client.get(f"/v1/jobs/{job}").get_json()["progress"]["stages"]["download"]["done"])


def test_a_strategy_that_the_model_cannot_serve_is_refused_once_the_model_is_known(
    client: FlaskClient, config: Config, submit: Submit
) -> None:
    submit(strategy="KCenterSampling")
    card = ModelCard(name="tiny", modality="vision", outputs=[Feature.PROBABILITIES])
    ModelCards.open(config).publish(card)
    answer = client.post("/v1/jobs", json=QUERY | {"strategy": "KCenterSampling"})
    assert (answer.status_code, answer.get_json()["code"]) == (422, "model_error")
    assert "needs embeddings" in answer.get_json()["detail"]
    submit(strategy="LeastConfidence")


def test_a_list_of_uris_above_the_strategys_cap_is_refused_by_its_parameter(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json=QUERY | {"strategy": {"type": "CoreSet", "max_pool": 2}})
    assert (answer.status_code, answer.get_json()["field"]) == (422, "strategy.max_pool")


def test_a_strategy_that_needs_what_no_fleet_computes_is_refused(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LeastConfidence, "needs", frozenset({"probabilities", "moods"}))
    answer = client.post("/v1/jobs", json=QUERY | {"strategy": "LeastConfidence"})
    assert (answer.status_code, answer.get_json()["field"]) == (422, "strategy")
    assert "needs moods, which no fleet computes" in answer.get_json()["detail"]


def test_nothing_is_accepted_while_the_ledger_is_nearly_full(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, submit: Submit
) -> None:
    job = submit()
    monkeypatch.setattr(Ledger, "free_fraction", lambda self: 0.05)
    answer = client.post("/v1/jobs", json=QUERY)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get(f"/v1/jobs/{job}").status_code == 200


def test_a_job_that_was_accepted_is_not_lost_when_the_ledger_goes_away_just_then(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, catalog: Catalog
) -> None:
    def away(self: Ledger, job_id: str) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(Ledger, "submit", away)
    answer = client.post("/v1/jobs", json=QUERY)
    assert answer.status_code == 202
    assert [record.id for record in catalog.open_jobs()] == [answer.get_json()["id"]]


def test_a_cancelled_job_is_cancelled_also_while_the_ledger_is_away(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, submit: Submit
) -> None:
    def away(self: Ledger, job_id: str) -> None:
        raise Unavailable("away")

    job = submit()
    monkeypatch.setattr(Ledger, "cancel", away)
    assert client.post(f"/v1/jobs/{job}/cancel").get_json()["state"] == "cancelled"


def test_a_pool_above_the_limit_is_too_large(settings: dict[str, Any], request: Any) -> None:
    settings["api"]["max_pool"] = 2
    answer = request.getfixturevalue("client").post("/v1/jobs", json=QUERY)
    assert (answer.status_code, answer.get_json()["field"]) == (413, "uris")
