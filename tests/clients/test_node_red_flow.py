"""The Node-RED flow as a file: whole, wired, and JavaScript. `make test-node-red` runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

FLOW = Path(__file__).parents[2] / "clients/bridges/node-red-flow.json"
NODES = {node["id"]: node for node in json.loads(FLOW.read_text("utf-8"))}


def functions():
    return [node for node in NODES.values() if node["type"] == "function"]


def test_every_wire_leads_to_a_node_and_every_node_has_a_way_in():
    tab = next(node for node in NODES.values() if node["type"] == "tab")
    reached = {to for node in NODES.values() for out in node.get("wires", []) for to in out}
    assert reached <= NODES.keys()
    for node in NODES.values():
        assert node is tab or node["z"] == tab["id"]
        sources = ("tab", "mqtt-broker", "inject", "mqtt in", "catch")
        assert node["id"] in reached or node["type"] in sources, node["id"]
    for node in functions():
        assert len(node["wires"]) == node["outputs"]
        assert all(node["wires"]), "an output that leads nowhere drops what it says"


def test_what_it_takes_from_its_environment_is_there_to_be_filled_in():
    tab = next(node for node in NODES.values() if node["type"] == "tab")
    named = {one["name"] for one in tab["env"]}
    text = FLOW.read_text("utf-8")
    for name in named:
        assert f'env.get(\\"{name}\\")' in text or f'"${{{name}}}"' in text, name
    # A secret stands in the environment of the process, never in the flow.
    assert "APICAL_KEY" not in named
    assert 'env.get(\\"APICAL_KEY\\")' in text


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("node", functions(), ids=lambda node: node["name"])
def test_its_functions_are_javascript(tmp_path, node):
    script = tmp_path / "function.js"
    script.write_text(f"(function (msg) {{\n{node['func']}\n}})")
    done = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
