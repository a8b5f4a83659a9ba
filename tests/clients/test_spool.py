"""A spool: in order, exactly once, and what cannot be taken is set aside with why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from benchmarks.refusing import refusing
from clients import InvalidInput, Spool, SpoolFull, SpoolLocked
from model_store.log.log import EventLog
from service.access import keys
from service.access.keyring import Keyring
from service.hosting.process import ServerProcess
from tests.line import wait_for
from tests.ports import free_port
from tests.serving import IMMEDIATE, PRESS, label, press, row, serving

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def running(tmp_path):
    with serving(press(tmp_path / "server")) as started:
        yield started


def ids(running):
    return [event.batch_id for event in running.learner.events.events("press")]


def test_batches_and_their_labels_arrive_in_order_and_answers_come_back(tmp_path, running):
    answers = []
    with Spool(tmp_path / "s", running.url, "press", line="L1", on_answer=answers.append) as spool:
        made = [spool.put([row(i)], [label(i)]) for i in range(20)]
        spool.put([row(1), row(2)], batch_id="later")
        spool.label("later", [label(1), None])
        assert spool.flush(30)
        assert spool.status()[:2] == (0, 0)
    assert ids(running) == [*made, "later"]
    assert [a.batch_id for a in answers] == [*made, "later", "later"]
    assert answers[0].answer.learned == [True]
    assert len(answers[-2].answer.predictions) == 2
    assert answers[-1].answer.outcomes == ["learned", "unlabelled"]
    assert {e.line for e in running.learner.events.events("press")} == {"L1"}


def test_what_waits_survives_and_goes_on_in_order(tmp_path, running):
    with Spool(tmp_path / "s", NOWHERE, "press") as spool:
        first = [spool.put(columns={"temp": [1.0], "flow": [k]}, labels=["ok"]) for k in range(5)]
        wait_for(lambda: spool.status().error)
        assert spool.status().waiting == 5
        assert spool.status().oldest_s > 0
        assert spool.last_batch_id == first[-1]
    with Spool(tmp_path / "s", running.url, "press") as spool:
        second = spool.put([row(1)], [label(1)])
        assert spool.flush(30)
        assert spool.status().error is None
    assert ids(running) == [*first, second]


def test_one_id_is_one_batch(tmp_path, running):
    with Spool(tmp_path / "s", running.url, "press") as spool:
        for _ in range(3):
            assert spool.put([row(1)], [label(1)], batch_id="b") == "b"
        assert spool.flush(30)
        spool.put([row(1)], [label(1)], batch_id="b")
        assert spool.flush(30)
    assert ids(running) == ["b"]


def test_what_is_refused_for_good_is_set_aside_and_the_rest_goes_on(tmp_path, running):
    with Spool(tmp_path / "s", running.url, "press") as spool:
        spool.put([{"tmp": 1.0}], ["ok"], batch_id="typo")
        spool.label("nobody", ["ok"])
        spool.put([row(1)], [label(1)], batch_id="good")
        assert spool.flush(30)
        assert spool.status()[:2] == (0, 2)
        typo, nobody = spool.dead()
        assert typo.batch_id == "typo"
        assert typo.body["rows"] == [{"tmp": 1.0}]
        assert "tmp: expected one of the sensors temp, flow" in typo.why
        assert "not known" in nobody.why
        # Somebody sends its rows after all, and has the rest sent again.
        running.client.predict("press", [row(2)], batch_id="nobody")
        assert spool.revive() == 2
        assert spool.flush(30)
        assert [each.batch_id for each in spool.dead()] == ["typo"]
    assert ids(running) == ["good", "nobody"]


def test_rows_that_are_none_are_refused_at_once(tmp_path):
    with Spool(tmp_path / "s", NOWHERE, "press") as spool:
        with pytest.raises(InvalidInput):
            spool.put([{"temp": True}], ["ok"])
        with pytest.raises(InvalidInput):
            spool.put([{"temp": float("inf")}])
        assert spool.status().waiting == 0


def test_a_wrong_key_or_name_waits_until_it_is_put_right(tmp_path):
    path = tmp_path / "keys.json"
    _, secret = keys.add(path, "gateway", "line")
    with serving(press(tmp_path / "server"), keyring=Keyring(path), key=secret) as running:
        with Spool(tmp_path / "s", running.url, "press", key="apical_wrong") as spool:
            spool.put([row(1)], [label(1)], batch_id="b")
            wait_for(lambda: "401" in (spool.status().error or ""))
            assert spool.status()[:2] == (1, 0)
        with Spool(tmp_path / "s", running.url, "press", key=secret) as spool:
            assert spool.flush(30)
        assert ids(running) == ["b"]


def test_a_full_spool_refuses_or_drops_the_oldest_as_it_was_told(tmp_path):
    body = [row(1)] * 10
    with Spool(tmp_path / "r", NOWHERE, "press", most_bytes=2000) as spool:

        def fill():
            for k in range(20):
                spool.put(body, batch_id=f"{k}")

        with pytest.raises(SpoolFull, match="at most 2000 bytes"):
            fill()
        kept = spool.status().waiting
        assert 0 < kept < 20
    with Spool(tmp_path / "d", NOWHERE, "press", most_bytes=2000, when_full="drop_oldest") as spool:
        for k in range(20):
            spool.put(body, batch_id=f"{k}")
        assert spool.status().waiting == kept
        assert spool.status().dropped == 20 - kept
        assert spool.last_batch_id == "19"
    with Spool(tmp_path / "d", NOWHERE, "press", most_bytes=10) as spool:
        with pytest.raises(SpoolFull):
            spool.put(body)
        assert spool.status()[:2] == (kept, 0)


def test_one_process_at_a_time(tmp_path):
    with (
        Spool(tmp_path / "s", NOWHERE, "press"),
        pytest.raises(SpoolLocked, match="another process has it open"),
    ):
        Spool(tmp_path / "s", NOWHERE, "press")
    Spool(tmp_path / "s", NOWHERE, "press").close()


def test_a_callback_that_fails_stops_nothing(tmp_path, running, caplog):
    def fail(delivered):
        raise RuntimeError("the PLC is away")

    with Spool(tmp_path / "s", running.url, "press", on_answer=fail) as spool:
        for k in range(3):
            spool.put([row(k)], [label(k)])
        assert spool.flush(30)
    assert len(ids(running)) == 3
    assert "on_answer failed" in caplog.text


def test_a_server_that_refuses_for_a_while_is_waited_for(tmp_path, running):
    other = free_port()
    with refusing(other), Spool(tmp_path / "s", f"http://127.0.0.1:{other}", "press") as spool:
        spool.put([row(1)], [label(1)], batch_id="b")
        wait_for(lambda: "503" in (spool.status().error or ""))
        assert spool.status()[:2] == (1, 0)
    with Spool(tmp_path / "s", running.url, "press") as spool:
        assert spool.flush(30)
    assert ids(running) == ["b"]


KILLED = """
import sys
from clients import Spool
from tests.serving import label, row
with Spool(sys.argv[1], sys.argv[2], "press") as spool:
    first = int(spool.last_batch_id or -1) + 1
    for k in range(first, 60):
        spool.put([row(k)], [label(k)], batch_id=f"{k:03d}")
        print(k, flush=True)
    spool.flush()
