"""Which version is champion, who made it so, and the trail of it.

For every verb the event in the log is the commit point: what it does to aliases and trail is done
here afterwards, one verb after the other, and done again at start where a crash came between.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import structlog

from model_store import failpoints
from model_store.errors import AliasDamaged, AuditDamaged, SnapshotDamaged, SnapshotMissing
from model_store.log.log import Record
from model_store.snapshots.aliases import Alias
from model_store.snapshots.store import SnapshotStore
from service.history.verbs import TEACHING, VERBS, Order, Promote, moves_champion
from service.manifest import CANDIDATE, CHAMPION, Manifest, manifest_of, sound

log = structlog.get_logger()


class Champions:
    """Moves the aliases of a store that is open for writing, and writes the trail."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._last: dict[tuple[str, str], Alias | None] = {}

    def known(self, model: str, alias: str = CHAMPION) -> Alias | None:
        """Where an alias pointed when it was looked at or moved last; asks the store nothing."""
        return self._last.get((model, alias))

    def now(self, model: str, alias: str = CHAMPION) -> Alias | None:
        """Where an alias points; None where it does not exist or cannot be read."""
        try:
            found = self._store.alias(model, alias)
        except AliasDamaged as error:
            log.error("alias damaged", model=model, error=str(error))
            found = None
        self._last[model, alias] = found
        return found

    def published(self, model: str, manifest: Manifest, promotion: str) -> None:
        """A snapshot was taken that no verb asked for: candidate, or champion by the policy."""
        champion = self.now(model)
        # The first snapshot is champion under every policy: replicas need something to serve.
        if champion is not None and (promotion != "immediate" or champion.pinned):
            self._point(model, CANDIDATE, manifest.version, manifest.seq)
            return
        before = champion.version if champion else None
        self._point(model, CHAMPION, manifest.version, manifest.seq)
        failpoints.reach("snapshot.before_audit")
        self._store.audit(model).append(
            "apical",
            "promote",
            f"promotion = {promotion}",
            before,
            manifest.version,
            manifest.seq,
            details={"cause": manifest.cause},
        )

    def effect(self, record: Record, made: int | None) -> None:
        """What a committed verb does beyond the weights: aliases, then its line in the trail.

        ``made`` is the version published for a rollback or rebase. Doing it twice changes nothing
        but the trail, which `reconcile` looks at first.
        """
        model, order = record.model, Order.from_record(record)
        failpoints.reach("verb.before_alias")
        champion = self.now(model)
        before = champion.version if champion else None
        if champion is not None and champion.seq == record.seq:
            # An earlier try may have moved it already; the trail still says from where.
            before = self._crowned(model, champion.version)
        after = before
        if order.verb.effects.replaces:
            assert made is not None
            after = made
            self._point(model, CHAMPION, made, record.seq)
            # Nothing that was taken before is a candidate any longer.
            self._point(model, CANDIDATE, made, record.seq)
        elif isinstance(order.verb, Promote):
            after = order.verb.version
            self._point(model, CHAMPION, after, record.seq, pinned=order.verb.pinned)
        if not order.verb.told:
            return
        failpoints.reach("verb.before_audit")
        details = {
            "automatic": order.automatic,
            "cause": order.cause,
            "names": order.verb.named,
            **order.values(),
        }
        self._store.audit(model).append(
            order.actor,
            order.kind,
            order.reason,
            before,
            after if after != before else None,
            record.seq,
            at=record.received_at,
            details=details,
        )
        failpoints.reach("verb.after_audit")

    def unfinished(self, model: str, records: Iterable[Record]) -> list[Record]:
        """Those verbs among ``records`` that the trail does not know of."""
        verbs = [
            record
            for record in records
            if record.kind not in TEACHING and Order.from_record(record).verb.told
        ]
        if not verbs:
            return []
        try:
            known = self._on_record(model, min(record.seq for record in verbs))
        except AuditDamaged as error:
            # `verify` names it; a learner that did not start for it would help nobody.
            log.error("audit trail damaged", model=model, error=str(error))
            # The alias tells as well how far they came, of those that move it.
            champion = self.now(model)
            carried_out = champion.seq if champion is not None else 0
            return [r for r in verbs if moves_champion(r) and r.seq > carried_out]
        return [record for record in verbs if (record.seq, record.kind) not in known]

    def retrace(self, model: str, left: Iterable[Record]) -> None:
        """Write the line that the trail lacks where a crash came between moving the champion by
        policy and saying so; the verbs that are ``left`` to carry out write their own."""
        champion = self.now(model)
        if champion is None or champion.seq in {record.seq for record in left}:
            return
        before = self._crowned(model, champion.version)
        if before != champion.version:
            self._store.audit(model).append(
                "apical",
                "promote",
                "the champion had moved before a stop, and the trail did not say so",
                before,
                champion.version,
                champion.seq,
            )

    def repair(self, model: str, promotion: str) -> None:
        """Make the champion a snapshot that exists; the newest one, if the policy says so."""
        newest = next(sound(self._store, model, functools.partial(self.quarantine, model)), None)
        champion = self.now(model)
        if newest is None:
            return
        fits = champion is not None and self._seq(model, champion.version) is not None
        if (
            champion is not None
            and fits
            and (promotion != "immediate" or champion.pinned or champion.version == newest.version)
        ):
            return
        version, seq = newest.version, newest.seq
        if promotion != "immediate":
            # Where the alias was lost, the trail still knows; a candidate is not promoted by
            # accident.
            crowned = self._crowned(model, None)
            crowned_seq = self._seq(model, crowned) if crowned is not None else None
            if crowned is not None and crowned_seq is not None:
                version, seq = crowned, crowned_seq
        log.warning(
            "champion repaired",
            model=model,
            version=version,
            before=champion.version if champion else None,
        )
        self._point(model, CHAMPION, version, seq)
        self._store.audit(model).append(
            "apical",
            "promote",
            "champion was missing or behind at start",
            champion.version if champion else None,
            version,
            seq,
        )

    def _seq(self, model: str, version: int) -> int | None:
        """The event of a snapshot that may be champion; None for one that may not. A damaged one
        is set aside."""
        try:
            manifest = manifest_of(self._store, model, version)
        except SnapshotDamaged as error:
            self.quarantine(model, version, error)
            return None
        except SnapshotMissing:
            return None
        return None if manifest.staged else manifest.seq

    def quarantine(self, model: str, version: int, error: SnapshotDamaged) -> None:
        """Set a damaged snapshot aside, and say so."""
        log.error("snapshot damaged, quarantined", model=model, version=version, error=str(error))
        self._store.quarantine(model, version, str(error))

    def _crowned(self, model: str, otherwise: int | None) -> int | None:
        """The champion that the trail says last; ``otherwise`` where it cannot be read."""
        moves = self._store.audit(model).moves()
        try:
            return next((move.after for move in moves if move.after is not None), None)
        except AuditDamaged as error:
            # `verify` names it; a learner that did not start for it would help nobody.
            log.error("audit trail damaged", model=model, error=str(error))
            return otherwise

    def _on_record(self, model: str, since: int) -> set[tuple[int, str]]:
        """Event and verb of the lines about events from ``since`` on: no more of a long trail is
        read than that."""
        found: set[tuple[int, str]] = set()
        for move in self._store.audit(model).moves():
            found.add((move.seq, move.verb))
            # Verbs stand in the trail in their order; the lines of the policy are about snapshots,
            # some of them old.
            policy = move.actor == "apical" and move.verb == Promote.kind
            if move.seq < since and move.verb in VERBS and not policy:
                break
        return found

    def _point(
        self, model: str, alias: str, version: int, seq: int, *, pinned: bool = False
    ) -> None:
        now = self.now(model, alias)
        if now is not None and (now.version, now.pinned, now.seq) == (version, pinned, seq):
            return
        self._last[model, alias] = self._store.set_alias(
            model,
            alias,
            version,
            generation=now.generation if now else 0,
            seq=seq,
            pinned=pinned,
            repair=now is None,
        )
