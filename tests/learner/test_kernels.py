"""Who computes is part of the order of events: each stretch is replayed by its own kernel."""

from __future__ import annotations

from service.history.replay import replay
from service.publishing.taking import load_state
from service.state import same
from tests.kernel import KERNEL
from tests.line import teach, trail
from tests.serving import IMMEDIATE, press, serving


def state_of(running):
    return running.learner.models["press"].published


def test_a_change_of_kernel_is_an_event_and_every_stretch_replays_by_its_own(tmp_path):
    with serving(press(tmp_path, model=IMMEDIATE + 'kernel = "torch"')) as running:
        teach(running, 0, 10)
        running.client.snapshot("press")
        teach(running, 10, 5)
        assert state_of(running).kernel == "torch"
    with serving(press(tmp_path, model=IMMEDIATE + 'kernel = "onnx"')) as running:
        assert (state_of(running).kernel, state_of(running).seq) == ("onnx", 16)
        deed = trail(running)[-1]
        assert (deed["actor"], deed["verb"]) == ("configuration", "kernel")
        teach(running, 15, 10)
        # What a rollback brings back are tensors; who computes stays.
        running.client.rollback("press", 2, reason="to see it")
        assert state_of(running).kernel == "onnx"
        teach(running, 25, 5)
        live, learner = state_of(running), running.learner
        for version in (1, 2):
            born = load_state(learner.store, "press", version)
            assert born.kernel == "torch"
            events = learner.events.events("press", after=born.seq)
            again = replay(
                KERNEL, born, events, lambda model, number: load_state(learner.store, model, number)
            )
            assert same(again, live)
    # A file that does not say: as it was.
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        assert same(state_of(running), live)


def test_a_new_model_is_run_by_onnxruntime_and_proved_by_torch(tmp_path):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        assert state_of(running).kernel == "onnx"
        teach(running, 0, 10)
        manifest = running.client.ask(
            "press", f"snapshots/{running.client.snapshot('press').version}"
        )
        assert manifest["parity"]["max_abs_diff"] < 1e-5
