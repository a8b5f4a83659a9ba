"""A crash at every step of every verb: after a restart log, aliases and trail agree.

A real `apical serve` is armed while it runs, dies inside the verb, and is recovered. The suite
takes a sample; ``-m slow`` takes the rest.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import pytest
import torch

from clients import Client, Unreachable
from model_store.failpoints import VARIABLE
from service.config.file import load
from service.history.verbs import TEACHING, Order
from service.hosting.process import ServerProcess
from service.manifest import STAGED
from service.operations import questions as inspection
from service.state import same
from tests.durability.aftermath import MODEL, history, learning, stored_states
from tests.line import teach
from tests.serving import IMMEDIATE, PRESS

COMMIT = ("log.before_commit", "log.after_commit", "learner.before_publication")
FILES = ("snapshot.files_written", "snapshot.renamed")
EFFECT = ("verb.before_alias", "verb.before_audit", "verb.after_audit")

PLACES = {
    "snapshot": (*FILES, "snapshot.before_alias", "snapshot.before_audit"),
    "rollback": (*COMMIT, *FILES, "snapshot.before_alias", *EFFECT),
    "promote": (*COMMIT, *EFFECT),
    "promote_auto": (*COMMIT, *EFFECT),
    "freeze": (*COMMIT, *EFFECT),
    "thaw": (*COMMIT, *EFFECT),
    # Two events, the one that begins it and the one that ends it; two snapshots, the staged one
    # and the one that is served.
    "rebase": (
        *(f"{place}:{nth}" for place in (*COMMIT, *FILES, *EFFECT) for nth in (1, 2)),
        "snapshot.before_alias",
    ),
}

SAMPLE = {
    ("snapshot", "snapshot.before_alias"),
    ("snapshot", "snapshot.before_audit"),
    ("rollback", "log.before_commit"),
    ("rollback", "log.after_commit"),
    ("rollback", "snapshot.renamed"),
    ("rollback", "verb.before_audit"),
    ("promote", "verb.before_alias"),
    ("promote_auto", "verb.before_audit"),
    ("freeze", "learner.before_publication"),
    ("thaw", "verb.after_audit"),
    ("rebase", "verb.before_alias:1"),
    ("rebase", "snapshot.renamed:1"),
    ("rebase", "log.after_commit:2"),
    ("rebase", "verb.before_audit:2"),
}

CASES = [
    pytest.param(verb, place, marks=() if (verb, place) in SAMPLE else pytest.mark.slow)
    for verb, places in PLACES.items()
    for place in places
]

CROWNING = ("rollback", "rebase", "promote")


class Served:
    """A server on the files below a folder, which can be armed while it runs."""

    def __init__(self, folder):
        self.folder, self.armed = folder, folder / "failpoint"
        self.config = folder / "apical.toml"
        self.config.write_text(
            PRESS.format(
                store=repr(str(folder / "store")),
                log=repr(str(folder / "log")),
                top="",
                model=IMMEDIATE,
            )
        )

    def server(self, failpoint):
        arguments = ["serve", "--config", str(self.config)]
        return ServerProcess(arguments, self.folder / "stderr", {VARIABLE: failpoint})

    def arm(self, failpoint):
        whole = self.armed.with_suffix(".whole")
        whole.write_text(failpoint)
        whole.rename(self.armed)

    def die(self, verb, place):
        """Prepare, arm, order the verb; the server's status once it is dead."""
        server = self.server(f"@{self.armed}")
        try:
            server.wait_ready()
            with Client(server.url) as client:
                prepare(client, verb)
                self.arm(place)
                # No reply arrives, but for a rebase that dies after it has begun.
                with contextlib.suppress(Unreachable):
                    order(client, verb)
            # A verb that never reaches the place would wait here for ever.
            return server.process.wait(30)
        finally:
            server.kill()


def prepare(client, verb):
    """Two snapshots, and lessons behind them."""
    teach(client, 0, 4)
    client.snapshot(MODEL)
    if verb == "promote_auto":
        client.verb(MODEL, "promote", version=1, reason="hold")
    if verb == "thaw":
        client.verb(MODEL, "freeze", reason="odd")
    teach(client, 4, 3)


def order(client, verb):
    why = {"reason": "test", "actor": "kim"}
    match verb:
        case "snapshot":
            client.snapshot(MODEL, **why)
        case "rollback":
            client.rollback(MODEL, 2, **why)
        case "promote":
            client.verb(MODEL, "promote", version=1, **why)
        case "promote_auto":
            client.verb(MODEL, "promote", auto=True, **why)
        case "rebase":
            client.verb(MODEL, "rebase", without=[[2, 3]], **why)
        case _:
            client.verb(MODEL, verb, **why)


