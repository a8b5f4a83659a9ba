"""A step whose result is not finite is no event, and there is a way back from any condition."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from clients import Rejected
from service.manifest import GRAPH, SCORE, STATE
from service.state import same
from service.state.file import from_bytes, to_bytes
from tests.dll.networks import with_synapses
from tests.line import teach
from tests.serving import label, press, row, serving

ADAM = 'optimiser = "adam"'


def stored(store, version, **changed):
    """Another snapshot like one that there is, with some of its synapses changed."""
    files = {name: store.read("press", version, name) for name in (GRAPH, SCORE, STATE)}
    state = from_bytes(files[STATE])
    synapses = {k: f(state.synapses) for k, f in changed.items()}
    files[STATE] = to_bytes(with_synapses(state, **synapses))
    manifest = store.manifest("press", version)
    made = store.next_version("press")
    store.publish("press", made, files, {**manifest, "cause": "demand"})
    return made


def huge_feedback(synapses):
    # The gradient is finite, its square is not: Adam's second moment would be infinite.
    return tuple(np.full_like(theta, 1e25) for theta in synapses.feedback)


def no_numbers(synapses):
    return tuple(np.full_like(weight, np.nan) for weight in synapses.weights)


def live(running):
    return running.learner.models["press"].published


def test_a_step_that_is_not_finite_changes_nothing_and_says_so(tmp_path):
    with serving(press(tmp_path, model=ADAM)) as running:
        client = running.client
        teach(client, 0, 5)
        assert client.snapshot("press").version == 2
        made = stored(running.learner.store, 2, feedback=huge_feedback)
        client.rollback("press", made, reason="what an old version may have stored")
        before, figures = live(running), client.model("press").prequential
        rows, labels = [row(7), row(8)], [label(7), None]
        answer = client.learn("press", rows, labels, batch_id="odd")
        assert (answer.learned, answer.outcomes) == ([False, False], ["not_finite", "unlabelled"])
        assert answer.probabilities == client.predict("press", rows).probabilities
        assert live(running) is before
        late = client.label("press", "odd", labels)
        assert late.outcomes == ["not_finite", "unlabelled"]
        again = client.learn("press", rows, labels, batch_id="odd")
        assert again.outcomes == ["not_finite", "unlabelled"]
        assert again.probabilities == answer.probabilities
        assert live(running) is before
        assert client.model("press").prequential == figures
        counted = 'apical_updates_total{model="press",outcome="not_finite"} 3.0'
        assert counted in httpx.get(f"{running.url}/metrics").text
        # The way back, and the labels teach after all.
        client.rollback("press", 2, reason="back")
        assert client.label("press", "odd", labels).outcomes == ["learned", "unlabelled"]
        assert live(running).steps == 6


def test_from_a_network_without_numbers_a_rollback_leads_back(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 5)
        running.client.snapshot("press")
        good = live(running)
        made = stored(running.learner.store, 2, weights=no_numbers)
        with pytest.raises(Rejected, match=f"409.*finite numbers, found others in {made}"):
            running.client.rollback("press", made, reason="no way")
    # A version before this one may have left such a state: a start goes on from it.
    with serving(press(tmp_path)) as running:
        assert np.isnan(live(running).synapses.weights[0]).all()
        for body in ({"rows": [row(1)]}, {"rows": [row(1)], "labels": [label(1)]}):
            said = httpx.post(f"{running.url}/v1/models/press/batches", json=body)
            assert said.status_code == 503, said.text
            assert "expected finite probabilities" in said.json()["detail"]
        running.client.rollback("press", 2, reason="back")
        assert same(live(running)._replace(seq=good.seq), good)
        teach(running, 5, 2)
        assert running.client.snapshot("press").version == made + 2
        text = httpx.get(f"{running.url}/metrics").text
        assert "NaN" not in text
