"""Who may do what: every route, by every role, with every kind of wrong key."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
import structlog
import tritonclient.http as triton

from clients import Client, Rejected, TryAgain
from model_store.snapshots.store import SnapshotStore
from service.access import keys
from service.access.keyring import Keyring
from service.api.app import create_app
from service.hosting.process import ServerProcess
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.line import teach, wait_for
from tests.serving import IMMEDIATE, PRESS, label, listening, press, row, serving, two

OPEN = """
GET /                        HEAD /openapi.json           GET /openapi.json
GET /docs                    GET /v2/health/live          GET /v2/health/ready
HEAD /v2/health/live         HEAD /v2/health/ready        GET /swagger/swagger-ui.css
"""
READER = """
GET /v1/models                                   GET /v1/models/{model}
GET /v1/models/{model}/snapshots                 GET /v1/models/{model}/snapshots/{version}
GET /v1/models/{model}/drift                     GET /v1/models/{model}/rebase
GET /v1/models/{model}/audit                     GET /v1/models/{model}/live
GET /v1/models/{model}/verify                    GET /metrics
GET /v1/models/{model}/events                    HEAD /v1/models
GET /v1/models/{model}/snapshots/{version}/diff/{other}
GET /v2                                          GET /v2/
GET /v2/models/{model}                           GET /v2/models/{model}/versions/{version}
GET /v2/models/{model}/ready                     GET /v2/models/{model}/versions/{version}/ready
GET /v2/models/{model}/config                    GET /v2/models/{model}/versions/{version}/config
GET /v2/models/{model}/stats                     GET /v2/models/{model}/versions/{version}/stats
GET /v2/models/stats
HEAD /metrics                                    OPTIONS /v1/models
GET /nowhere                                     GET /v1/models/{model}/alarms
"""
LINE = """
POST /v1/models/{model}/batches                  POST /v1/models/{model}/labels
POST /v2/models/{model}/infer                    POST /v2/models/{model}/versions/{version}/infer
POST /v1/ingest/telegraf/{model}
"""
OPERATOR = """
POST /v1/models/{model}/snapshot                 POST /v1/models/{model}/rollback
POST /v1/models/{model}/promote                  POST /v1/models/{model}/freeze
POST /v1/models/{model}/thaw                     POST /v1/models/{model}/quarantine
POST /v1/models/{model}/release                  POST /v1/models/{model}/rebase
POST /v1/models/{model}/rebase/cancel            POST /v1/models/{model}/drift/renew
POST /v1/models/{model}/prune                    POST /v1/models/{model}/snapshots/{version}/keep
POST /nowhere                                    DELETE /v1/models/{model}
PUT /v1/models/{model}                           PATCH /metrics
POST /v1/models/{model}/batches/                 POST /v1/models/{model}/labels/x
POST /docs                                       POST /v2/health/live
POST /v1/models/{model}/acknowledge
"""


def listed(text):
    parts = text.split()
    return list(zip(parts[::2], parts[1::2], strict=True))


TABLE = [
    (method, path, role)
    for role, text in ((None, OPEN), ("reader", READER), ("line", LINE), ("operator", OPERATOR))
    for method, path in listed(text)
]
SHARED = {"/v1/models", "/v2", "/v2/"}


@dataclass
class Guarded:
    """A learner and a replica with keys, all keys by what they are, and what was logged."""

    learner: str
    replica: str
    engine: object
    secrets: dict[str, str]
    logged: list = field(default_factory=list)

    def ask(self, url, method, path, key=None, **headers):
        at = path.format(model="press", version=1, other=1)
        if key is not None:
            headers["authorization"] = f"Bearer {self.secrets.get(key, key)}"
        if method not in ("GET", "HEAD", "OPTIONS"):
            headers.setdefault("content-type", "application/json")
        content = b"" if method in ("GET", "HEAD", "OPTIONS") else b"{}"
        return httpx.request(method, url + at, headers=headers, content=content)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("access")
    path = folder / "keys.json"
    secrets = {role: keys.add(path, role, role)[1] for role in keys.ROLES}
    secrets |= {
        f"{role} of another": keys.add(path, f"{role}-other", role, ("mill",))[1]
        for role in keys.ROLES
    }
    secrets["revoked"] = keys.add(path, "revoked", "operator")[1]
    keys.revoke(path, "revoked")
    secrets["wrong"] = secrets["operator"][:-2] + "__"
    logged = []
    before = structlog.get_config()
    structlog.configure(processors=[lambda _, __, event: logged.append(event) or str(event)])
    with serving(press(folder), keyring=Keyring(path), key=secrets["operator"]) as running:
        replica = Replica(SnapshotStore.open(folder / "store"), (), Metrics(), poll_s=0.02)
        with listening(create_app(replica, keyring=Keyring(path))) as url:
            wait_for(lambda: replica.not_ready is None)
            yield Guarded(running.url, url, running.learner, secrets, logged)
    structlog.configure(**before)


def test_the_table_has_every_route_of_the_document(guarded):
    document = httpx.get(f"{guarded.learner}/openapi.json").json()
    routes = {(m.upper(), path) for path, by in document["paths"].items() for m in by}
    assert routes <= {(method, path) for method, path, _ in TABLE}


@pytest.mark.parametrize(("method", "path", "needed"), TABLE, ids=lambda v: str(v))
@pytest.mark.parametrize("who", ["learner", "replica"])
def test_every_route_by_every_role(guarded, who, method, path, needed):
    url = getattr(guarded, who)
    refused = {}
    for key in (None, "wrong", "revoked"):
        said = guarded.ask(url, method, path, key)
        if needed is None:
            assert said.status_code < 400 or said.status_code == 405
        else:
            assert said.status_code == 401, (key, said.text)
            assert said.headers["www-authenticate"] == "Bearer"
            refused[key] = said.content
    # Whoever has a revoked key learns nothing by it.
    assert refused.get("wrong") == refused.get("revoked")
    for role in keys.ROLES:
        enough = needed is None or keys.ROLES.index(role) >= keys.ROLES.index(needed)
        said = guarded.ask(url, method, path, role)
        assert (said.status_code == 403) is not enough, (role, said.status_code, said.text)
        assert said.status_code not in (401, 500)
        other = guarded.ask(url, method, path, f"{role} of another")
        passes = needed is None or (enough and path in SHARED)
        assert (other.status_code == 403) is not passes, (role, other.status_code, other.text)
        if passes is enough is False and path.startswith("/v2/models") and method != "HEAD":
            assert list(other.json()) == ["error"]


@pytest.mark.parametrize(("method", "path", "needed"), TABLE, ids=lambda v: str(v))
def test_every_route_under_a_foreign_name_or_for_a_foreign_page(guarded, method, path, needed):
    probe = path.startswith("/v2/health/") and method in ("GET", "HEAD")
    said = guarded.ask(guarded.learner, method, path, "operator", host="evil.example")
    assert (said.status_code == 421) is not probe
    said = guarded.ask(guarded.learner, method, path, "operator", origin="http://evil.example")
    assert (said.status_code == 403) is (method not in ("GET", "HEAD", "OPTIONS"))


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Bearer",
        "Basic {}",
        "{}",
        "Bearer {} {}",
        "Bearer {}x",
        "Bearer é",
        "bearer\t{}",
    ],
)
def test_headers_that_are_none(guarded, said):
    value = said.format(*[guarded.secrets["operator"]] * 2).encode("latin-1")
    found = httpx.get(f"{guarded.learner}/v1/models", headers={b"authorization": value})
    assert found.status_code == 401
    assert "expected" in found.json()["detail"]


def test_the_word_bearer_in_any_case(guarded):
    for word in ("bearer", "BEARER"):
        headers = {"authorization": f"{word} {guarded.secrets['reader']}"}
        assert httpx.get(f"{guarded.learner}/v1/models", headers=headers).is_success


def test_refusals_are_counted_by_reason_and_logged_without_the_key(guarded):
    for _ in range(20):
        for key in (None, "wrong", "revoked", "reader", "line", "operator of another"):
            guarded.ask(guarded.learner, "POST", "/v1/models/{model}/freeze", key)
    scrape = guarded.ask(guarded.learner, "GET", "/metrics", "reader").text
    found = {
        line.split('"')[1]: float(line.split()[-1])
        for line in scrape.splitlines()
        if line.startswith("apical_refusals_total{")
    }
    assert found.keys() >= {"no_key", "unknown_key", "revoked_key", "role", "model"}
    lines = [e for e in guarded.logged if e["event"] == "refused"]
    assert {e["reason"] for e in lines} >= {"no_key", "unknown_key", "revoked_key", "role", "model"}
    # Not one for each of a flood.
    assert len(lines) < sum(found.values()) / 5
    assert {"reader", "line"} <= {e["key"] for e in lines if e["reason"] == "role"}
    for secret in guarded.secrets.values():
        assert secret.split("_", 2)[2] not in json.dumps(guarded.logged, default=str)


def test_the_keys_name_is_the_actor_and_nobody_elses(guarded):
    with Client(guarded.learner, key=guarded.secrets["operator"]) as client:
        client.verb("press", "freeze", reason="looking")
        client.verb("press", "thaw", reason="looked", actor="operator")
        entries = client.ask("press", "audit")["entries"]
        assert [e["actor"] for e in entries][-2:] == ["operator"] * 2
        with pytest.raises(Rejected, match="actor: expected none, or the key's name 'operator'"):
            client.verb("press", "freeze", reason="x", actor="chief")
        assert len(client.ask("press", "audit")["entries"]) == len(entries)


def test_a_key_of_a_line_is_that_line_in_every_protocol(tmp_path):
    path = tmp_path / "keys.json"
    _, secret = keys.add(path, "press-3", "line", ("press",), "L3")
    _, operator = keys.add(path, "op", "operator")
    with serving(press(tmp_path), keyring=Keyring(path), key=operator) as running:
        with Client(running.url, key=secret) as line:
            line.learn("press", [row(1)], [label(1)], batch_id="b-1")
            line.predict("press", [row(2)], batch_id="b-2", line="L3")
            line.label("press", "b-2", [label(2)])
            for ask in (
                lambda: line.learn("press", [row(3)], [label(3)], line="L4"),
                lambda: line.predict("press", [row(3)], line="L4"),
                lambda: line.label("press", "b-2", [label(2)], line="L4"),
            ):
                with pytest.raises(Rejected, match="'press-3' is bound to 'L3', found 'L4'"):
                    ask()
            with triton.InferenceServerClient(running.url.removeprefix("http://")) as client:
                rows = triton.InferInput("rows", [1, 2], "FP32")
                rows.set_data_from_numpy(np.array([[1, 2]], np.float32))
                said = {"authorization": f"Bearer {secret}"}
                client.infer("press", [rows], headers=said, parameters={"batch_id": "b-3"})
                with pytest.raises(triton.InferenceServerException, match="is bound to 'L3'"):
                    client.infer("press", [rows], headers=said, parameters={"line": "L4"})
                with pytest.raises(triton.InferenceServerException, match="found none"):
                    client.infer("press", [rows])
        log = running.learner.events
        assert [event.line for event in log.events("press")] == ["L3"] * 2
        assert [log.batch("press", f"b-{k}").line for k in (1, 2, 3)] == ["L3"] * 3


def test_a_bound_key_sees_the_names_of_its_own_models_alone(tmp_path):
    path = tmp_path / "keys.json"
    _, all_ = keys.add(path, "all", "reader")
    _, bound = keys.add(path, "bound", "reader", ("b",))
    with serving(two(tmp_path), keyring=Keyring(path)) as running:
        for secret, names in ((all_, ["a", "b"]), (bound, ["b"])):
            with Client(running.url, key=secret) as client:
                assert [m.name for m in client.models()] == names
        with Client(running.url, key=bound) as client, pytest.raises(Rejected) as refused:
            client.model("a")
        with Client(running.url, key=bound) as client, pytest.raises(Rejected) as unknown:
            client.model("c")
        # Nor whether there is another.
        assert refused.value.status == unknown.value.status == 403
        assert str(refused.value) == str(unknown.value)


def test_a_revoked_key_is_refused_within_seconds_and_a_new_one_let_in(tmp_path):
    path = tmp_path / "keys.json"
    _, old = keys.add(path, "old", "line")
    with serving(press(tmp_path), keyring=Keyring(path), key=old) as running:
        teach(running, 0, 1)
        keys.revoke(path, "old")
        _, new = keys.add(path, "new", "line")

        def out():
            with contextlib.suppress(Rejected):
                running.client.predict("press", [row(1)])
                return False
            return True

        wait_for(out, 5)
        with Client(running.url, key=new) as client:
            teach(client, 1, 1)


def test_one_key_takes_no_more_than_its_share(tmp_path):
    path = tmp_path / "keys.json"
    greedy, modest = (keys.add(path, name, "line")[1] for name in ("greedy", "modest"))
    top = "[limits]\nrows_per_batch = 8\nrows_per_s = 40\nrequests_per_s = 20\n"
    with serving(press(tmp_path, top=top), keyring=Keyring(path), key=greedy) as running:

        def ask(what):
            for _ in range(200):
                what()

        batch = [row(1)] * 8, [label(1)] * 8
        with pytest.raises(TryAgain, match="'greedy': expected at most 40 rows a second"):
            ask(lambda: running.client.learn("press", *batch))
        with pytest.raises(TryAgain, match="expected at most 20 requests a second"):
            ask(lambda: running.client.model("press"))
        learned = running.learner.models["press"].published.seq
        with Client(running.url, key=modest) as client:
            client.learn("press", *batch)
        # What was refused was not learned; and it passes a little later.
        assert running.learner.models["press"].published.seq == learned + 1
        time.sleep(2)
        running.client.learn("press", *batch)


def test_a_canary_is_found_nowhere(tmp_path):
    """A key in use, and one that is not, in every place where it might be put by mistake."""
    path = tmp_path / "keys.json"
    _, secret = keys.add(path, "canary", "operator")
    stray = secret[:-4] + "XXXX"
    config = tmp_path / "apical.toml"
    store, log = (repr(str(tmp_path / name)) for name in ("store", "log"))
    config.write_text(PRESS.format(store=store, log=log, top="", model=IMMEDIATE))
    arguments = ["serve", "--config", str(config), "--keys", str(path)]
    said = []
    with ServerProcess(arguments, tmp_path / "stderr") as server:
        server.wait_ready()
        with Client(server.url, key=secret) as client:
            teach(client, 0, 4)
            client.snapshot("press", reason="canary")
            client.verb("press", "freeze", reason="canary")
            entries = client.ask("press", "audit")["entries"]
        for key in (secret, stray):
            for headers in ({"authorization": f"Bearer {key}"}, {"authorization": key}):
                for where in ("/v1/models/press", "/v2/models/press", "/v2/models/press/infer"):
                    said.append(httpx.get(server.url + where, headers=headers))
                    said.append(httpx.get(server.url + where + f"?key={key}", headers=headers))
                for body in (b"{", b'{"rows": [{"tmp": 1}]}', b'{"reason": 5}'):
                    for verb in ("batches", "labels", "rollback", "nothing"):
                        at = f"{server.url}/v1/models/press/{verb}"
                        typed = headers | {"content-type": "application/json"}
                        said.append(httpx.post(at, content=body, headers=typed))
        headers = {"authorization": f"Bearer {secret}"}
        said.append(httpx.get(f"{server.url}/metrics", headers=headers))
    assert said[-1].is_success
    assert [e["actor"] for e in entries][-1] == "canary"
    shown = [r.text + str(r.headers) for r in said] + [json.dumps(entries)]
    files = [name for name in sorted(tmp_path.rglob("*")) if name.is_file()]
    assert b"refused" in (tmp_path / "stderr").read_bytes()
    assert len(files) > 8
    for text in [*shown, *(name.read_bytes().decode("latin-1") for name in files)]:
        assert secret.split("_", 2)[2] not in text
        assert stray.split("_", 2)[2] not in text
