"""Immutable snapshots of models, the aliases that name them, the trail of who did what."""
