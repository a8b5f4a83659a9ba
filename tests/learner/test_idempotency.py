"""`batch_id` as an idempotency key, and labels that arrive later, in any order."""

from __future__ import annotations

import time

import httpx
import numpy as np
import pytest

from clients import LabelsRefused, Rejected
from service.history.lessons import Lesson
from tests.serving import press, row, serving

ROWS = [row(1), row(2), row(3)]


@pytest.fixture
def running(tmp_path):
    with serving(press(tmp_path)) as running:
        yield running


def post(running, **body):
    return httpx.post(f"{running.url}/v1/models/press/batches", json=body)


def late(running, **body):
    return httpx.post(f"{running.url}/v1/models/press/labels", json=body)


def seq(running):
    return running.client.model("press").seq


def test_a_labelled_batch_sent_again_gets_the_same_bytes_and_teaches_once(running):
    body = {"rows": ROWS, "labels": ["ok", None, "worn"], "batch_id": "b"}
    first = post(running, **body)
    running.client.learn("press", [row(9)], ["ok"])
    again = post(running, **body)
    assert again.content == first.content
    assert seq(running) == 2
    assert running.client.model("press").prequential["overall"]["rows"] == 3


def test_a_prediction_with_an_id_is_remembered_but_is_no_event(running):
    first = post(running, rows=ROWS, batch_id="b")
    running.client.learn("press", [row(9)], ["ok"])
    assert post(running, rows=ROWS, batch_id="b").content == first.content
    assert seq(running) == 1


def test_replies_are_remembered_across_a_restart(tmp_path):
    with serving(press(tmp_path)) as running:
        labelled = post(running, rows=ROWS, labels=["ok"] * 3, batch_id="a").content
        plain = post(running, rows=ROWS, batch_id="b").content
    with serving(press(tmp_path)) as running:
        assert post(running, rows=ROWS, labels=["ok"] * 3, batch_id="a").content == labelled
        assert post(running, rows=ROWS, batch_id="b").content == plain
        assert (
            late(running, batch_id="b", labels=["ok", "ok", "ok"]).json()["learned"] == [True] * 3
        )
        assert seq(running) == 2


def test_the_same_id_with_other_rows_is_409_and_changes_nothing(running):
    post(running, rows=ROWS, labels=["ok"] * 3, batch_id="b")
    reply = post(running, rows=[row(7)], labels=["ok"], batch_id="b")
    assert reply.status_code == 409
    assert (
        "expected the rows that were sent with it at first (3 rows), found 1"
        in (reply.json()["detail"])
    )
    assert late(running, batch_id="b", labels=["ok"], rows=[row(7)]).status_code == 409
    assert seq(running) == 1


def test_first_without_then_with_labels_is_a_late_label_with_the_predictions_of_then(running):
    first = running.client.predict("press", ROWS, batch_id="b")
    running.client.learn("press", [row(9)] * 4, ["worn"] * 4)
    labelled = running.client.learn("press", ROWS, ["ok", None, "worn"], batch_id="b")
    assert labelled.probabilities == first.probabilities
    assert labelled.seq == first.seq
    assert labelled.learned == [True, False, True]
    again = running.client.learn("press", ROWS, ["ok", None, "worn"], batch_id="b")
    assert again == labelled
    assert running.client.predict("press", ROWS, batch_id="b") == first
    assert seq(running) == 2


def test_late_labels_come_in_any_order_and_are_scored_against_the_prediction_made_then(running):
    for name in ("a", "b"):
        running.client.predict("press", ROWS, batch_id=name)
    earlier = np.array(running.client.predict("press", ROWS).probabilities, np.float32)
    for index in range(50):
        running.client.learn("press", [row(index)], ["worn"])
    scored = running.client.model("press").prequential["overall"]["rows"]
    assert running.client.label("press", "b", [None, "ok", None]).outcomes == [
        "unlabelled",
        "learned",
        "unlabelled",
    ]
    assert running.client.label("press", "a", ["ok", "ok", "worn"]).outcomes == ["learned"] * 3
    assert running.client.label("press", "b", ["worn", "ok", "ok"]).outcomes == [
        "learned",
        "known",
        "learned",
    ]
    assert running.client.model("press").prequential["overall"]["rows"] == scored + 6
    record = list(running.learner.events.events("press"))[-2]
    lesson = Lesson.from_bytes(record.payload)
    assert (record.kind, record.batch_id) == ("late", "a")
    np.testing.assert_array_equal(lesson.earlier, earlier)
    np.testing.assert_array_equal(
        lesson.rows[:, 0], np.array([r["temp"] for r in ROWS], np.float32)
    )


