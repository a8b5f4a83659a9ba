"""Unlearn the bad hour, keep the good day: selection, plan, replay without it."""
