"""Cases drawn by schemathesis from the protocol's own OpenAPI file, kserve/open-inference-protocol,
*specification/protocol/open_inference_rest.yaml*, on a running learner."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings

from tests.serving import IMMEDIATE, press, serving

FILE = Path(__file__).parents[1] / "fixtures" / "open_inference_rest.yaml"

# The file spells its parameters ${NAME}, whose dollar would be part of the path.
document = yaml.safe_load(FILE.read_text().replace("${", "{"))
schema = schemathesis.openapi.from_dict(document)

DRAWN = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with serving(press(tmp_path_factory.mktemp("specification"), model=IMMEDIATE)) as started:
        yield started


@schema.parametrize()
@DRAWN
def test_whatever_the_specification_allows_gets_an_answer_that_it_knows(case, running):
    before = running.client.model("press").seq
    if case.path_parameters:
        case.path_parameters.update({"MODEL_NAME": "press", "MODEL_VERSION": "live"})
    response = case.call_and_validate(
        base_url=running.url,
        excluded_checks=[
            # Tensors have to fit the model, of which the file knows nothing.
            schemathesis.checks.CHECKS.get_one("positive_data_acceptance"),
            # The file allows any object as a body; what is refused beside it is told by ours.
            schemathesis.checks.CHECKS.get_one("unsupported_method"),
        ],
    )
    assert response.status_code in (200, 400)
    # What is refused changes nothing.
    assert response.status_code == 200 or running.client.model("press").seq == before


@pytest.fixture(scope="module")
def ours(running):
    found = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    return found.include(path_regex=r"^/v2/|^/v1/ingest/|/batches$|/labels$")


def test_our_own_document_tells_what_lines_are_answered(ours, running):
    checks = schemathesis.checks.CHECKS
    excluded = [checks.get_one(c) for c in ("positive_data_acceptance", "unsupported_method")]
    asked = set()

    def put(case):
        if case.method == "POST" and case.path_parameters:
            case.path_parameters.update({"model": "press"})
        before = running.client.model("press").seq
        response = case.call_and_validate(excluded_checks=excluded)
        assert response.status_code < 500
        assert response.status_code == 200 or running.client.model("press").seq == before
        asked.add((case.method, case.path, response.status_code < 400))

    for found in ours.get_all_operations():
        drawn = given(case=found.ok().as_strategy())(put)
        DRAWN(drawn)()
    assert {path for _, path, _ in asked} >= {
        "/v2/models/{model}/infer",
        "/v1/models/{model}/batches",
        "/v1/models/{model}/labels",
    }