def test_a_label_that_contradicts_is_refused_per_row_unless_relabelling_is_asked_for(running):
    running.client.learn("press", ROWS, ["ok", "worn", None], batch_id="b")
    answer = running.client.label("press", "b", ["worn", "worn", "ok"])
    assert answer.outcomes == ["contradicts", "known", "learned"]
    assert answer.learned == [False, False, True]
    before = seq(running)
    relabelled = running.client.label("press", "b", ["worn", None, None], relabel=True)
    assert relabelled.outcomes == ["relabelled", "unlabelled", "unlabelled"]
    assert seq(running) == before + 1
    again = running.client.label("press", "b", ["worn", None, None], relabel=True)
    assert again == relabelled
    assert seq(running) == before + 1
    # And back: what was said before is no retry of what holds now.
    assert running.client.label("press", "b", ["ok", None, None], relabel=True).outcomes[0] == (
        "relabelled"
    )
    assert running.client.label("press", "b", ["worn", None, None], relabel=True).outcomes[0] == (
        "relabelled"
    )


def test_labels_of_an_unknown_batch_are_said_to_be_unknown(running):
    with pytest.raises(LabelsRefused) as refused:
        running.client.label("press", "nobody", ["ok", None])
    answer = refused.value.answer
    assert (answer.outcomes, answer.learned) == (["unknown", "unlabelled"], [False, False])
    assert seq(running) == 0


def test_rows_sent_along_teach_what_a_replica_answered(running):
    answer = running.client.label("press", "replica-1", ["ok", "worn", None], rows=ROWS)
    assert answer.outcomes == ["learned", "learned", "unlabelled"]
    again = running.client.label("press", "replica-1", ["ok", "worn", None], rows=ROWS)
    assert again == answer
    assert running.client.label("press", "replica-1", [None, None, "ok"]).outcomes[2] == "learned"
    assert seq(running) == 2
    record = next(iter(running.learner.events.events("press")))
    assert Lesson.from_bytes(record.payload).earlier is None


def test_a_labelled_batch_after_its_own_labels_is_answered_with_predictions(running):
    running.client.label("press", "r", ["ok", None, None], rows=ROWS)
    answer = running.client.learn("press", ROWS, ["ok", "worn", None], batch_id="r")
    assert len(answer.probabilities) == 3
    assert answer.outcomes == ["known", "learned", "unlabelled"]
    assert running.client.predict("press", ROWS, batch_id="r").probabilities == (
        answer.probabilities
    )
    assert seq(running) == 2


def test_after_the_horizon_labels_are_too_late_and_the_id_may_be_used_again(tmp_path):
    top = f"[limits]\nidempotency_days = {0.5 / 86400}\n"
    with serving(press(tmp_path, top=top)) as running:
        running.client.learn("press", ROWS, ["ok", None, None], batch_id="b")
        time.sleep(0.6)
        with pytest.raises(LabelsRefused) as late:
            running.client.label("press", "b", [None, "ok", None])
        assert late.value.answer.outcomes == ["unlabelled", "too_late", "unlabelled"]
        old = "2020-01-01T00:00:00Z"
        with pytest.raises(LabelsRefused, match="too late"):
            running.client.label("press", "c", ["ok"], rows=ROWS[:1], observed_at=old)
        assert seq(running) == 1
        assert running.client.learn("press", [row(8)], ["ok"], batch_id="b").learned == [True]


def test_a_label_count_that_does_not_fit_the_batch_is_refused(running):
    running.client.predict("press", ROWS, batch_id="b")
    with pytest.raises(Rejected, match="expected 3 labels, one per row of batch 'b', found 2"):
        running.client.label("press", "b", ["ok", "ok"])
    with pytest.raises(Rejected, match="expected at least one label that is not null"):
        running.client.label("press", "b", [None, None, None])
    reply = late(running, labels=["ok"])
    assert reply.json()["faults"][0]["field"] == "batch_id"


def test_retries_within_one_commit_group_teach_once(tmp_path):
    import threading

    with serving(press(tmp_path)) as running:
        replies = []

        def send():
            replies.append(post(running, rows=ROWS, labels=["ok"] * 3, batch_id="b").content)

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(replies)) == 1
        assert seq(running) == 1


def test_labels_that_come_row_by_row_cost_what_is_sent(tmp_path):
    rows = [row(index) for index in range(300)]
    with serving(press(tmp_path)) as running:
        running.client.predict("press", rows, batch_id="slow")
        stored = len(running.learner.events.batch("press", "slow").reply)
        answers = {}
        for index in range(60):
            labels = [None] * 300
            labels[index] = "ok"
            answers[index] = running.client.label("press", "slow", labels)
        grown = len(running.learner.events.batch("press", "slow").reply) - stored
        assert grown < 60 * 150
        for index in (0, 31, 59):
            labels = [None] * 300
            labels[index] = "ok"
            again = running.client.label("press", "slow", labels)
            assert again == answers[index]
            assert again.outcomes[index] == "learned"
            assert again.learned.count(True) == 1
        assert seq(running) == 60
