"""The event log: one SQLite file, chained checksums, group commit."""