"""


def test_killed_in_the_middle_it_goes_on_behind_what_was_put(tmp_path, running):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "s"), running.url]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    for stop in (10, 30):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for line in process.stdout:
            if int(line) >= stop:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    done = subprocess.run(command, env=environment, timeout=60)
    assert done.returncode == 0
    assert ids(running) == [f"{k:03d}" for k in range(60)]


def test_a_server_killed_while_it_learns_repeats_nothing(tmp_path):
    config = tmp_path / "apical.toml"
    store, log = (repr(str(tmp_path / name)) for name in ("store", "log"))
    config.write_text(PRESS.format(store=store, log=log, top="", model=IMMEDIATE))
    serve = ["serve", "--config", str(config)]
    server = ServerProcess(serve, tmp_path / "stderr")
    server.wait_ready()
    port = int(server.url.rsplit(":", 1)[1])
    got = []
    with Spool(tmp_path / "s", server.url, "press", on_answer=got.append) as spool:
        for k in range(150):
            spool.put([row(k)], [label(k)], batch_id=f"{k:03d}")
        wait_for(lambda: len(got) > 30)
        server.kill()
        time.sleep(0.3)
        with ServerProcess(serve, tmp_path / "stderr", port=port) as again:
            again.wait_ready()
            assert spool.flush(60)
            assert spool.status().dead == 0
    with EventLog.open(tmp_path / "log") as events:
        assert [e.batch_id for e in events.events("press")] == [f"{k:03d}" for k in range(150)]


def test_several_threads_may_put(tmp_path, running):
    with Spool(tmp_path / "s", running.url, "press") as spool:
        threads = [
            threading.Thread(
                target=lambda n=n: [
                    spool.put([row(k)], [label(k)], batch_id=f"{n}-{k}") for k in range(10)
                ]
            )
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert spool.flush(30)
    found = ids(running)
    for n in range(4):
        assert [i for i in found if i.startswith(f"{n}-")] == [f"{n}-{k}" for k in range(10)]


def test_the_client_alone_needs_neither_torch_nor_fastapi():
    code = (
        "import json, sys, clients\n"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"torch", "fastapi", "starlette", "numpy", "onnxruntime", "orjson"}
