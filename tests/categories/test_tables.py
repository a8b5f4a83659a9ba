"""A column of texts that come again is a category; from the file to a score that it alone makes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clients import Client
from service.config.file import parse
from service.hosting.process import ServerProcess
from service.tables.described import describe
from service.tables.reading import read
from service.tables.sending import sendable
from service.tables.written import toml
from tests.cli.test_init_and_send import apical

LABELS = ("ok", "worn")


def table(tmp_path, cells, rows=400, seed=0):
    """A file of one number that says nothing, one column of texts, and a label that is noise."""
    rng = np.random.default_rng(seed)
    lines = ["temp,text,state"]
    lines += [f"{rng.normal():.3f},{cells(k)},{LABELS[rng.integers(2)]}" for k in range(rows)]
    path = tmp_path / "line.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return read(path)


def described(file):
    found = describe(file, "state")
    return found, parse(toml("line.csv", "line", found)).models[0]


def test_a_text_of_few_values_that_come_again_is_a_category(tmp_path):
    file = table(tmp_path, lambda k: ("AlSi9", "鋼 #2", 'x "y"')[k * 7 % 3])
    found, model = described(file)
    assert [(f.name, f.kind, f.values) for f in model.features] == [
        ("temp", "number", ()),
        ("text", "category", ("AlSi9", 'x "y"', "鋼 #2")),
    ]
    assert "AlSi9: 134 rows" in toml("line.csv", "line", found)
    sent = sendable(file, "state", ["text"], LABELS, None, {"text": model.features[1].values})
    assert sent.columns["text"] == file.column("text")
    assert sent.doubts == []


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (lambda k: f"P{k:05d}", "text, such as 'P00000', and most of it does not come again"),
        (lambda k: f"lot {k // 40}", "text, such as 'lot 0', and most of it does not come again"),
        (lambda k: f"seen by {k % 90}", "and most of it does not come again"),
        (lambda k: f"v{k % 40}", "text, such as 'v0', of more than 32 values"),
        (lambda k: "x" * 200 + str(k % 3), "and most of it does not come again"),
        (lambda k: "line 3", "always 'line 3'"),
        (lambda k: "" if k % 3 else "-", "empty"),
    ],
    ids=["parts", "lots in blocks", "free text", "many", "long", "constant", "nothing"],
)
def test_what_does_not_come_again_is_left_out_with_why(tmp_path, cells, why):
    found, model = described(table(tmp_path, cells))
    assert [f.name for f in model.features] == ["temp"]
    assert why in found.left_out["text"]


def test_rare_values_and_empty_cells_are_missing_and_bad_may_be_a_value(tmp_path):
    def cells(k):
        if k % 50 == 7:
            return ("", "typo")[k // 50 % 2]
        return ("good", "bad")[k * 7 % 3 % 2]

    file = table(tmp_path, cells)
    found, model = described(file)
    assert model.features[1].values == ("bad", "good")
    assert "text: 4 cells are none of the values that come again, and count as missing" in (
        found.warnings
    )
    assert int(np.isnan(found.sensors[1].numbers.values).sum()) == 8
    sent = sendable(file, "state", ["text"], LABELS, None, {"text": ("bad", "good")})
    assert sent.columns["text"][7] is None
    assert sent.columns["text"][57] == "typo"
    assert sent.doubts == ["text: ['typo'] are none of its values, and count as missing"]


def test_a_text_that_is_the_label_in_other_words_is_left_out(tmp_path):
    lines = ["temp,text,state"]
    rng = np.random.default_rng(0)
    for _ in range(300):
        at = rng.integers(2)
        lines.append(f"{rng.normal():.3f},{('gut', 'schlecht')[at]},{LABELS[at]}")
    (tmp_path / "line.csv").write_text("\n".join(lines), "utf-8")
    found, model = described(read(tmp_path / "line.csv"))
    assert [f.name for f in model.features] == ["temp"]
    assert found.left_out["text"] == "it is the label itself in other words"


def test_codes_in_numbers_stay_numbers(tmp_path):
    _, model = described(table(tmp_path, lambda k: k * 7 % 5))
    assert [f.kind for f in model.features] == ["number", "number"]


def cast_file(folder, rows=3000):
    """Only the alloy tells what goes bad, and not always; the last rows name a new one."""
    rng = np.random.default_rng(0)
    lines = ["温度,材料,part,判定"]
    for k in range(rows):
        alloy = ("A", "B", "鋼", "D")[rng.integers(4)]
        bad = (alloy in ("B", "D")) != (rng.random() < 0.03)
        said = "new" if k >= rows - 20 else alloy
        lines.append(f"{650 + rng.normal() * 10:.1f},{said},P{k:05d},{'NG' if bad else 'OK'}")
    (folder / "cast.csv").write_text("\n".join(lines), "cp932")


def test_a_file_in_another_script_gives_the_model_its_display_name(tmp_path):
    cast_file(tmp_path, 200)
    (tmp_path / "cast.csv").rename(tmp_path / "プレス 3号.csv")
    apical(tmp_path, "init", "プレス 3号.csv", "--target", "判定")
    (model,) = parse((tmp_path / "apical.toml").read_text("utf-8")).models
    assert (model.name, model.display_name) == ("3", "プレス 3号")
    apical(
        tmp_path, "init", "プレス 3号.csv", "--target", "判定", "--model", "p", "--out", "p.toml"
    )
    (model,) = parse((tmp_path / "p.toml").read_text("utf-8")).models
    assert (model.name, model.display_name) == ("p", None)


def test_from_a_file_to_the_score_by_three_commands(tmp_path):
    cast_file(tmp_path)
    said = apical(tmp_path, "init", "cast.csv", "--target", "判定")
    assert "category: 材料: A: " in said
    assert "left out: part: it is text, such as 'P00000'" in said
    config = tmp_path / "apical.toml"
    config.write_text(config.read_text("utf-8").replace('"apical-data/', f'"{tmp_path}/data/'))
    with ServerProcess(["serve", "--config", str(config)], tmp_path / "stderr") as server:
        server.wait_ready()
        send = ["send", "cast.csv", "--target", "判定", "--url", server.url]
        found = json.loads(apical(tmp_path, *send, "--json"))
        assert found["rows"] == 3000
        assert found["accuracy"] > 0.93
        assert found["majority_accuracy"] < 0.55
        with Client(server.url) as client:
            row = {"温度": 650.0, "材料": "new"}
            assert client.predict("cast", [row]).replaced == {"out_of_range": {"材料": 1}}
            said = client.predict("cast", [{**row, "材料": v} for v in ("A", "B", "鋼", "D")])
            assert said.predictions == ["OK", "NG", "OK", "NG"]
