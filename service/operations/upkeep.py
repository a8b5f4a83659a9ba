"""What ops do beside the verbs: keep, prune, renew. No event of its own; it goes into the audit
trail."""

from __future__ import annotations

import contextlib
from typing import Any

from service.errors import Refused
from service.history.verbs import Acknowledge, Order
from service.learner.learner import Learner
from service.manifest import readable


def keep(learner: Learner, model: str, version: int, kept: bool, actor: str, reason: str) -> None:
    """Mark a snapshot so that retention spares it, or clear the mark; goes into the trail."""
    learner.store.mark(model, version, kept)
    learner.store.audit(model).append(
        actor,
        "keep" if kept else "unkeep",
        reason,
        None,
        None,
        learner.models[model].published.seq,
        details={"version": version},
    )


def prune_now(learner: Learner, model: str, dry_run: bool, events: bool) -> dict[str, Any]:
    """Apply retention now, or say what it would delete.

    With ``events`` the log's too: those older than both the oldest kept snapshot and the
    idempotency horizon. What they taught stays learned; it can no longer be unlearned.
    """
    spec = learner.model(model).spec
    now = learner.clock()
    doomed = learner.retention.prune(
        model,
        learner.held(model),
        keep_last=spec.keep_snapshots,
        keep_aliased_days=spec.keep_aliased_days,
        dry_run=dry_run,
    )
    said: dict[str, Any] = {"model": model, "dry_run": dry_run, "versions": doomed}
    if events:
        kept = [m.seq for m in readable(learner.store, model) if m.version not in doomed]
        # Where none can be read, nothing says which events may go.
        oldest = min(kept, default=0)
        # Whichever clock says less: one that was set forward must not make everything old.
        horizon = min(now, learner.line_time.now()) - learner.limits.idempotency_days * 86400
        said["events_below"] = oldest + 1
        said["events_received_before"] = horizon
        if not dry_run:
            said["events"] = learner.events.prune(model, oldest + 1, horizon)
    return said


def renew_drift(learner: Learner, model: str, actor: str, reason: str) -> None:
    """Let the rows that follow become the reference that drift is measured against. Its open
    alarms, which are about the old one, are acknowledged with that."""
    learner.watcher.renew(model)
    opened = learner.models[model].alarms.opened()
    seen = [alarm.id for alarm in opened if alarm.kind == "drift"]
    if seen:
        # Somebody else may have acknowledged them meanwhile.
        with contextlib.suppress(Refused):
            learner.order(Order(model, Acknowledge(seen), actor, reason)).result()
    learner.store.audit(model).append(
        actor, "renew_drift", reason, None, None, learner.models[model].published.seq
    )
