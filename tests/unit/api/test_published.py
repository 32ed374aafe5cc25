"""POST /post answers the published package's curl call as it stands."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from alaas.jobs import JobState, Problem, Report
from alaas_workers.catalog import Catalog

CALL = """{"data":[{"uri": "http://127.0.0.1:9/1.png"}, {"uri": "http://127.0.0.1:9/2.png"},
                   {"uri": "http://127.0.0.1:9/3.png"}, {"uri": "http://127.0.0.1:9/4.png"}],
          "parameters": {"budget": 3},
          "execEndpoint":"/query"}"""


def call(client: FlaskClient, text: str = CALL, **headers: str) -> Any:
    return client.post("/post", data=text, content_type="application/json", headers=headers)


def when_submitted(catalog: Catalog, act: Callable[[str], Any]) -> threading.Thread:
    """A fleet of one: acts on the first job that it sees."""

    def watch() -> None:
        while not (jobs := catalog.open_jobs()):
            time.sleep(0.01)
        act(jobs[0].id)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_the_published_call_is_answered_with_the_chosen_documents(
    client: FlaskClient, catalog: Catalog, succeed: Callable[[str], Report]
) -> None:
    fleet = when_submitted(catalog, succeed)
    answer = call(client)
    fleet.join()
    said = answer.get_json()
    assert answer.status_code == 200
    assert [document["uri"] for document in said["data"]] == [f"http://127.0.0.1:9/{n}.png" for n in (1, 2, 3)]
    assert said["data"][0]["scores"]["LeastConfidence"]["value"] == 1.0
    assert said["parameters"] == {"budget": 3}
    assert client.get(answer.headers["Location"]).get_json()["id"] == said["header"]["requestId"]


def test_a_job_that_fails_is_answered_with_its_error(client: FlaskClient, catalog: Catalog) -> None:
    error = Problem(title="No", status=422, code="model_error", detail="nothing could be read")
    fleet = when_submitted(catalog, lambda job: catalog.finish(job, JobState.FAILED, error=error))
    answer = call(client)
    fleet.join()
    assert (answer.status_code, answer.get_json()["code"]) == (409, "model_error")


def test_a_job_that_takes_too_long_is_503_and_goes_on_and_the_same_key_finds_it_again(
    settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    settings["api"]["post_wait_s"] = 0.2
    client, catalog = request.getfixturevalue("client"), request.getfixturevalue("catalog")
    late = call(client, **{"Idempotency-Key": "k"})
    assert (late.status_code, late.get_json()["code"]) == (503, "unavailable")
    assert "Retry-After" in late.headers
    request.getfixturevalue("succeed")(catalog.open_jobs()[0].id)
    assert len(call(client, **{"Idempotency-Key": "k"}).get_json()["data"]) == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [({"execEndpoint": "/delete"}, "execEndpoint"), ({"parameters": {"budget": 0}}, "parameters.budget"),
     ({"parameters": {"budget": 1, "n_drop": 5}}, "parameters.n_drop"), ({"data": []}, "data"),
     ({"data": "abc"}, "data"),
     ({"data": [{"uri": "file:///a"}, {"text": "b"}]}, "data.1.uri"), ({"data": [{"uri": "gopher://a"}]}, "data.0.uri"),
     ({"data": [{"text": ""}]}, "data.0.text"), ({"data": [{"text": 5}]}, "data.0.text"),
     ({"targetExecutor": "x"}, "targetExecutor"), ({"parameters": {"budget": 5}}, "budget")],
)  # fmt: skip
def test_what_the_call_does_not_know_is_named(client: FlaskClient, change: dict[str, Any], field: str) -> None:
    answer = call(client, json.dumps(json.loads(CALL) | change))
    assert (answer.status_code, answer.get_json()["field"]) == (422, field)
