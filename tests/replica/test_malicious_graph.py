"""A replica refuses a malicious graph, also one that is signed, and goes on serving."""

from __future__ import annotations

import re

import httpx

import service.replica.serving
from service.graph.check import (
    MAX_BYTES,
)
from tests.graph.attacks import crafted
from tests.replica.test_replica import following
from tests.serving import press, row, serving


def test_a_replica_refuses_a_signed_malicious_graph_without_loading_it(tmp_path, monkeypatch):
    loaded: list[bytes] = []

    class Watched(service.replica.serving.Session):
        def __init__(self, graph: bytes) -> None:
            loaded.append(graph)
            super().__init__(graph)

    monkeypatch.setattr(service.replica.serving, "Session", Watched)
    malicious = ("external_data", "loop", "huge_constant_of_shape", "small_file_huge_activation")
    with (
        serving(press(tmp_path, model='members = ["plain"]')) as running,
        following(tmp_path / "store", 60) as (replica, c),
    ):
        store = running.learner.store
        manifest = store.manifest("press", 1)
        sound = store.read("press", 1, "model.onnx")
        forged = {k: v for k, v in manifest.items() if k not in ("files", "digest", "version")}
        replica.poll()
        assert loaded == [sound]
        before = c.predict("press", [row(0)])
        graphs = [crafted(name, sound) for name in malicious]
        graphs.append((bytes(MAX_BYTES + 1), f"at most {MAX_BYTES} bytes"))
        for refusals, (graph, match) in enumerate(graphs, 1):
            version = store.next_version("press")
            store.publish("press", version, {"model.onnx": graph}, forged)
            generation = store.alias("press", "champion").generation
            store.set_alias("press", "champion", version, generation=generation, seq=0)
            replica.poll()
            assert loaded == [sound]
            refused = c.model("press").raw["refused"]
            assert refused["version"] == version
            assert re.search(match, refused["why"])
            answer = c.predict("press", [row(0)])
            assert (answer.snapshot, answer.probabilities) == (1, before.probabilities)
            text = httpx.get(f"{c.url}/metrics").text
            assert f'load_failures_total{{model="press"}} {refusals}.0' in text
            assert 'apical_replica_version{model="press"} 1.0' in text
