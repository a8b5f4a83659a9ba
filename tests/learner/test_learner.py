"""The learner as a process would run it: cadence, restart, groups, configuration changes."""

from __future__ import annotations

import threading
import time

import pytest

from clients import Client, TryAgain
from service.config.file import parse
from service.errors import ConfigurationError
from service.state import same
from tests.line import teach, wait_for
from tests.serving import label, press, row, serving


def test_a_clean_restart_goes_on_with_the_same_state_score_and_snapshot(tmp_path):
    configuration = press(tmp_path)
    with serving(configuration) as running:
        teach(running.client, 0, 40)
        before = running.learner.models["press"].published
        score = running.client.model("press").prequential
    with serving(configuration) as running:
        live = running.learner.models["press"]
        assert same(live.published, before)
        assert running.client.model("press").prequential == score
        assert live.snapshot == 2
        manifest = running.learner.store.manifest("press", 2)
        assert (manifest["cause"], manifest["seq"], manifest["parent"]) == ("shutdown", 40, 1)
        teach(running.client, 40, 1)
        assert live.published.seq == 41


def test_a_restart_without_new_events_takes_no_new_snapshot(tmp_path):
    configuration = press(tmp_path)
    for _ in range(3):
        with serving(configuration) as running:
            assert [s.version for s in running.client.snapshots("press")] == [1]


def test_snapshots_come_every_n_updates(tmp_path):
    with serving(press(tmp_path, model="snapshot_every_updates = 10")) as running:
        for start in range(0, 30, 10):
            teach(running.client, start, 10)
            version = 2 + start // 10
            wait_for(lambda v=version: running.learner.models["press"].snapshot == v)
        seqs = [s.seq for s in running.client.snapshots("press")]
        assert seqs == [0, 10, 20, 30]


def test_snapshots_come_every_t_seconds_while_there_is_something_new(tmp_path):
    configuration = press(tmp_path)
    spec = configuration.models[0].model_copy(update={"snapshot_every_s": 0.05})
    configuration = configuration.model_copy(update={"models": (spec,)})
    with serving(configuration) as running:
        time.sleep(0.3)
        assert running.learner.models["press"].snapshot == 1
        teach(running.client, 0, 1)
        wait_for(lambda: running.learner.models["press"].snapshot == 2)


def test_each_new_snapshot_becomes_champion_at_once_or_waits_for_a_person(tmp_path):
    for promotion, expected in (("immediate", (2, None)), ("manual", (1, 2))):
        folder = tmp_path / promotion
        with serving(press(folder, model=f'promotion = "{promotion}"')) as running:
            teach(running.client, 0, 3)
            running.client.snapshot("press")
            store = running.learner.store
            candidate = store.alias("press", "candidate")
            champion = store.alias("press", "champion")
            found = (
                champion.version if champion else None,
                candidate.version if candidate else None,
            )
            assert found == expected


def test_concurrent_lines_each_teach_exactly_once_in_one_order(tmp_path):
    with serving(press(tmp_path)) as running:
        answers: list[int] = []

        def line(offset: int) -> None:
            with Client(running.url) as client:
                answers.extend(
                    client.learn("press", [row(i)], [label(i)]).seq
                    for i in range(offset, offset + 25)
                )

        threads = [threading.Thread(target=line, args=(n * 25,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == list(range(150))
        info = running.client.model("press")
        assert (info.seq, info.raw["updates"]) == (150, 150)
        assert info.prequential["overall"]["rows"] == 150


def test_a_changed_step_size_is_an_event_any_other_change_is_refused(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running.client, 0, 5)
    with serving(press(tmp_path, model="step_size = 0.2\nsnapshot_every_updates = 7")) as running:
        info = running.client.model("press").raw
        assert (info["step_size"], info["seq"]) == (0.2, 6)
    with serving(press(tmp_path, model="step_size = 0.2")) as running:
        assert running.client.model("press").seq == 6
    with (
        pytest.raises(ConfigurationError, match=r"members: stored .*'gain'.*, configured ..plain"),
        serving(press(tmp_path, model='feedback_rule = "hebbian"')),
    ):
        pass


def test_a_full_queue_is_429_with_retry_after_and_nothing_happened(tmp_path):
    configuration = press(tmp_path, top="[limits]\nqueued_events = 2\n")
    with serving(configuration) as running:
        learner = running.learner
        gate, held = threading.Event(), threading.Event()
        commit = learner.events.commit

        def slow(*args):
            held.set()
            gate.wait(20)
            commit(*args)

        learner.events.commit = slow  # a disk that takes its time
        outcomes: list[object] = []

        def send(index: int) -> None:
            with Client(running.url) as client:
                try:
                    outcomes.append(client.learn("press", [row(index)], [label(index)]).seq)
                except TryAgain as error:
                    outcomes.append((error.status, error.retry_after_s))

        threads = [threading.Thread(target=send, args=(0,))]
        threads[0].start()
        held.wait(20)
        for index in range(1, 8):
            threads.append(threading.Thread(target=send, args=(index,)))
            threads[-1].start()
        wait_for(lambda: len(outcomes) == 5)
        assert outcomes == [(429, 1.0)] * 5
        # Reads go on meanwhile.
        assert running.client.predict("press", [row(0)]).seq == 0
        gate.set()
        for thread in threads:
            thread.join()
        learner.events.commit = commit
        assert sorted(outcomes[5:]) == [0, 1, 2]
        assert running.client.model("press").seq == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"models: Field required"),
        ("[[models]]\nname = 1", r"models.0.name: .*string.*, found 1"),
        ("x = [", "expected TOML, found"),
        ("[server]\nprot = 1\n", r"\[server\] has no key prot; did you mean port"),
    ],
)
def test_a_wrong_configuration_names_the_key_and_what_was_found(text, message):
    with pytest.raises(ConfigurationError, match=message):
        parse(text)


def test_ranges_and_names_are_checked():
    text = """
[[models]]
name = "m"
classes = ["a", "a"]
[[models.features]]
name = "t"
range = [5, 5]
"""
    with pytest.raises(ConfigurationError, match=r"low < high"):
        parse(text)
    with pytest.raises(ConfigurationError, match=r"distinct names, found \['a'\] twice"):
        parse(text.replace("[5, 5]", "[4, 5]"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_is_durable_is_answered_though_the_writer_dies_of_counting_it(tmp_path, monkeypatch):
    with serving(press(tmp_path)) as running:
        teach(running.client, 0, 3)
        ended = []
        running.learner.on_fatal = ended.append

        def finish(waiting, taken):
            raise ArithmeticError("counted wrong")

        monkeypatch.setattr(running.learner.duties, "finish", finish)
        said = running.client.learn("press", rows=[row(3)], labels=[label(3)])
        assert said.learned == [True]
        wait_for(lambda: ended)
        assert isinstance(ended[0], ArithmeticError)
        with pytest.raises(TryAgain):
            running.client.learn("press", rows=[row(4)], labels=[label(4)])
    with serving(press(tmp_path)) as running:
        assert running.learner.models["press"].published.seq == 4
