"""What a selection of lessons may be, and how it is looked up."""

from __future__ import annotations

import httpx
import pytest

from model_store.log.log import Record
from service.rebase.selection import Exclusion, Selection, among, merged
from tests.line import teach
from tests.serving import press, serving


def test_ranges_are_merged():
    assert merged([(5, 9), (1, 2), (3, 4), (8, 12), (20, 20)]) == ((1, 12), (20, 20))
    assert merged([]) == ()


def test_among_is_what_any_of_them_says():
    ranges = merged([(3, 5), (9, 9), (12, 40)])
    for seq in range(50):
        assert among(ranges, seq) == any(a <= seq <= b for a, b in ranges)


class Looks(tuple):
    """Ranges that count how often one of them is looked at."""

    looks = 0

    def __getitem__(self, at):
        Looks.looks += 1
        return super().__getitem__(at)


def test_a_hundred_thousand_ranges_cost_a_few_looks_an_event():
    ranges = Looks((2 * i, 2 * i) for i in range(1, 100_000))
    Looks.looks = 0
    for seq in range(1000, 1100):
        assert among(ranges, seq) == (seq % 2 == 0)
    assert Looks.looks < 100 * 25


def test_a_selection_comes_back_from_its_event():
    selection = Selection(without=((1, 2), (5, 9)), batch_ids=frozenset("ab"), lines=frozenset("x"))
    assert Selection.from_json(selection.to_json()) == selection


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"without": [[i, i] for i in range(1, 12_000)]}, "at most 10000 ranges"),
        ({"batch_ids": [f"b{i}" for i in range(300_001)]}, "at most 10000 of them"),
        ({"lines": [f"l{i}" for i in range(10_001)]}, "at most 10000 of them"),
    ],
)
def test_a_selection_is_bounded(tmp_path, body, expected):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 2)
        said = httpx.post(
            f"{running.url}/v1/models/press/rebase", json={**body, "reason": "x"}, timeout=60
        )
        assert said.status_code == 422
        assert expected in said.json()["detail"]
        assert running.client.model("press").seq == 2


def test_a_rebase_that_leaves_out_every_other_lesson_ends_and_the_next_start_reads_its_trail(
    tmp_path,
):
    with serving(press(tmp_path)) as running:
        for index in range(400):
            line = "odd" if index % 2 else "even"
            running.client.learn("press", [{"temp": index % 90}], ["ok"], line=line)
        running.client.verb("press", "rebase", lines=["odd"], reason="x")
        latest = running.learner.rebasings.latest("press")
        latest.join()
        assert latest.status()["state"] == "done"
        entry = running.client.ask("press", "audit")["entries"][-1]
        assert entry["details"]["excluded"]["items"] == 200
        assert len(entry["details"]["excluded"]["first"]) == 100
        assert running.client.ask("press", "verify")["problems"] == []
    with serving(press(tmp_path)) as running:
        assert running.learner.models["press"].published.steps == 200
        record = next(r for r in running.learner.events.naming("press") if r.kind == "rebase")
        assert isinstance(record, Record)
        assert Exclusion(Selection(), record.seq).ranges == []
