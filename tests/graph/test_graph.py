"""Graphs that a replica must not load: each is refused by name, before onnxruntime sees it."""

from __future__ import annotations

import random
import re

import pytest

from service.graph.check import IR_VERSION as IR_ACCEPTED
from service.graph.check import (
    MAX_BYTES,
    GraphRefused,
    check_graph,
)
from service.graph.check import OPSET as OPSET_ACCEPTED
from service.graph.nodes import IR_VERSION, OPSET
from tests.graph.attacks import ATTACKS, crafted, exported, schema


@pytest.mark.parametrize(
    ("sensors", "classes", "hidden"),
    [(1, 2, ()), (2, 2, (8, 6)), (40, 7, (64,)), (4096, 3, (2,)), (3, 1024, (1,) * 16)],
)
def test_what_we_export_passes(sensors, classes, hidden):
    check_graph(exported(sensors, classes, hidden), schema(sensors, classes))


def test_the_versions_accepted_are_those_of_the_export():
    assert (IR_ACCEPTED, OPSET_ACCEPTED) == (IR_VERSION, OPSET)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_crafted_graph_is_refused_by_name(name):
    data, match = crafted(name, exported())
    with pytest.raises(GraphRefused) as refused:
        check_graph(data, schema())
    assert re.search(match, str(refused.value))
    assert len(str(refused.value)) < 1000


GRAPH_TAG = b"\x3a"


@pytest.mark.parametrize(
    ("craft", "match"),
    [
        (lambda data: b"", "IR version and opsets: expected .10.*found .0, "),
        (lambda data: data[:-1], "file: expected a field of"),
        (lambda data: data + b"\x80", "a varint, found 80"),
        (lambda data: data + b"\xff" * 11, "a varint, found ff"),
        (lambda data: data + b"\x0b\x0c", "wire types, found 3"),
        (lambda data: data + b"\xfa\x7f\x02hi", "known fields, each written once, found 5 bytes"),
        (lambda data: data + b"\x08\x0a", "known fields, each written once, found 2 bytes"),
        # Two graphs are merged by one reader, and perhaps not by another.
        (lambda data: data + GRAPH_TAG + b"\x00", "written once, found 2 bytes"),
        (lambda data: data + b"\x00\x00", "file: expected a serialised ONNX model"),
        (lambda data: data.replace(b"centred", b"c\xffntred"), "expected UTF-8, found b"),
        (lambda data: data.replace(b"Tanh", b"T\xffnh"), "one of .*found operator"),
        (lambda data: bytes(MAX_BYTES + 1), f"at most {MAX_BYTES} bytes, found {MAX_BYTES + 1}"),
    ],
)
def test_a_crafted_file_is_refused(craft, match):
    with pytest.raises(GraphRefused, match=match):
        check_graph(craft(exported()), schema())


def test_a_graph_of_another_schema_is_refused():
    with pytest.raises(GraphRefused, match=r"graph\.input.*'batch', 3.*found.*'batch', 2"):
        check_graph(exported(2, 2), schema(3, 2))
    with pytest.raises(GraphRefused, match=r"graph\.output.*'batch', 4.*found.*'batch', 2"):
        check_graph(exported(2, 2), schema(2, 4))


def test_any_damage_passes_or_is_refused_and_never_raises_anything_else():
    data, ours = exported(2, 2, (2,)), schema()
    rng = random.Random(1)
    refused = passed = 0
    for _ in range(4000):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(damaged))
            match rng.randrange(4):
                case 0:
                    damaged[at] = rng.randrange(256)
                case 1:
                    damaged[at] ^= 1 << rng.randrange(8)
                case 2:
                    del damaged[at : at + rng.randrange(1, 9)]
                case _:
                    damaged[at:at] = rng.randbytes(rng.randrange(1, 9))
        try:
            check_graph(bytes(damaged), ours)
            passed += 1
        except GraphRefused:
            refused += 1
    # Damage to a weight leaves a graph that is harmless: the golden rows judge it.
    assert refused > 2000
    assert passed > 50
