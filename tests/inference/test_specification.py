"""Cases drawn by schemathesis from the protocol's own OpenAPI file, kserve/open-inference-protocol,
*specification/protocol/open_inference_rest.yaml*, on a running learner."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, settings

from tests.serving import IMMEDIATE, press, serving

FILE = Path(__file__).parents[1] / "fixtures" / "open_inference_rest.yaml"

# The file spells its parameters ${NAME}, whose dollar would be part of the path.
document = yaml.safe_load(FILE.read_text().replace("${", "{"))
schema = schemathesis.openapi.from_dict(document)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with serving(press(tmp_path_factory.mktemp("specification"), model=IMMEDIATE)) as started:
        yield started


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
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
    assert running.client.model("press").seq == before
