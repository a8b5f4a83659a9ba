"""A configuration that cannot work is refused where it is read, with file, key, expected, found."""

from __future__ import annotations

import codecs

import pytest

from service.config.file import load, parse
from service.config.model import LARGEST_GRAPH_BYTES
from service.errors import ConfigurationError
from service.graph.check import MAX_BYTES
from service.learner.specification import learning_configuration
from tests.serving import PRESS


def text(*, model: str = "", span: str = "[-20, 150]") -> str:
    made = PRESS.format(store="'s'", log="'l'", top="", model=model)
    return made.replace("[-20, 150]", span)


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("range", {"span": "[0, 1e40]"}),
        ("range", {"span": "[-1e39, 1e39]"}),
        ("range", {"span": "[-1.7e308, 1.7e308]"}),
        ("range", {"span": "[0, 1e-50]"}),
        ("range", {"span": "[1e9, 1000000001]"}),
        ("range", {"span": "[nan, 1]"}),
        ("range", {"span": "[5, 5]"}),
        ("hidden", {"model": "", "hidden": "[4096, 4096]"}),
        ("seed", {"model": f"seed = {2**64}"}),
        ("step_size", {"model": "step_size = 1e39"}),
        ("step_size", {"model": 'feedback_rule = "kolen_pollack"\nstep_size = 1000'}),
        ("step_size", {"model": "step_size = inf"}),
        ("decay", {"model": 'feedback_rule = "kolen_pollack"\nstep_size = 10.0\ndecay = 1.0'}),
        ("members", {"model": 'members = ["gain", "gain"]'}),
        ("members", {"model": 'members = ["plain", "gain"]'}),
        ("members", {"model": "members = []"}),
        ("optimiser", {"model": 'members = ["gain", "sgd"]\noptimiser = "adam"'}),
        ("hidden", {"model": "", "hidden": "[2048]"}),
        ("hidden", {"model": 'optimiser = "gain"', "hidden": "[2048]"}),
        ("class_weights", {"model": "class_weights = [1.0]"}),
        ("class_weights", {"model": "class_weights = [1.0, 0.0]"}),
        ("label_smoothing", {"model": "label_smoothing = 1.0"}),
    ],
)
def test_what_cannot_be_stable_or_stored_is_refused_by_its_key(key, given, tmp_path):
    hidden = given.pop("hidden", "[8, 6]")
    path = tmp_path / "apical.toml"
    path.write_text(text(**given).replace("[8, 6]", hidden))
    with pytest.raises(ConfigurationError) as refused:
        load(path)
    assert str(path) in str(refused.value)
    assert key in str(refused.value)
    assert "found" in str(refused.value)


def test_a_range_that_float32_resolves_is_accepted():
    for span in ("[1e6, 1000100]", "[-1e38, 1e38]", "[0, 1e-20]"):
        assert parse(text(span=span)).models[0].features[0].range[1] > 0


def test_the_largest_network_is_what_replicas_accept():
    assert LARGEST_GRAPH_BYTES == MAX_BYTES


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_utf8_is_read_with_and_without_a_byte_order_mark(mark, tmp_path):
    path = tmp_path / "apical.toml"
    path.write_bytes(mark + text().encode())
    assert load(path).models[0].features[0].unit == "°C"


@pytest.mark.parametrize(
    ("encoding", "found"), [("latin-1", "byte 0xb0 in line"), ("utf-16", "UTF-16")]
)
def test_another_encoding_is_one_sentence(encoding, found, tmp_path):
    path = tmp_path / "apical.toml"
    path.write_bytes(text().encode(encoding))
    with pytest.raises(ConfigurationError, match=f"expected a file in UTF-8, found {found}"):
        load(path)


@pytest.mark.parametrize(
    ("model", "names", "step_size"),
    [
        ("", ("gain", "sgd", "linear"), 1.0),
        ('members = ["gain"]', ("gain",), 1.0),
        ('members = ["gain"]\nstep_size = 2.0', ("gain",), 2.0),
        # What a file could say before there were members keeps its meaning.
        ("step_size = 0.1", ("plain",), 0.1),
        ('optimiser = "adam"', ("plain",), 0.05),
    ],
)
def test_what_a_new_model_is_made_of(model, names, step_size):
    (made,) = parse(text(model=model)).models
    configuration = learning_configuration(made)
    assert tuple(network.name for network in configuration.networks) == names
    assert configuration.step_size == step_size
