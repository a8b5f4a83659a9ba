"""What happened between a model's snapshots: who taught, and who ordered what."""

from __future__ import annotations

from typing import Any

import structlog

from model_store.errors import LogError
from model_store.log.log import Record
from service.history.verbs import Order, Promote, Reject, replaces
from service.manifest import CANDIDATE, CHAMPION, STAGED
from service.operations.score_index import ScoreIndex
from service.operations.stretches import LineTally

log = structlog.get_logger()


def chronicle(index: ScoreIndex, model: str, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outlines of snapshots, oldest first, with four facts more.

    ``standing`` is champion, on probation or None; ``untrained`` whether it has learned nothing.
    ``taught`` says by line how many lessons and rows were learned ``since`` the event of the
    snapshot before it, or of the rollback or rebase behind that. ``deeds`` are the verbs about it
    (``about``: it was promoted, refused, or made) and those since then. Both are None where that is
    not known: the events were pruned, the index is far behind, or the log cannot be read.
    """
    told = [{**one, "untrained": one["updates"] == 0, "standing": _standing(one)} for one in listed]
    verbs: list[tuple[Record, Order]] | None = None
    spans = [(0, 0)] * len(told)
    taught: list[dict[str, LineTally] | None] = [None] * len(told)
    try:
        records = index.verbs(model)
        if records is not None:
            verbs = [(record, Order.from_record(record)) for record in records]
            spans = _spans(told, records)
            taught = index.taught(model, spans)
    except LogError as error:
        # The list is what somebody needs who has to mend that.
        log.warning("snapshots are listed without their story", model=model, error=str(error))
    for one, (since, _), by in zip(told, spans, taught, strict=True):
        one["taught"] = one["deeds"] = None
        if by is not None and one["cause"] != "damaged":
            lines = sorted(by.items(), key=lambda pair: -pair[1].learned)
            one["taught"] = {
                "since": since,
                "lines": [
                    {"line": line, "lessons": tally.lessons, "rows": tally.learned}
                    for line, tally in lines
                ],
            }
        if verbs is not None:
            one["deeds"] = [deed for pair in verbs if (deed := _deed(*pair, one, since))]
    return told


def _standing(outline: dict[str, Any]) -> str | None:
    if CHAMPION in outline["aliases"]:
        return "champion"
    return "on probation" if CANDIDATE in outline["aliases"] else None


def _spans(told: list[dict[str, Any]], verbs: list[Record]) -> list[tuple[int, int]]:
    """Of each snapshot, the event after which its lessons are told, and its own."""
    sound = sorted({one["seq"] for one in told if one["cause"] not in (STAGED, "damaged")})
    anew = [record.seq for record in verbs if replaces(record)]
    found = []
    for one in told:
        seq = max(0, one["seq"])
        before = [0, *(s for s in sound if s < seq), *(s for s in anew if s <= seq)]
        found.append((max(before), seq))
    return found


def _deed(
    record: Record, order: Order, outline: dict[str, Any], since: int
) -> dict[str, Any] | None:
    """A verb as a deed about a snapshot, or one before it; None where it is neither."""
    verb = order.verb
    named = verb.version if isinstance(verb, Promote | Reject) else None
    made = replaces(record) and record.seq == outline["seq"]
    about = made or named == outline["version"]
    # What only moves aliases is told where it belongs.
    if not about and (named is not None or not since < record.seq <= outline["seq"]):
        return None
    return {
        "verb": order.kind,
        "actor": order.actor,
        "reason": order.reason,
        "seq": record.seq,
        "at": record.received_at,
        "automatic": order.automatic,
        "about": about,
    }
