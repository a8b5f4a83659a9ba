"""Damage outside what recovery needs: a start says so and goes on, and what is looked at while the
learner or a replica runs shows everything else."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from model_store.snapshots.store import SnapshotStore
from service.config.process import Configuration
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.durability.aftermath import copy_log, copy_store, learning
from tests.line import teach, wait_for
from tests.serving import label, press, row, serving

MANUAL = 'promotion = "manual"'


def with_snapshots(running):
    """Snapshots 2 to 4, of events 2, 4 and 6."""
    for start in (0, 2, 4):
        teach(running, start, 2)
        running.client.snapshot("press")


def crashed(folder, model="", verb=None):
    """The files of a learner that died, after a verb if one is given."""
    with serving(press(folder / "before", model=model)) as running:
        with_snapshots(running)
        if verb is not None:
            running.client.verb("press", verb, reason="x", actor="kim")
        copy_store(folder / "before", folder / "after")
        copy_log(folder / "before", folder / "after")
    return folder / "after"


def snapshot(folder, version, name):
    return folder / f"store/models/press/snapshots/{version:08d}" / name


def flip(file):
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(whole)


def quarantined(folder):
    place = folder / "store/models/press/quarantine"
    return {int(path.name[:8]) for path in place.iterdir()} if place.exists() else set()


def test_an_old_manifest_that_is_damaged_is_no_reason_not_to_start_and_is_shown(tmp_path):
    folder = crashed(tmp_path)
    flip(snapshot(folder, 2, "manifest.json"))
    with learning(press(folder)) as learner:
        assert learner.models["press"].published.seq == 6
        # A start reads what it needs; `verify` and the list say of the others what they are.
        listed = {s["version"]: s["cause"] for s in learner.snapshots("press")}
        assert listed == {1: "birth", 2: "damaged", 3: "demand", 4: "demand"}


@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
def test_a_damaged_champion_is_quarantined_and_another_takes_its_place(tmp_path, name):
    folder = crashed(tmp_path, MANUAL)
    flip(snapshot(folder, 1, name))
    with serving(press(folder, model=MANUAL)) as running:
        raw = running.client.model("press").raw
        assert (raw["seq"], raw["champion"]) == (6, 4)
        last = running.client.ask("press", "audit")["entries"][-1]
        assert (last["verb"], last["before"], last["after"]) == ("promote", 1, 4)
        teach(running, 6, 2)
        assert running.client.snapshot("press").version == 5
    assert quarantined(folder) == {1}


def test_a_damaged_audit_entry_before_an_unfinished_verb_is_no_reason_not_to_start(tmp_path):
    folder = crashed(tmp_path, verb="freeze")
    entry = sorted((folder / "store/models/press/audit").glob("*.json"))[0]
    flip(entry)
    with serving(press(folder)) as running:
        assert running.client.model("press").raw["frozen"] is True
        assert running.client.learn("press", [row(6)], [label(6)]).outcomes == ["frozen"]
        problems = running.client.ask("press", "verify")["problems"]
        assert any(entry.name in problem["path"] for problem in problems)
        assert running.client.verb("press", "thaw", reason="x")["frozen"] is False


def test_a_damaged_candidate_is_no_candidate(tmp_path):
    gate = 'promotion = "gate"\nguard = "off"'
    folder = crashed(tmp_path, gate)
    flip(snapshot(folder, 4, "state.safetensors"))
    with serving(press(folder, model=gate)) as running:
        raw = running.client.model("press").raw
        assert (raw["seq"], raw["champion"]) == (6, 1)
        teach(running, 6, 2)
        assert running.client.snapshot("press").version == 5


@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
def test_a_damaged_snapshot_is_not_promoted_and_the_publisher_lives(tmp_path, name):
    with serving(press(tmp_path, model=MANUAL)) as running:
        with_snapshots(running)
        flip(snapshot(tmp_path, 2, name))
        before = running.client.model("press").raw
        body = {"version": 2, "reason": "x"}
        reply = httpx.post(f"{running.url}/v1/models/press/promote", json=body, timeout=10)
        assert (reply.status_code, reply.headers["content-type"]) == (
            503,
            "application/problem+json",
        )
        assert name in reply.json()["detail"]
        after = running.client.model("press").raw
        assert (after["seq"], after["champion"]) == (before["seq"], 1)
        teach(running, 6, 1)
        assert running.client.snapshot("press").version == 5
        running.client.verb("press", "promote", version=3, reason="the sound one")
        assert running.client.model("press").raw["champion"] == 3


def test_a_damaged_alias_takes_nothing_else_that_is_to_be_seen_with_it(tmp_path):
    with serving(press(tmp_path)) as running:
        with_snapshots(running)
        flip(tmp_path / "store/models/press/aliases/champion.json")
        metrics = httpx.get(f"{running.url}/metrics")
        assert metrics.status_code == 200
        assert 'apical_durable_seq{model="press"} 6.0' in metrics.text
        (model,) = httpx.get(f"{running.url}/v1/models").raise_for_status().json()["models"]
        # The learner moves it alone, so it knows.
        assert (model["seq"], model["champion"]) == (6, 4)
        assert [s.version for s in running.client.snapshots("press")] == [1, 2, 3, 4]
        # The next snapshot mends it.
        teach(running, 6, 1)
        assert running.client.snapshot("press").version == 5
        assert running.client.model("press").raw["champion"] == 5


def test_a_damaged_manifest_is_listed_as_what_it_is_among_the_others(tmp_path):
    with serving(press(tmp_path)) as running:
        with_snapshots(running)
        flip(snapshot(tmp_path, 2, "manifest.json"))
        listed = running.client.ask("press", "snapshots")["snapshots"]
        assert [s["version"] for s in listed] == [1, 2, 3, 4]
        assert [s["cause"] for s in listed] == ["birth", "damaged", "demand", "demand"]
        assert [s.version for s in running.client.snapshots("press")] == [1, 2, 3, 4]


def test_a_replica_that_cannot_read_one_alias_follows_the_other_models(tmp_path):
    plain = press(tmp_path).model_dump()
    (model,) = plain["models"]
    names = ("aaa", "bbb")
    both = Configuration.model_validate(
        {**plain, "models": [{**model, "name": name} for name in names]}
    )
    with serving(both) as running:
        replica = Replica(SnapshotStore.open(tmp_path / "store"), (), Metrics(), poll_s=60)
        with contextlib.closing(replica.store):
            replica.poll()
            served = {name: replica.models[name].serving for name in names}
            assert [serving.version for serving in served.values()] == [1, 1]
            flip(tmp_path / "store/models/aaa/aliases/champion.json")
            running.client.learn("bbb", [row(0)], [label(0)])
            running.client.snapshot("bbb")
            replica.poll()
            assert replica.models["aaa"].serving is served["aaa"]
            assert replica.models["bbb"].serving.version == 2
            assert b"apical_replica_poll_failures_total 1.0" in replica.metrics.exposition()[0]


@pytest.fixture
def beside_damage(tmp_path):
    """A learner with snapshots 2 to 4, after the manifest of 2, which nothing needs, decayed."""
    with serving(press(tmp_path)) as running:
        with_snapshots(running)
        flip(snapshot(tmp_path, 2, "manifest.json"))
        yield running


def test_an_old_manifest_that_is_damaged_does_not_stop_the_newest_from_being_champion(
    beside_damage,
):
    beside_damage.client.verb("press", "promote", version=1, reason="hold")
    asked = httpx.post(
        f"{beside_damage.url}/v1/models/press/promote",
        json={"auto": True, "reason": "let go"},
        timeout=10,
    )
    assert asked.status_code == 200, asked.text
    raw = beside_damage.client.model("press").raw
    assert (raw["champion"], raw["pinned"]) == (4, False)


def test_an_old_manifest_that_is_damaged_does_not_stop_a_rebase(beside_damage):
    asked = {"without": [[5, 5]], "reason": "bad", "actor": "anna"}
    planned = beside_damage.client.verb("press", "rebase", dry_run=True, **asked)
    assert (planned["base"], planned["base_seq"]) == (3, 4)
    # Where it would have been the base, the one before is.
    asked["without"] = [[3, 3]]
    beside_damage.client.verb("press", "rebase", **asked)
    latest = beside_damage.learner.rebasings.latest("press")
    wait_for(lambda: not latest.running)
    said = latest.status()
    assert (said["state"], latest.plan.base) == ("done", 1)
    assert beside_damage.learner.models["press"].published.steps == 5


def test_an_old_manifest_that_is_damaged_does_not_stop_events_from_being_pruned(
    beside_damage, tmp_path
):
    asked = {"events": True, "dry_run": True, "reason": "room"}
    said = beside_damage.client.verb("press", "prune", **asked)
    assert (said["versions"], said["events_below"]) == ([], 1)
    flip(snapshot(tmp_path, 1, "manifest.json"))
    said = beside_damage.client.verb("press", "prune", **asked)
    assert said["events_below"] == 5


def test_the_newest_manifest_that_is_damaged_does_not_stop_a_rollback(tmp_path):
    with serving(press(tmp_path)) as running:
        with_snapshots(running)
        flip(snapshot(tmp_path, 4, "manifest.json"))
        said = running.client.rollback("press", 3, reason="back")
        assert said["published"] == 5
        assert running.client.model("press").raw["champion"] == 5
        running.client.verb("press", "freeze", reason="verbs go on")
