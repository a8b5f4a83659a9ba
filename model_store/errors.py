"""What can go wrong with durable bytes.

    StorageError
    ├── LogError                 the event log, model_store/log.py
    │   ├── LogLocked            another process holds it
    │   ├── LogUnavailable       the disk is full or failing; a later call may succeed
    │   ├── LogPruned            events that were asked for have been pruned
    │   └── LogRefused           it cannot be trusted as it is; goes on only with accept_loss
    │       ├── LogDamaged       bytes differ from what was written
    │       ├── LogEndsEarly     events known to have been acknowledged are missing at its end
    │       └── LogIncomplete    its -wal file is missing after an unclean stop
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


class KeyMissing(StoreError):
    """No object under that key."""


class KeyExists(StoreError):
    """An object that must not exist does."""


class Conflict(StoreError):
    """A compare-and-swap found another value than expected."""


class AliasConflict(Conflict):
    """An alias has another generation than expected; the message names both."""


class StoreLocked(StoreError):
    """Another learner holds the store."""


class ClaimLost(StoreError):
    """Another learner has taken the store over; nothing was overwritten."""


class SnapshotMissing(StoreError):
    """No finished snapshot of that version."""


class SnapshotDamaged(StoreError):
    """A snapshot's bytes are not what was written; names the file, expected and found."""