def settle(learner):
    """Let a rebase that was resumed come to its end."""
    deadline = time.monotonic() + 30
    while (latest := learner.rebasings.latest(MODEL)) is not None and latest.running:
        assert time.monotonic() < deadline, latest.status()
        time.sleep(0.005)
    assert latest is None or latest.error is None


def verbs_of(learner):
    return [r for r in learner.events.events(MODEL) if r.kind not in TEACHING]


def agree(learner):
    """What must hold after any restart, whatever happened before it."""
    store, events = learner.store, learner.events
    assert inspection.verify(store, MODEL, events)["problems"] == []

    states = stored_states(store)
    folded = history(events, states, states[1])
    assert same(learner.models[MODEL].published, folded[-1])
    manifests = {v: store.manifest(MODEL, v) for v in states}
    for version, state in states.items():
        if manifests[version]["cause"] != STAGED:
            assert same(state, folded[state.seq]), f"snapshot {version}"

    verbs = verbs_of(learner)
    trail = store.audit(MODEL).entries()
    written = [(e.seq, e.verb) for e in trail if e.actor != "apical"]
    assert written == [(r.seq, r.kind) for r in verbs]

    # Each line of the trail goes on where the one before left the champion.
    live = None
    for entry in trail:
        assert entry.before == live
        live = entry.after if entry.after is not None else live
    champion = store.alias(MODEL, "champion")
    assert champion.version == live

    # The last verb that crowned decides: it held one there, or the policy takes the newest.
    crowned = [r for r in verbs if r.kind in CROWNING]
    said = Order.from_record(crowned[-1]).values() if crowned else {}
    assert champion.pinned == said.get("pinned", False)
    published = [v for v, m in manifests.items() if m["cause"] != STAGED]
    assert champion.version == (1 if champion.pinned else max(published))


@pytest.mark.parametrize(("verb", "place"), CASES)
def test_a_crash_inside_a_verb_leaves_log_aliases_and_trail_that_agree(tmp_path, verb, place):
    served = Served(tmp_path)
    assert served.die(verb, place) == -signal.SIGKILL, (tmp_path / "stderr").read_text()
    torch.set_num_threads(1)
    with learning(load(served.config)) as learner:
        settle(learner)
        agree(learner)
        kinds = [record.kind for record in verbs_of(learner) if record.actor == "kim"]
        # The log decides: before its commit the verb did not happen, after it the verb did.
        lost = place in ("log.before_commit", "log.before_commit:1")
        if verb == "snapshot":
            taken = learner.store.versions(MODEL)
            assert (3 in taken) == (place != "snapshot.files_written")
        elif verb == "rebase":
            assert kinds == ([] if lost else ["rebase_begin", "rebase"])
            assert learner.models[MODEL].published.steps == (7 if lost else 5)
        else:
            assert kinds == ([] if lost else [verb.removesuffix("_auto")])
        before = len(verbs_of(learner))
    # What recovery did is not done again, and the learner is as able as ever.
    with learning(load(served.config)) as learner:
        assert len(verbs_of(learner)) == before
        agree(learner)


@pytest.mark.parametrize("place", ["verb.before_audit", "snapshot.renamed"])
def test_a_crash_while_a_verb_is_made_up_for_is_no_worse(tmp_path, place):
    served = Served(tmp_path)
    assert served.die("rollback", "log.after_commit") == -signal.SIGKILL
    server = served.server(place)
    assert server.process.wait(60) == -signal.SIGKILL
    server.kill()
    torch.set_num_threads(1)
    with learning(load(served.config)) as learner:
        agree(learner)
        assert [record.kind for record in verbs_of(learner)] == ["rollback"]


def test_a_file_arms_a_process_that_runs_already(tmp_path):
    served = Served(tmp_path)
    server = served.server(f"@{served.armed}")
    try:
        server.wait_ready()
        with Client(server.url) as client:
            teach(client, 0, 2)
            served.arm("log.after_commit:2")
            teach(client, 2, 1)
            dead = threading.Thread(target=server.process.wait)
            dead.start()
            with pytest.raises(Unreachable):
                teach(client, 3, 1)
            dead.join(30)
    finally:
        status = server.kill()
    assert status == -signal.SIGKILL
