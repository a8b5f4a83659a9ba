"""A category that cannot be is refused where it is read, by key, expected and found."""

from __future__ import annotations

import json

import pytest

from service.config.file import parse
from service.errors import ConfigurationError
from tests.categories.alloys import WRITTEN, casting

GOOD = 'values = ["AlSi9", "AlSi12", "鋼"]'
TEXT = WRITTEN.format(store="'s'", log="'l'", top="", model="", alloy="")


def many(count, start=0):
    return "values = " + json.dumps([f"v{k}" for k in range(start, start + count)])


def test_it_says_kind_values_and_no_range(tmp_path):
    (model,) = casting(tmp_path).models
    temp, alloy, _ = model.features
    assert (temp.kind, temp.values, temp.bounds) == ("number", (), (600, 800))
    assert (alloy.kind, alloy.range, alloy.bounds) == ("category", None, (0, 2))
    assert model.values == (0, 3, 0)
    for count in (2, 64):
        assert parse(TEXT.replace(GOOD, many(count))).models[0].values == (0, count, 0)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "values: expected 2 to 64 texts of a category, found 0"),
        ('values = ["A"]', "values: expected 2 to 64 texts of a category, found 1"),
        (many(65), "values: expected 2 to 64 texts of a category, found 65"),
        ('values = ["A", "B", "A"]', "values: expected distinct texts, found ['A'] twice"),
        ('values = ["A", ""]', "values.1: String should have at least 1 character, found ''"),
        ('values = ["A", 3]', "values.1: Input should be a valid string, found 3"),
        (f"{GOOD}\nrange = [0, 1]", "range: expected none of a category, which has values"),
        (f'{GOOD}\nout_of_range = "clip"', 'expected "missing" or "reject" of a category'),
    ],
)
def test_values_that_are_none_are_refused(written, told):
    with pytest.raises(ConfigurationError) as said:
        parse(TEXT.replace(GOOD, written))
    assert "models.0.features.1" in str(said.value)
    assert told in str(said.value)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("range = [0, 10]", "", "range: expected [low, high], found none"),
        ("range = [0, 10]", f"range = [0, 10]\n{GOOD}", 'values: expected them with kind = "cat'),
        ('kind = "category"', 'kind = "text"', "Input should be 'number' or 'category'"),
    ],
)
def test_a_number_has_a_range_and_no_values(before, after, told):
    with pytest.raises(ConfigurationError) as said:
        parse(TEXT.replace(before, after))
    assert told in str(said.value)


def test_all_values_together_are_bounded():
    more = "".join(
        f'[[models.features]]\nname = "c{k}"\nkind = "category"\n{many(64)}\n' for k in range(16)
    )
    with pytest.raises(ConfigurationError, match=r"at most 1024 values of all.*found 1027"):
        parse(TEXT + more)
