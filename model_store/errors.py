"""What can go wrong with durable bytes.

StorageError
├── LogError                 the event log, model_store/log/log.py
│   ├── LogLocked            another process holds it
│   ├── LogUnavailable       the disk is full or failing; a later call may succeed
│   ├── LogPruned            events that were asked for have been pruned
│   └── LogRefused           it cannot be trusted as it is; goes on only with accept_loss
│       ├── LogDamaged       bytes differ from what was written
│       ├── LogEndsEarly     events known to have been acknowledged are missing at its end
│       └── LogIncomplete    its -wal file is missing after an unclean stop
├── StoreError               the snapshot store, model_store/snapshots/store.py
│   ├── StoreLocked          another process writes to it
│   ├── StoreReadOnly        it was opened for reading only
│   ├── StoreUnavailable     the disk or the bucket is failing; a later call may succeed
│   ├── ClaimLost            another process took the write side over; nothing was changed
│   ├── KeyMissing           there is nothing under that key
│   ├── KeyExists            put-if-absent found something under that key
│   │   └── SnapshotExists   that version number has been used
│   ├── Conflict             compare-and-swap found other bytes than expected
│   │   └── AliasConflict    the alias has another generation than the caller knows
│   ├── AboveLimit             larger than the reader is willing to read
│   ├── SnapshotMissing      no finished snapshot of that version
│   └── Damaged              bytes differ from what was written
│       ├── SnapshotDamaged  in a snapshot
│       ├── AliasDamaged     in an alias
│       └── AuditDamaged     in the audit trail
└── FormatUnknown            written in a format that this version cannot read
"""

from __future__ import annotations


class StorageError(Exception):
    """Anything in this package that a caller may want to catch as one."""


class FormatUnknown(StorageError):
    """A file carries a format version that is newer than this software, or not ours at all."""


# The event log


class LogError(StorageError):
    """The event log cannot do what was asked."""


class LogLocked(LogError):
    """Another process has the log open for writing; the message names its pid."""


class LogUnavailable(LogError):
    """The disk is full or failing. Nothing was half-written; trying again later may succeed."""


class LogPruned(LogError):
    """Events that were asked for have been pruned, so the answer would have a hole."""


class LogRefused(LogError):
    """The log cannot be trusted as it stands: restore a backup, or go on with accept_loss."""


class LogDamaged(LogRefused):
    """Bytes differ from what was written: a checksum, the chain or SQLite itself says so."""


class LogEndsEarly(LogRefused):
    """The log ends before an event that is known to have been acknowledged."""


class LogIncomplete(LogRefused):
    """The process that wrote the log did not stop cleanly, and its -wal file is gone."""


# The snapshot store


class StoreError(StorageError):
    """The snapshot store cannot do what was asked."""


class StoreLocked(StoreError):
    """Another process has the store open for writing; the message names its pid and host."""


class StoreReadOnly(StoreError):
    """The store was opened for reading; open it with write=True to change it."""


class StoreUnavailable(StoreError):
    """The disk is full or the bucket does not answer; trying again later may succeed."""


class ClaimLost(StoreError):
    """Another process has taken the write side of this store over. Nothing was changed."""


class KeyMissing(StoreError):
    """There is nothing under that key."""


class KeyExists(StoreError):
    """Something is stored under that key already; it was left as it is."""


class Conflict(StoreError):
    """The object under that key changed since it was read; it was left as it is."""


class AboveLimit(StoreError):
    """An object is larger than the reader's bound, so it was not read."""


class SnapshotMissing(StoreError):
    """The model has no finished snapshot of that version."""


class SnapshotExists(KeyExists):
    """That version number is taken: a snapshot under it is finished, begun or gone."""


class AliasConflict(Conflict):
    """The alias has another generation than the caller knows; the message names both."""


class Damaged(StoreError):
    """Stored bytes differ from what was written: the path, what was expected, what was found."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}")
        self.path = path
        self.expected = expected
        self.found = found


class SnapshotDamaged(Damaged):
    """A snapshot's file or manifest is not what was published; quarantine it, use another."""


class AliasDamaged(Damaged):
    """An alias file is not what was written; set it again from the log."""


class AuditDamaged(Damaged):
    """An audit entry was edited, deleted, reordered or cut off."""
