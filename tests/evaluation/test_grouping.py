"""One alarm for one change, and not one too few."""

from __future__ import annotations

from service.evaluation.grouping import GROUPED_ROWS, REMINDED_ROWS, Grouping


def test_a_change_is_told_once_and_the_next_one_too():
    told = Grouping()
    assert told.is_news(1, 500)
    # The same champion, and the one that was promoted amid the change.
    assert not told.is_news(1, 900)
    assert not told.is_news(2, 500 + GROUPED_ROWS - 1)
    # Another change, which left the new champion behind.
    assert told.is_news(2, 500 + GROUPED_ROWS)
    assert not told.is_news(2, 500 + 2 * GROUPED_ROWS)


def test_a_champion_that_nobody_replaces_is_spoken_of_again():
    told = Grouping()
    assert told.is_news(1, 0)
    assert not told.is_news(1, REMINDED_ROWS - 1)
    assert told.is_news(1, REMINDED_ROWS)
